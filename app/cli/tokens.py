"""`flask tokens`: API tokens from the command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from app.auth.audit_log import AuditContext
from app.auth.permissions import system_actor
from app.auth.schemas import TokenDraft
from app.cli.prompts import Group, user_named
from app.http.parsing import token_id_of, validated
from app.http.services import services
from app.models import ROLES

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_COLUMNS = ("id", "name", "role", "username", "created_at", "expires_at", "last_used_at")

group = Group("tokens", help="Work with API tokens.")


class Duration(click.ParamType[timedelta]):
    """A time from now: 12h, 90d or 52w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it. Raises: click.BadParameter"""
        found = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", str(value))
        if found is None:
            self.fail(f"{value!r} is no time from now, such as 12h, 90d or 52w.", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@group.command("create")
@click.option("--name", required=True, help="What it is for.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may do; never above its user's role.")
@click.option("--user", "login", required=True, metavar="EMAIL_OR_USERNAME", help="Whom it acts for.")
@click.option("--expires-in", type=Duration(), metavar="TIME", help="12h, 90d or 52w; never when left out.")
def create(name: str, role: str, login: str, expires_in: timedelta | None) -> None:
    """Make an API token. Its secret is all that is printed on standard output, and is shown this once.

    Example: flask tokens create --name ci --role viewer --user ada@example.com --expires-in 90d
    """
    user_id, username = user_named(login)
    expires_at = datetime.now(UTC) + expires_in if expires_in else None
    fields = {"name": name, "role": role, "user_id": user_id, "expires_at": expires_at}
    made = services().tokens.create(validated(TokenDraft, fields), AuditContext(system_actor("flask tokens create")))
    until = f"until {made.fields['expires_at']}" if expires_at else "until it is revoked"
    click.echo(f"Token {made.fields['id']} acts for {username} as {role}, {until}. Its secret:", err=True)
    click.echo(made.secret)


@group.command("list")
def show_all() -> None:
    """List all API tokens, newest first, without their secrets.

    Example: flask tokens list
    """
    rows = [_COLUMNS, *([str(token[name] or "never") for name in _COLUMNS] for token in services().tokens.get_list())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


@group.command("revoke")
@click.argument("token_id", metavar="ID")
def revoke(token_id: str) -> None:
    """End an API token; its next request is refused.

    Example: flask tokens revoke 01a20492-380f-7431-a721-d959a64c201b
    """
    services().tokens.revoke(token_id_of(token_id), AuditContext(system_actor("flask tokens revoke")))
    click.echo("Revoked.")
