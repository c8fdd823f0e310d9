"""Protection against requests that pages of other sites send through a browser (CSRF, DNS rebinding).

Such a page could use the session cookie of a signed-in user, or a service in setup mode, which needs no credential. In
setup mode the service only answers under local host names, as Redis's protected mode does.
"""

import re

from werkzeug.datastructures import Headers

from app.config import is_loopback
from app.errors import N_, Forbidden

SAFE = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")
_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?", re.ASCII)


def check_host(host: str, allowed_hosts: frozenset[str]) -> None:
    """Refuse a Host that is not a local name: a page may have rebound its own name to this machine.

    Raises: Forbidden
    """
    name = (parse_host(host) or ("", None))[0].rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or is_loopback(name) or name in allowed_hosts:
        return
    raise Forbidden(
        N_(
            "The Host header must be a local name such as localhost while nobody has to sign in."
            " ALLOWED_HOSTS takes further names."
        )
    )


def check_origin(scheme: str, host: str, headers: Headers) -> None:
    """Refuse an unsafe request that a page of another origin makes. Raises: Forbidden"""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if (site is not None and site not in _OWN) or (origin is not None and not _is_own(origin, scheme, host)):
        raise Forbidden(N_("Writes from pages of other sites are refused."))


def is_same_origin(scheme: str, host: str, headers: Headers) -> bool:
    """Whether the headers say that a page of this origin sends the request. False without such headers."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if origin is not None:
        return _is_own(origin, scheme, host)
    return site == "same-origin"


def parse_host(host: str, default_port: int | None = None) -> tuple[str, int | None] | None:
    """The name, in lower case and without brackets, and the port of a Host header (RFC 9110, section 7.2).

    default_port: the port of a header that has none. Returns None if the header is malformed. A URL parser would also
    take user information: in `evil.example:80@localhost` it finds `localhost`.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    port = int(found[2]) if found[2] else default_port
    return (found[1].lower().strip("[]"), port) if port is None or 0 < port <= _MAX_PORT else None


def _is_own(origin: str, scheme: str, host: str) -> bool:
    """Whether `origin` is that of a request for `host` by `scheme`: same scheme, host and port (RFC 6454, section 5).

    An https origin may come with an http scheme: TLS may end at a proxy that does not report it, and a browser never
    lets an https page send a request over http. An http origin never fits https: plain http can be changed on its way.
    """
    page, _, authority = origin.partition("://")
    page = page.lower()
    if page not in _PORTS or (scheme == "https" and page != "https"):
        return False
    own, other = parse_host(host, _PORTS[page]), parse_host(authority, _PORTS[page])
    return own is not None and own == other
