"""Errors outside the console, for a browser: pages as well. Programs, and everybody below /api, get problems."""

from collections.abc import Callable
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from app.console.rendering import misused, refused, unforeseen
from app.errors import DomainError
from app.http.problems import domain_problem, http_problem, unforeseen_problem

_TYPES = ("application/problem+json", "application/json", "text/html")
"""What an error may be, the first for whoever takes anything."""


def install_error_pages(app: Flask) -> None:
    """Answer errors of `app` with a page where a browser asks for one; to be called after install_problems."""
    app.register_error_handler(DomainError, _either(refused, domain_problem))
    app.register_error_handler(HTTPException, _either(misused, http_problem))
    app.register_error_handler(Exception, _either(unforeseen, unforeseen_problem))


def _either(as_page: Callable[[Any], Any], as_problem: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda error: as_page(error) if _wants_page() else as_problem(error)


def _wants_page() -> bool:
    is_api = f"{request.path}/".startswith("/api/")
    return not is_api and request.accept_mimetypes.best_match(_TYPES) == "text/html"
