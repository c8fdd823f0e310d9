"""All commands of this service for `flask`. Imported by app.cli when a command is looked up."""

from flask import Flask
from flask_migrate import Migrate

from app.cli import tokens, users
from app.cli.doctor import doctor
from app.db.migrate import MIGRATIONS
from app.extensions import db


def add_to(app: Flask) -> None:
    """Add the commands and `flask db` to `app`."""
    Migrate(app, db, directory=str(MIGRATIONS))
    app.cli.add_command(doctor)
    app.cli.add_command(users.group)
    app.cli.add_command(tokens.group)
