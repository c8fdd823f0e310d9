"""Security headers of every response, as the OWASP Secure Headers Project recommends.

JSON and files have them too: a browser may open any URL.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

_Headers = list[tuple[str, str]]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SWAGGER_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI has icons in its style sheet."""
_OTHER_POLICY = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"))
_HTTPS = ("Strict-Transport-Security", "max-age=31536000")


def install_security_headers(app: Flask) -> None:
    """Add them to every response of `app`. A view may set a Content-Security-Policy of its own."""
    app.wsgi_app = _SecurityHeaders(app.wsgi_app)  # type: ignore[method-assign]


class _SecurityHeaders:
    """WSGI middleware."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: _Headers, *exc_info: Any) -> Any:
            # A proxy may have set the scheme.
            is_secure = environ["wsgi.url_scheme"] == "https"
            return start_response(
                status, [*headers, *_ALWAYS, *_policy(headers), *([_HTTPS] if is_secure else [])], *exc_info
            )

        return self.app(environ, start)


def _policy(headers: _Headers) -> _Headers:
    policy = _OTHER_POLICY
    for name, value in headers:
        lower = name.lower()
        if lower == "content-security-policy":
            return []
        if lower == "content-type" and value.startswith("text/html"):
            policy = PAGE_POLICY
    return [("Content-Security-Policy", policy)]
