"""`flask doctor`: what works, what does not, and what to do about it."""

import os
import sys

import click
import psycopg
from flask.cli import with_appcontext

from app.config import Settings
from app.connection_urls import without_password
from app.db import database_role
from app.db.migrate import revisions
from app.errors import StartError, Unavailable
from app.http.services import services

Finding = tuple[str, str, str]
"""What was looked at, ok, warning or failed, and a sentence."""

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """Check the database, the cache, the migrations, who may come in, and the settings.

    Exits with 1 when something does not work. Example: docker compose exec web flask doctor
    """
    settings = services().settings
    findings = [*_services(settings), _migrations(settings), _role(settings), _access(settings), *_settings(settings)]
    width = max(len(name) for name, _, _ in findings)
    for name, verdict, sentence in findings:
        click.echo(f"{name:<{width}}  {click.style(f'{verdict:<7}', fg=_COLOURS[verdict])}  {sentence}")
    sys.exit(1 if any(verdict == "failed" for _, verdict, _ in findings) else 0)


def _services(settings: Settings) -> list[Finding]:
    checks = services().infrastructure.health.diagnosis()
    places = {"database": settings.database_address, "cache": without_password(settings.redis_address)}
    return [
        (name, "ok", f"{places[name]} answers in {check.latency_ms} ms")
        if check.ok
        else (name, "failed", f"{places[name]} does not answer ({check.error})")
        for name, check in checks.items()
    ]


def _migrations(settings: Settings) -> Finding:
    try:
        found, newest = revisions(settings)
    except (StartError, psycopg.Error) as error:
        return "migrations", "failed", str(error).strip().splitlines()[0]
    if found != newest:
        return "migrations", "failed", f"the database is at {found or 'nothing'}, not at {newest}: run flask db upgrade"
    return "migrations", "ok", f"the database is at {newest}, the newest"


def _role(settings: Settings) -> Finding:
    """Whether the service has no more rights in PostgreSQL than it needs."""
    try:
        with services().infrastructure.database.connection() as connection:
            name, is_superuser, is_owner = database_role.current(connection)
    except Unavailable as error:
        return "role", "failed", f"what the service may do in PostgreSQL is not known: {error}"
    if not is_superuser and not is_owner:
        return "role", "ok", f"works as {name}, which reads and writes rows and owns nothing"
    what = "a superuser" if is_superuser else "the owner of the tables"
    how = f"start it, or run flask db upgrade, which makes the role {settings.database_role} or says why it can't"
    return "role", "warning", f"works as {name}, {what}: {how}"


def _access(settings: Settings) -> Finding:
    """Whether the service is open, and whether anybody can sign in."""
    place = settings.published_address or settings.listen_address
    try:
        found = services().admins.count()
    except Unavailable as error:
        return "access", "failed", f"whether anybody has to sign in is not known: {error}"
    if found:
        return "access", "ok", f"closed: {found} administrator{'s' if found > 1 else ''} can sign in"
    how = "`flask users create --role admin` makes an administrator"
    if settings.is_public:
        return "access", "failed", f"published on {place} without an administrator, so it does not start: {how}"
    return "access", "warning", f"open: who reaches {place} may do everything, until {how}"


def _settings(settings: Settings) -> list[Finding]:
    doubts = {
        "PostgreSQL has the password of the exercise: fine on a laptop, nowhere else": (
            settings.database_parameters.get("password") == "password"
        ),
        "CACHE_TTL_S=0 turns the cache off": not settings.cache_ttl_s,
        "LOG_LEVEL=debug says more than production should keep": settings.log_level == "debug",
        "WRITE_RATE_PER_MINUTE=0 lets a credential write as fast as it can": not settings.write_rate_per_minute,
        "ADMIN_PASSWORD stands in the environment, where `docker inspect` shows it: use ADMIN_PASSWORD_FILE, or take"
        " it out once there is an administrator": bool(os.environ.get("ADMIN_PASSWORD")),
        "TRUSTED_PROXIES holds every address, so anybody can pretend to come from anywhere": any(
            network.prefixlen == 0 for network in settings.proxy_networks
        ),
        "published for other machines without TRUSTED_PROXIES: passwords and cookies travel unencrypted, unless a"
        " proxy takes HTTPS, and then TRUSTED_PROXIES must name it": settings.is_public and not settings.proxy_networks,
    }
    return [("settings", "warning", sentence) for sentence, holds in doubts.items() if holds]
