"""SQLAlchemy's engine of an application, to count statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event

from app.extensions import db


def engine_of(app: Flask) -> Engine:
    """SQLAlchemy's engine of `app`."""
    with app.app_context():
        return db.engine


@contextmanager
def statements_of(app: Flask) -> Iterator[list[str]]:
    """The SQL of the statements that SQLAlchemy executes inside."""
    engine, statements = engine_of(app), list[str]()

    def record(connection: Any, cursor: Any, statement: str, *_: Any) -> None:  # noqa: ARG001 - SQLAlchemy gives them
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", record)
