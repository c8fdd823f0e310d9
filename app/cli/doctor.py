"""`flask doctor`: checks the service and suggests corrections."""

import os
import sys
from collections.abc import Iterator

import click
import psycopg
from flask.cli import with_appcontext
from sqlalchemy.exc import ProgrammingError

from app.cli.production_checks import Finding, production_findings
from app.config import Settings
from app.connection_settings import without_password
from app.db import database_role
from app.db.migrate import revisions
from app.errors import StartError, Unavailable
from app.http.services import services
from app.ops.backup_status import read_backup_status
from app.ops.health import Checker

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command("doctor")
@click.option("--production", is_flag=True, help="Also check what a production system needs.")
@with_appcontext
def doctor(*, production: bool) -> None:
    """Check the database, the cache, the migrations, the access, the backups and the settings.

    Exits with status 1 if a check fails. Example: docker compose exec web flask doctor --production
    """
    settings = services().settings
    # The result of a check that a development machine need not pass.
    unsafe = "failed" if production else "warning"
    findings = [
        *_services(settings),
        _migrations(settings),
        _role(settings, unsafe),
        _access(settings, unsafe),
        *_backups(settings, unsafe),
        *_retention(settings),
        *(production_findings(settings) if production else ()),
        *_settings(settings, unsafe),
    ]
    width = max(len(name) for name, _, _ in findings)
    for name, result, explanation in findings:
        click.echo(f"{name:<{width}}  {click.style(f'{result:<7}', fg=_COLOURS[result])}  {explanation}")
    sys.exit(1 if any(result == "failed" for _, result, _ in findings) else 0)


def _services(settings: Settings) -> list[Finding]:
    # This client waits longer for Redis than requests do.
    checks = {"database": services().health.database.check(), "cache": Checker(services().redis.ping).check()}
    addresses = {"database": settings.database_address, "cache": without_password(settings.redis_address)}
    return [
        Finding(name, "ok", f"{addresses[name]} responds in {check.latency_ms} ms")
        if check.status == "ok"
        else Finding(name, "failed", f"{addresses[name]} does not respond ({check.error})")
        for name, check in checks.items()
    ]


def _migrations(settings: Settings) -> Finding:
    try:
        found, newest, is_newer = revisions(settings)
    except (StartError, psycopg.Error) as error:
        return Finding("migrations", "failed", str(error).strip().splitlines()[0])
    if is_newer:
        what = f"the database has the revision {found} of a newer release, which this one (newest: {newest}) can use"
        return Finding("migrations", "ok", what)
    if found != newest:
        how = "run flask db upgrade"
        return Finding("migrations", "failed", f"the database has the revision {found or 'none'}, not {newest}: {how}")
    return Finding("migrations", "ok", f"the database has the newest revision, {newest}")


def _role(settings: Settings, unsafe: str) -> Finding:
    """Check that the service has only the rights in PostgreSQL that it needs."""
    try:
        with services().database.connection() as connection:
            name, is_superuser, is_owner = database_role.current(connection)
    except Unavailable as error:
        return Finding("role", "failed", f"the rights of the service in PostgreSQL are unknown: {error}")
    if not is_superuser and not is_owner:
        return Finding("role", "ok", f"works as {name}, which can only read and write rows")
    what = "a superuser" if is_superuser else "the owner of the tables"
    how = f"start the service, or run flask db upgrade: both create the role {settings.database_role} or say why not"
    return Finding("role", unsafe, f"works as {name}, {what}: {how}")


def _access(settings: Settings, unsafe: str) -> Finding:
    """Check that the service is secured and an administrator can sign in."""
    place = settings.published_address or settings.listen_address
    try:
        found = services().admins.count()
    except Unavailable as error:
        return Finding("access", "failed", f"the number of administrators is unknown: {error}")
    if found:
        return Finding("access", "ok", f"secured: {found} administrator{'s' if found > 1 else ''} can sign in")
    how = "`flask users create --role admin` creates an administrator"
    if settings.is_public:
        what = f"published on {place} without an administrator, so the service does not start"
        return Finding("access", "failed", f"{what}: {how}")
    return Finding("access", unsafe, f"setup mode: anyone who can reach {place} may do everything, until {how}")


def _backups(settings: Settings, unsafe: str) -> Iterator[Finding]:
    """Report what the service `backup` says of itself."""
    status = read_backup_status(settings.backup_status_file)
    if status is None:
        if unsafe == "failed":
            how = "make sure that another program backs up PostgreSQL"
            yield Finding("backups", "warning", f"unknown, because BACKUP_STATUS_FILE is not set: {how}")
        return
    yield from (Finding("backups", unsafe, str(failure)) for failure in status.failures)
    yield from (Finding("backups", "warning", str(warning)) for warning in status.warnings)
    if not status.failures:
        proven, archived = (f"{at:%Y-%m-%d %H:%M} UTC" for at in (status.proven_at, status.archived_at))
        yield Finding("backups", "ok", f"proven at {proven}; changes until {archived} can be restored")


def _retention(settings: Settings) -> Iterator[Finding]:
    """Report what is deleted because of its age."""
    limits = {
        "history": ("history entries", settings.history_days, "HISTORY_DAYS"),
        "trash": ("users in the trash", settings.trash_days, "TRASH_DAYS"),
    }
    try:
        records = services().retention.records()
    except (Unavailable, ProgrammingError):
        # Other checks have failed.
        return
    for kind, (what, days, name) in limits.items():
        explanation = f"{what} are deleted after {days} days" if days else f"{what} are kept for ever ({name}=0)"
        if record := records.get(kind):
            explanation += f"; {record.deleted:,} deleted until {record.deleted_at:%Y-%m-%d %H:%M} UTC"
        yield Finding("retention", "ok", explanation)


def _settings(settings: Settings, unsafe: str) -> Iterator[Finding]:
    """Report unusual settings. With --production, `secrets` and `proxies` report the last four."""
    is_public_password = settings.database_parameters.get("password") == "password"
    prefixes = [network.prefixlen for network in settings.trusted_proxies]
    unusual = {
        "CACHE_TTL_S=0 disables the cache": not settings.cache_ttl_s,
        "WRITE_RATE_PER_MINUTE=0 sets no limit for writes": not settings.write_rate_per_minute,
    }
    if unsafe == "warning":
        unusual |= {
            "PostgreSQL has the public password of the exercise: use it only for development": is_public_password,
            "ADMIN_PASSWORD is in the environment, where `docker inspect` shows it: use ADMIN_PASSWORD_FILE, or remove"
            " it once an administrator exists": bool(os.environ.get("ADMIN_PASSWORD")),
            "TRUSTED_PROXIES contains every address, so any client can forge its address": 0 in prefixes,
            "published for other machines without TRUSTED_PROXIES: passwords and cookies are sent unencrypted, unless a"
            " proxy terminates HTTPS, and then TRUSTED_PROXIES must contain it": settings.is_public and not prefixes,
        }
    yield from (Finding("settings", "warning", explanation) for explanation, holds in unusual.items() if holds)
    if settings.log_level == "debug":
        yield Finding("settings", unsafe, "LOG_LEVEL=debug logs more than a production system should store")
