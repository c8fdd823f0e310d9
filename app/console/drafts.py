"""Drafts: the form data that a user typed before signing in again.

When a session ends while a form is open, the sign-in page carries the form data in a hidden field. After sign-in the
form is shown again with this data, and nothing is saved.
"""

from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.http.csrf import SAFE, is_same_origin

DRAFT = "draft"
"""The form field that holds a draft: the form data, URL-encoded."""

_ENDPOINTS = ("console_user.create", "console_user.update", "console_tokens.create")
"""Endpoints that show their form again when they receive a draft, and change nothing."""


def sent_draft() -> dict[str, str] | None:
    """The draft in the current request. None: the request has no draft."""
    draft = request.form.get(DRAFT)
    return None if draft is None else dict(parse_qsl(draft, keep_blank_values=True))


def draft_of_request() -> str | None:
    """The current form data as a draft, without passwords. None: the form must not be kept.

    A form of another site is never kept: after sign-in the user would take its data for their own.
    """
    if request.endpoint not in _ENDPOINTS or not is_own_form():
        return None
    fields = [(name, value) for name, value in request.form.items(multi=True) if not name.endswith("password")]
    return request.form.get(DRAFT) or urlencode(fields)


def is_own_form() -> bool:
    """Whether the browser reports that a page of this service sent the form."""
    return is_same_origin(request.scheme, request.environ.get("HTTP_HOST", ""), request.headers)


def redirect_unexpected_draft() -> Response | None:
    """Redirect a draft to the start page when the endpoint does not accept drafts."""
    if request.method in SAFE or DRAFT not in request.form:
        return None
    if request.endpoint in _ENDPOINTS or request.endpoint == "console_account.sign_in":
        return None
    return redirect(url_for("console_setup.show"), HTTPStatus.SEE_OTHER)
