"""What commands share: who is meant, passwords that nobody sees, and errors as one sentence."""

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
    """A group of commands that end with 1 and a sentence when something is refused or does not work."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command of the group."""
        try:
            return super().invoke(ctx)
        except DomainError as error:
            raise click.ClickException(str(error)) from None


def user_named(login: str) -> tuple[uuid.UUID, str]:
    """Id and username of the one user whose username, email or id is `login`.

    Raises: ClickException (no user, or several, which it lists), ValidationFailed, Unavailable
    """
    found = {user["id"]: user for user in _candidates(login)}
    if not found:
        raise click.ClickException(f"There is no user with the username or email {login}.")
    if len(found) > 1:
        lines = [f"{login} is the name of several users. Give what only one of them has:"]
        lines += (f"  {one['id']}  username {one['username']}, email {one['email']}" for one in found.values())
        raise click.ClickException("\n".join(lines))
    (user,) = found.values()
    return uuid.UUID(user["id"]), user["username"]


def new_password(*, from_stdin: bool) -> str:
    """A password as it was typed twice without echo, or from standard input: never from an argument, which all see."""
    if from_stdin:
        text = sys.stdin.read().rstrip("\r\n")
        if "\n" in text:
            raise click.ClickException("Standard input has several lines. It must be the password alone.")
        return text
    if not sys.stdin.isatty():
        raise click.ClickException("There is no terminal to ask for the password: use --password-stdin.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True))


password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


def _candidates(login: str) -> Iterator[dict[str, Any]]:
    for field in ("username", "email"):
        yield from orjson.loads(services().user_pages.page(validated(ListQuery, {field: login})).body)
    with suppress(NotFound):
        yield orjson.loads(services().user_reads.get(user_id_of(login)).body)
