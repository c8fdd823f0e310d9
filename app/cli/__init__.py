"""The command-line door."""

import contextlib
import importlib
from collections.abc import Iterator, MutableMapping

import click
from flask import Flask
from flask.cli import AppGroup

from app.errors import SettingsError


class Commands(AppGroup):
    """The commands of an application; ours are loaded when the first command is looked for.

    A server never looks for one. With what only they need (Alembic, Faker) they are a fifth of all that it would
    load, and 12 MiB of its memory.
    """

    def __init__(self, app: Flask) -> None:
        self._app, self._is_loaded = app, False
        super().__init__(name=app.cli.name, commands=app.cli.commands)

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """All commands by name."""
        if not self._is_loaded:
            self._is_loaded = True
            importlib.import_module("app.cli.commands").add_to(self._app)
        return self._commands

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._commands = commands


def install_commands(app: Flask) -> None:
    """Add the commands to `flask`."""
    app.cli = Commands(app)


@contextlib.contextmanager
def settings_refused() -> Iterator[None]:
    """Let a command end with the sentence of a SettingsError, where `flask` would show the lines that raised it."""
    try:
        yield
    except SettingsError as error:
        if click.get_current_context(silent=True) is None:
            raise
        raise click.ClickException(str(error)) from None
