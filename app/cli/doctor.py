"""`flask doctor`: checks the service and suggests corrections."""

import os
import sys

import click
import psycopg
from flask.cli import with_appcontext

from app.config import Settings
from app.connection_settings import without_password
from app.db import database_role
from app.db.migrate import revisions
from app.errors import StartError, Unavailable
from app.http.services import services
from app.ops.health import Checker

Finding = tuple[str, str, str]
"""The name of a check, its result (ok, warning or failed), and an explanation."""

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """Check the database, the cache, the migrations, the access and the settings.

    Exits with status 1 if a check fails. Example: docker compose exec web flask doctor
    """
    settings = services().settings
    findings = [*_services(settings), _migrations(settings), _role(settings), _access(settings), *_settings(settings)]
    width = max(len(name) for name, _, _ in findings)
    for name, result, explanation in findings:
        click.echo(f"{name:<{width}}  {click.style(f'{result:<7}', fg=_COLOURS[result])}  {explanation}")
    sys.exit(1 if any(result == "failed" for _, result, _ in findings) else 0)


def _services(settings: Settings) -> list[Finding]:
    # This client waits longer for Redis than requests do.
    checks = {"database": services().health.database.check(), "cache": Checker(services().redis.ping).check()}
    addresses = {"database": settings.database_address, "cache": without_password(settings.redis_address)}
    return [
        (name, "ok", f"{addresses[name]} responds in {check.latency_ms} ms")
        if check.status == "ok"
        else (name, "failed", f"{addresses[name]} does not respond ({check.error})")
        for name, check in checks.items()
    ]


def _migrations(settings: Settings) -> Finding:
    try:
        found, newest = revisions(settings)
    except (StartError, psycopg.Error) as error:
        return "migrations", "failed", str(error).strip().splitlines()[0]
    if found != newest:
        how = "run flask db upgrade"
        return "migrations", "failed", f"the database has the revision {found or 'none'}, not {newest}: {how}"
    return "migrations", "ok", f"the database has the newest revision, {newest}"


def _role(settings: Settings) -> Finding:
    """Check that the service has only the rights in PostgreSQL that it needs."""
    try:
        with services().database.connection() as connection:
            name, is_superuser, is_owner = database_role.current(connection)
    except Unavailable as error:
        return "role", "failed", f"the rights of the service in PostgreSQL are unknown: {error}"
    if not is_superuser and not is_owner:
        return "role", "ok", f"works as {name}, which can only read and write rows"
    what = "a superuser" if is_superuser else "the owner of the tables"
    how = f"start the service, or run flask db upgrade: both create the role {settings.database_role} or say why not"
    return "role", "warning", f"works as {name}, {what}: {how}"


def _access(settings: Settings) -> Finding:
    """Check that the service is secured and an administrator can sign in."""
    place = settings.published_address or settings.listen_address
    try:
        found = services().admins.count()
    except Unavailable as error:
        return "access", "failed", f"the number of administrators is unknown: {error}"
    if found:
        return "access", "ok", f"secured: {found} administrator{'s' if found > 1 else ''} can sign in"
    how = "`flask users create --role admin` creates an administrator"
    if settings.is_public:
        what = f"published on {place} without an administrator, so the service does not start"
        return "access", "failed", f"{what}: {how}"
    return "access", "warning", f"setup mode: anyone who can reach {place} may do everything, until {how}"


def _settings(settings: Settings) -> list[Finding]:
    warnings = {
        "PostgreSQL has the public password of the exercise: use it only on a development machine": (
            settings.database_parameters.get("password") == "password"
        ),
        "CACHE_TTL_S=0 disables the cache": not settings.cache_ttl_s,
        "LOG_LEVEL=debug logs more than a production system should store": settings.log_level == "debug",
        "WRITE_RATE_PER_MINUTE=0 sets no limit for writes": not settings.write_rate_per_minute,
        "ADMIN_PASSWORD is in the environment, where `docker inspect` shows it: use ADMIN_PASSWORD_FILE, or remove"
        " it once an administrator exists": bool(os.environ.get("ADMIN_PASSWORD")),
        "TRUSTED_PROXIES contains every address, so any client can forge its address": any(
            network.prefixlen == 0 for network in settings.trusted_proxies
        ),
        "published for other machines without TRUSTED_PROXIES: passwords and cookies are sent unencrypted, unless a"
        " proxy terminates HTTPS, and then TRUSTED_PROXIES must contain it": settings.is_public
        and not settings.trusted_proxies,
    }
    return [("settings", "warning", explanation) for explanation, holds in warnings.items() if holds]
