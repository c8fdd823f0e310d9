"""The session cookie, and cookies of requests, without losing bytes or repeated values."""

from collections.abc import Mapping
from typing import Any

SESSION_COOKIE = "fsa_session"


def cookie_values(environ: Mapping[str, Any], name: str) -> list[str]:
    """All values of the cookie `name`, in order.

    A semicolon always ends a cookie (RFC 6265, section 4.2.1), also inside quotes. Werkzeug's parser reads on to the
    closing quote, and raises for bytes that are not UTF-8: another cookie could hide this one.
    """
    found: list[str] = []
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        key, _, raw = part.partition("=")
        if key.strip() == name:
            value = raw.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
            found.append(value[1:-1] if is_quoted else value)
    return found
