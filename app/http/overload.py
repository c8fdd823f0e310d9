"""The response to a request that an overloaded worker refuses. It takes Flask ten times as long to make one."""

from typing import Any

from app.http.request_log import request_id_of
from app.http.response_headers import HSTS, OTHER_POLICY, SECURITY_HEADERS

_HEADERS = (("Retry-After", "1"), ("Cache-Control", "no-store"), ("Content-Security-Policy", OTHER_POLICY))
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in (*_HEADERS, *SECURITY_HEADERS)]
_RAW_HSTS = (HSTS[0].encode(), HSTS[1].encode())
_MESSAGE = b"The service is too busy. Try again shortly."
_PROBLEM = b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"%b","instance":"%b"}'
_PAGE = b"<!doctype html><title>Temporarily unavailable</title><p>%b (%b)"


def overload_response(environ: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body: a page for browsers, a problem document for other clients."""
    # Its characters need no escapes.
    request_id = request_id_of(environ).encode()
    is_page = "text/html" in environ.get("HTTP_ACCEPT", "") and not environ["PATH_INFO"].startswith("/api/")
    content_type = b"text/html; charset=utf-8" if is_page else b"application/problem+json"
    body = (_PAGE if is_page else _PROBLEM) % (_MESSAGE, request_id)
    own = ((b"Content-Type", content_type), (b"Content-Length", b"%d" % len(body)), (b"X-Request-ID", request_id))
    hsts = [_RAW_HSTS] if environ["wsgi.url_scheme"] == "https" else []
    return 503, [*_RAW_HEADERS, *own, *hsts], body
