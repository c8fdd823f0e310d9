"""The engine of an application, whose statements tests count."""

from flask import Flask
from sqlalchemy import Engine

from app.extensions import db


def engine_of(app: Flask) -> Engine:
    """SQLAlchemy's engine of `app`."""
    with app.app_context():
        return db.engine
