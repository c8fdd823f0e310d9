"""Headers of every response, among them the security headers that the OWASP Secure Headers Project recommends.

JSON and files have them too: a browser may open any URL.
"""

from flask import Flask, Response, request

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SWAGGER_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI has icons in its style sheet."""
_OTHER_POLICY = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"


def install_response_headers(app: Flask) -> None:
    """Add them to every response of `app`. A view may set a Content-Security-Policy of its own."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    headers = response.headers
    if response.is_sequence and not response.get_data():
        # Flask's default for an empty response such as 204 is text/html.
        headers.pop("Content-Type", None)
    headers.add("X-Content-Type-Options", "nosniff")
    headers.add("Referrer-Policy", "same-origin")
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if response.mimetype == "text/html" else _OTHER_POLICY)
    if request.is_secure:
        headers.add("Strict-Transport-Security", "max-age=31536000")
    return response
