"""Headers of every response: session cookie, rate limit and security headers.

The OWASP Secure Headers Project recommends the latter. JSON and files have them too: a browser may open any URL.
"""

from http import HTTPStatus

from flask import Flask, Response, request

from app.errors import Quota
from app.http.context import context
from app.http.parsing import SESSION_COOKIE
from app.http.services import services

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SWAGGER_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI has icons in its style sheet."""
OTHER_POLICY = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
SECURITY_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"))
HSTS = ("Strict-Transport-Security", "max-age=31536000")
"""Only in responses over https (RFC 6797)."""


def install_response_headers(app: Flask) -> None:
    """Add them to every response of `app`. A view may set a Content-Security-Policy of its own."""
    app.after_request(_add_headers)


def quota_headers(quota: Quota) -> dict[str, str]:
    """RateLimit header fields (draft-ietf-httpapi-ratelimit-headers)."""
    return {
        "RateLimit-Policy": f'"{quota.name}";q={quota.amount};w={quota.window_s}',
        "RateLimit": f'"{quota.name}";r={quota.remaining};t={quota.reset_s}',
    }


def _add_headers(response: Response) -> Response:
    headers, current = response.headers, context()
    if current.cookie is not None:
        _set_session_cookie(response, current.cookie)
    if current.quota is not None:
        headers.update(quota_headers(current.quota))
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if response.is_sequence and not response.get_data():
        # Flask's default for an empty response such as 204 is text/html.
        headers.pop("Content-Type", None)
    for name, value in SECURITY_HEADERS:
        headers.add(name, value)
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if response.mimetype == "text/html" else OTHER_POLICY)
    if request.is_secure:
        headers.add(*HSTS)
    return response


def _set_session_cookie(response: Response, secret: str) -> None:
    """Set the cookie; an empty secret deletes it."""
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=round(86400 * services().settings.session_max_days) if secret else 0,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
