"""The public names of the exercise: db, cache and create_app."""

from app.extensions import cache, db
from app.factory import create_app

__all__ = ["cache", "create_app", "db"]
