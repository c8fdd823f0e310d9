"""Request headers between the bytes of a connection and the environ of WSGI, where names and bytes can be lost."""

from collections.abc import Iterable, Mapping
from typing import Any

_JOINED_BY = {"HTTP_COOKIE": "; "}
_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")


def environ_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names and values as they were received, as variables of a WSGI environ (PEP 3333: each byte one character).

    A name with an underscore is dropped: `X_Forwarded_For` of a client would be the same variable as `X-Forwarded-For`
    of a proxy. Repeated headers become one (RFC 9110, section 5.3), cookies with their own separator (RFC 6265).
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
    """All values of the cookie `name`, in order; whatever other cookies hold makes no difference.

    As browsers write the header (RFC 6265, section 4.2.1): a semicolon always ends a cookie, also inside quotes.
    Werkzeug reads on to the end of the quotes, and raises for bytes that are not UTF-8.
    """
    header: str = environ.get("HTTP_COOKIE", "")
    pairs = (part.partition("=") for part in header.split(";"))
    return [_unquoted(value.strip()) for key, _, value in pairs if key.strip() == name]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
