"""The front door for guests: db, cache, create_app - and nothing else."""

from app.extensions import cache, db
from app.factory import create_app

__all__ = ["cache", "create_app", "db"]
