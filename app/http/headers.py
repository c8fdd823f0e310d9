"""Request headers as WSGI variables, and cookies, without losing bytes or repeated values."""

from collections.abc import Iterable, Mapping
from typing import Any

_JOINED_BY = {"HTTP_COOKIE": "; "}
_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")


def environ_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Request headers as variables of a WSGI environ (PEP 3333: one character per byte).

    A name with an underscore is dropped: `X_Forwarded_For` of a client would be the same variable as `X-Forwarded-For`
    of a proxy. Repeated headers are joined (RFC 9110, section 5.3), Cookie with its own separator (RFC 6265).
    """
    found: dict[str, str] = {}
    for name, value in raw:
        if b"_" in name:
            continue
        variable = name.decode("latin-1").upper().replace("-", "_")
        if variable not in _WITHOUT_PREFIX:
            variable = f"HTTP_{variable}"
        text = value.decode("latin-1")
        earlier = found.get(variable)
        found[variable] = text if earlier is None else f"{earlier}{_JOINED_BY.get(variable, ',')}{text}"
    return found


def cookie_values(environ: Mapping[str, Any], name: str) -> list[str]:
    """All values of the cookie `name`, in order.

    A semicolon always ends a cookie (RFC 6265, section 4.2.1), also inside quotes. Werkzeug's parser reads on to the
    closing quote, and raises for bytes that are not UTF-8: another cookie could hide this one.
    """
    header: str = environ.get("HTTP_COOKIE", "")
    pairs = (part.partition("=") for part in header.split(";"))
    return [_unquoted(value.strip()) for key, _, value in pairs if key.strip() == name]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
