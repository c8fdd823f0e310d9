"""Access to the parts of the current application. app.factory.Services builds them."""

from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

if TYPE_CHECKING:
    from app.factory import Services

EXTENSION = "services"
"""The key of the parts in `Flask.extensions`."""


def services() -> "Services":
    """The parts of the current application."""
    return cast("Services", current_app.extensions[EXTENSION])


def services_of(app: Flask) -> "Services":
    """The parts of `app`."""
    return cast("Services", app.extensions[EXTENSION])
