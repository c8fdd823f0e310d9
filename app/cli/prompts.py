"""Shared by the commands: users by name, hidden passwords, and errors without a traceback."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click
import orjson
from flask.cli import AppGroup

from app.errors import DomainError, NotFound
from app.http.parsing import user_id_of, validated
from app.http.services import services
from app.schemas import ListQuery


class Group(AppGroup):
    """A group of commands that end with status 1 and the message of a DomainError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Raises: ClickException"""
        try:
            return super().invoke(ctx)
        except DomainError as error:
            raise click.ClickException(str(error)) from None


def find_user(login: str) -> tuple[uuid.UUID, str]:
    """Id and username of the user with this username, email or id.

    Raises: ClickException (there is no such user, or several), ValidationFailed, Unavailable
    """
    found = {user["id"]: user for user in _matching_users(login)}
    if not found:
        raise click.ClickException(f"There is no user with the username or email {login}.")
    if len(found) > 1:
        lines = [f"{login} matches several users. Give a username, email or id that only one of them has:"]
        lines += (f"  {one['id']}  username {one['username']}, email {one['email']}" for one in found.values())
        raise click.ClickException("\n".join(lines))
    (user,) = found.values()
    return uuid.UUID(user["id"]), user["username"]


def new_password(*, from_stdin: bool) -> str:
    """A password from a hidden prompt, or from standard input. Never from an argument, which other users can see."""
    if from_stdin:
        text = sys.stdin.read().rstrip("\r\n")
        if "\n" in text:
            raise click.ClickException("Standard input has several lines. It must contain only the password.")
        return text
    if not sys.stdin.isatty():
        raise click.ClickException("There is no terminal to prompt for the password. Use --password-stdin.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Repeat the password", err=True))


password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


def _matching_users(login: str) -> Iterator[dict[str, Any]]:
    for field in ("username", "email"):
        yield from orjson.loads(services().user_pages.page(validated(ListQuery, {field: login})).body)
    with suppress(NotFound):
        yield orjson.loads(services().user_reads.get(user_id_of(login)).body)
