"""The blueprints of the console."""

from flask import Blueprint
from werkzeug.exceptions import HTTPException

from app.console.drafts import redirect_unexpected_draft
from app.console.error_pages import domain_error_page, http_error_page, unexpected_error_page
from app.errors import DomainError


def console_blueprint(name: str) -> Blueprint:
    """A blueprint that answers every error with a page."""
    blueprint = Blueprint(name, __name__)
    blueprint.register_error_handler(DomainError, domain_error_page)
    blueprint.register_error_handler(HTTPException, http_error_page)
    blueprint.register_error_handler(Exception, unexpected_error_page)
    blueprint.before_request(redirect_unexpected_draft)
    return blueprint
