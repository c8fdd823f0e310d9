"""What commands share: who is meant, passwords that nobody sees, and errors as one sentence."""

import sys
import uuid
from typing import Any

import click
import orjson
from flask.cli import AppGroup

from app.errors import DomainError, NotFound
from app.schemas import ListQuery
from app.services import listing
from app.web.reading import validated


class Group(AppGroup):
    """A group of commands that end with 1 and a sentence when something is refused or does not work."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command of the group."""
        try:
            return super().invoke(ctx)
        except DomainError as error:
            raise click.ClickException(str(error)) from None


def user_named(login: str) -> tuple[uuid.UUID, str]:
    """Id and username of the user who signs in with `login`. Raises: NotFound, Invalid, Unavailable"""
    for field in ("username", "email"):
        found = orjson.loads(listing.page(validated(ListQuery, {field: login, "limit": 1})).body)
        if found:
            return uuid.UUID(found[0]["id"]), found[0]["username"]
    raise NotFound(f"There is no user with the username or email {login}.")


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
