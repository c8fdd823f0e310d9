"""Checks what clients of the site get from the proxy: its certificate, HTTPS only, and HSTS."""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator
from email.message import Message
from typing import Any

_FAILED = (OSError, http.client.HTTPException, UnicodeError)
_HSTS = re.compile(r'(?:.*;)?\s*max-age\s*=\s*"?0*[1-9]', re.IGNORECASE)
"""Matches a policy that is on. max-age=0 switches it off (RFC 6797, section 6.1.1)."""
_TIMEOUT_S = 5.0
_DAY_S = 86400
_LEFT_S = 14 * _DAY_S
_LEFT_SHARE = 6
"""A certificate of less than 84 days is renewed later: a sixth of its time must be left."""


def site_problems(name: str, host: str, https_port: int = 443, http_port: int = 80) -> Iterator[str]:
    """The problems of the site `name`, whose proxy is at `host`, and how to solve them."""
    try:
        certificate, headers = _https(name, host, https_port)
    except ssl.SSLCertVerificationError as error:
        yield f"the certificate is not valid: {error.verify_message}. Look into the log of the proxy"
    except _FAILED as error:
        yield f"{host}:{https_port} does not speak HTTPS ({error}). Look into the log of the proxy"
    else:
        yield from _certificate_problems(certificate)
        if not _HSTS.match(headers.get("Strict-Transport-Security", "")):
            yield "the header Strict-Transport-Security is missing or has no max-age above 0: let the proxy set it"
    try:
        with socket.create_connection((host, http_port), _TIMEOUT_S) as plain:
            response = _ask(plain, name)
    except _FAILED as error:
        yield f"{host}:{http_port} does not redirect to HTTPS ({error})"
    else:
        if not response.getheader("Location", "").startswith("https://"):
            yield f"port 80 answers with {response.status}: let the proxy redirect it to HTTPS"


def _https(name: str, host: str, port: int) -> tuple[dict[str, Any], Message]:
    """The certificate, and the headers of a response."""
    context = ssl.create_default_context()
    with (
        socket.create_connection((host, port), _TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        return encrypted.getpeercert() or {}, _ask(encrypted, name).headers


def _ask(connection: socket.socket, name: str) -> http.client.HTTPResponse:
    site = name.encode("idna").decode()
    connection.sendall(f"HEAD /api/health/live HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n".encode())
    response = http.client.HTTPResponse(connection, method="HEAD")
    response.begin()
    return response


def _certificate_problems(certificate: dict[str, Any]) -> Iterator[str]:
    begins, ends = (ssl.cert_time_to_seconds(certificate[field]) for field in ("notBefore", "notAfter"))
    left = ends - time.time()
    if left < min(_LEFT_S, (ends - begins) / _LEFT_SHARE):
        yield f"the certificate ends in {left / _DAY_S:.1f} days: look into the log of the proxy why it is not renewed"
