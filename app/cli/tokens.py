"""`flask tokens`: create, list and revoke API tokens."""

import re
from datetime import UTC, datetime, timedelta

import click

from app.auth.permissions import AuditContext, system_actor
from app.auth.schemas import TokenDraft
from app.cli.prompts import Group, find_user
from app.http.parsing import token_id_of, validated
from app.http.services import services
from app.models import ROLES

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_COLUMNS = ("id", "name", "role", "username", "created_at", "expires_at", "last_used_at")

group = Group("tokens", help="Manage API tokens.")


def duration(text: str) -> timedelta:
    """A duration: 12h, 90d or 52w. Raises: ValueError"""
    found = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration, such as 12h, 90d or 52w.")
    return int(found[1]) * _UNITS[found[2]]


@group.command("create")
@click.option("--name", required=True, help="The purpose of the token.")
@click.option(
    "--role", required=True, type=click.Choice(ROLES), help="The role of the token; not higher than that of its user."
)
@click.option("--user", "login", required=True, metavar="EMAIL_OR_USERNAME", help="The user that the token acts for.")
@click.option(
    "--expires-in", type=duration, metavar="TIME", help="12h, 90d or 52w. Without it the token never expires."
)
def create(name: str, role: str, login: str, expires_in: timedelta | None) -> None:
    """Create an API token. Standard output contains only its secret, which is not shown again.

    Example: flask tokens create --name ci --role viewer --user ada@example.com --expires-in 90d
    """
    user_id, username = find_user(login)
    expires_at = datetime.now(UTC) + expires_in if expires_in else None
    fields = {"name": name, "role": role, "user_id": user_id, "expires_at": expires_at}
    created = services().tokens.create(validated(TokenDraft, fields), AuditContext(system_actor("flask tokens create")))
    until = f"until {created['expires_at']}" if expires_at else "until it is revoked"
    click.echo(f"Token {created['id']} acts for {username} as {role}, {until}. Its secret:", err=True)
    click.echo(created["token"])


@group.command("list")
def list_tokens() -> None:
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
    """Revoke an API token. Its next request is refused.

    Example: flask tokens revoke 01a20492-380f-7431-a721-d959a64c201b
    """
    services().tokens.revoke(token_id_of(token_id), AuditContext(system_actor("flask tokens revoke")))
    click.echo("Revoked.")
