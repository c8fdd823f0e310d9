"""The command-line door."""

from flask import Flask

from app.cli import tokens, users
from app.cli.doctor import doctor


def install_commands(app: Flask) -> None:
    """Add the commands to `flask`."""
    app.cli.add_command(doctor)
    app.cli.add_command(users.group)
    app.cli.add_command(tokens.group)
