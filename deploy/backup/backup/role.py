"""The role of the backups in PostgreSQL: it replicates and reads, and can change nothing."""

import base64
import hashlib
import hmac
import secrets

from backup.programs import Database, remote_database
from backup.settings import Settings

_ITERATIONS = 4096
# pg_read_all_data: the verification compares tables. pg_read_all_stats: positions of the replication. The attribute
# REPLICATION streams, and manages slots.
_CREATE = """
SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \\gexec
ALTER ROLE :"role" LOGIN REPLICATION NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS PASSWORD :'verifier';
GRANT pg_read_all_data, pg_read_all_stats TO :"role";
"""


def create(settings: Settings) -> None:
    """Create the role, or give it the present password, as the superuser. Raises: Refused, Failed"""
    database: Database = remote_database(settings, settings.superuser, settings.password("postgres_password"))
    database.run(_CREATE, role=settings.role, verifier=verifier(settings.password()))


def verifier(password: str) -> str:
    """The SCRAM-SHA-256 verifier of a password (RFC 5802), so that PostgreSQL and its logs don't get the password.

    As PostgreSQL does for passwords that SASLprep does not change: those of openssl, in ASCII.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
