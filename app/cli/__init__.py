"""The command-line interface."""

import contextlib
import importlib
from collections.abc import Iterator, MutableMapping

import click
from flask import Flask
from flask.cli import AppGroup

from app.errors import SettingsError


class Commands(AppGroup):
    """The commands of an application. They are imported when the first command is looked up.

    A server never looks up a command. The commands with their dependencies (Alembic, Faker) would take 12 MiB of its
    memory.
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
    """End a command with the message of a SettingsError instead of a traceback."""
    try:
        yield
    except SettingsError as error:
        if click.get_current_context(silent=True) is None:
            raise
        raise click.ClickException(str(error)) from None
