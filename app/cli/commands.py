"""All commands of `flask` that are ours. Only app.cli imports this, and only when a command is asked for."""

from flask import Flask
from flask_migrate import Migrate

from app.cli import tokens, users
from app.cli.doctor import doctor
from app.db.migrate import MIGRATIONS
from app.extensions import db


def add_to(app: Flask) -> None:
    """Add the commands to `app`, and `flask db` with what it works on."""
    Migrate(app, db, directory=str(MIGRATIONS))
    app.cli.add_command(doctor)
    app.cli.add_command(users.group)
    app.cli.add_command(tokens.group)
