"""The role of the service in PostgreSQL, which can only read and write rows.

Migrations run as the user of DATABASE_URL, the owner of the tables. Each start creates the role as that user and
grants its rights, also on new tables.
"""

from typing import Any

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import Connection, text

from app.config import CONNECT_TIMEOUT_S, Settings
from app.db.error_translation import first_line
from app.models import Base

log = structlog.get_logger(__name__)

# The advisory lock of this setup, so that replicas that start at the same time wait for each other.
_LOCK = 5_000_23_29_2026
_FUNCTIONS = ("gin_clean_pending_list_of_users()", "mark_internal_change()")
_TRIGGER_FUNCTIONS = ("record_external_user_change()", "record_external_token_change()")
_RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
_HAS_OTHER_RIGHTS = (
    "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    " OR pg_has_role(oid, current_user, 'MEMBER') FROM pg_roles WHERE rolname = %s"
)
_SCHEMA_RIGHTS = (
    ("NOT has_schema_privilege(%s, current_schema(), 'USAGE')", "GRANT USAGE ON SCHEMA {s} TO {role}"),
    ("NOT has_database_privilege(%s, current_database(), 'CONNECT')", "GRANT CONNECT ON DATABASE {d} TO {role}"),
    # PostgreSQL grants TEMPORARY to PUBLIC, and before version 15 also CREATE.
    ("has_schema_privilege(%s, current_schema(), 'CREATE')", "REVOKE CREATE ON SCHEMA {s} FROM PUBLIC"),
    ("has_database_privilege(%s, current_database(), 'TEMPORARY')", "REVOKE TEMPORARY ON DATABASE {d} FROM PUBLIC"),
)
"""A condition on the role, and the statement to execute if it is true."""
_CURRENT_ROLE = text(
    "SELECT current_user AS name, r.rolsuper AS is_superuser, c.relowner = r.oid AS is_owner"
    " FROM pg_roles AS r, pg_class AS c WHERE r.rolname = current_user AND c.oid = 'users'::regclass"
)


class _Unusable(Exception):
    """The role can't be used."""


def set_up(settings: Settings) -> bool:
    """Create DATABASE_ROLE, and grant its rights. Returns whether the service can connect as this role.

    If it can't, the log has the cause, and the service connects as the owner of the tables.
    """
    is_owner = settings.database_role == settings.database_parameters.get("user")
    try:
        with psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S) as owner:
            # Until the connection is closed.
            owner.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            _revoke(owner)
            if is_owner:
                return False
            # The revoked rights stay revoked if the role can't be created.
            owner.commit()
            _create(owner, settings)
            _grant(owner, settings.database_role)
        psycopg.connect(settings.role_conninfo or "", connect_timeout=CONNECT_TIMEOUT_S).close()
    except (psycopg.Error, _Unusable) as error:
        log.warning("works_as_owner", role=settings.database_role, cause=first_line(error))
        return False
    return True


def can_log_in(settings: Settings) -> bool:
    """Whether the service can connect as DATABASE_ROLE."""
    if settings.role_conninfo is None:
        return False
    try:
        psycopg.connect(settings.role_conninfo, connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return False
    return True


def current(connection: Connection) -> tuple[str, bool, bool]:
    """The name of the present role, whether it is a superuser, and whether it owns the tables."""
    found = connection.execute(_CURRENT_ROLE).one()
    return found.name, found.is_superuser, found.is_owner


def inspect_owner(settings: Settings) -> tuple[bool, bool]:
    """Whether the user of DATABASE_URL is a superuser, and whether its connection has TLS. Raises: psycopg.Error"""
    with psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S) as owner:
        is_superuser = _holds(owner, "rolsuper FROM pg_roles WHERE rolname = %s", owner.info.user)
        return is_superuser, owner.pgconn.ssl_in_use


def _create(owner: psycopg.Connection[Any], settings: Settings) -> None:
    """Create the role, or set its password if it can't log in. PostgreSQL receives only the SCRAM verifier.

    Raises: _Unusable
    """
    role, password = settings.database_role, settings.role_password.encode()
    if settings.role_conninfo is None:
        raise _Unusable("its password is derived from the owner's, which is not in the settings")
    found = owner.execute(_HAS_OTHER_RIGHTS, [role]).fetchone()
    if found == (True,):
        raise _Unusable("there is a role of this name with further rights")
    if found and can_log_in(settings):
        return
    verifier = owner.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
    statement = "ALTER ROLE {} LOGIN PASSWORD {}" if found else "CREATE ROLE {} LOGIN PASSWORD {}"
    owner.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(verifier)))


def _grant(owner: psycopg.Connection[Any], role: str) -> None:
    """Grant the rights of the service that the role does not have yet."""
    schema, database = owner.execute("SELECT current_schema(), current_database()").fetchone() or ("", "")
    names = {name: sql.Identifier(value) for name, value in (("s", schema), ("d", database), ("role", role))}
    for condition, statement in _SCHEMA_RIGHTS:
        if _holds(owner, condition, role):
            owner.execute(sql.SQL(statement).format(**names))
    for table, rights in {**dict.fromkeys(Base.metadata.tables, _RIGHTS), "alembic_version": "SELECT"}.items():
        if _holds(owner, "to_regclass(%s) IS NOT NULL", table):
            names["table"] = sql.Identifier(table)
            owner.execute(sql.SQL(f"GRANT {rights} ON {{table}} TO {{role}}").format(**names))
    for function in _FUNCTIONS:
        if _holds(owner, "to_regprocedure(%s) IS NOT NULL", function):
            owner.execute(sql.SQL(f"GRANT EXECUTE ON FUNCTION {function} TO {{role}}").format(**names))


def _revoke(owner: psycopg.Connection[Any]) -> None:
    """Revoke from PUBLIC the functions of the service, also after a restore of a dump without rights."""
    for function in (*_FUNCTIONS, *_TRIGGER_FUNCTIONS):
        if _holds(owner, "has_function_privilege('public', to_regprocedure(%s), 'EXECUTE')", function):
            owner.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def _holds(owner: psycopg.Connection[Any], condition: str, value: str) -> bool:
    return owner.execute(f"SELECT {condition}", [value]).fetchone() == (True,)
