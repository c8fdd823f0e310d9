"""Client address, scheme and host from the headers of trusted proxies (TRUSTED_PROXIES).

They are read from X-Forwarded-For, -Proto and -Host. Forwarded (RFC 7239) is read only if none of the three is there:
most proxies set the three, and pass on whatever Forwarded a client sends.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.request import parse_http_list

from flask import Flask

from app.config import Network
from app.http.csrf import parse_host

_X_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")
_NODE = re.compile(r"\[(?P<v6>[^\]%]*)\](?::\d*)?|(?P<v4>[\d.]+)(?::\d*)?|(?P<bare>[^\[\]%]*)", re.ASCII)
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*(?:;|\Z)', re.ASCII)


class _Hops(NamedTuple):
    """One value per proxy, the nearest proxy last: the address it received the request from, its scheme and host."""

    addresses: list[str]
    schemes: list[str]
    hosts: list[str]


def install_proxies(app: Flask, trusted: tuple[Network, ...]) -> None:
    """Apply the headers of trusted proxies to the requests of `app`."""
    wsgi_app = app.wsgi_app

    def forwarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        apply_forwarded_headers(environ, trusted)
        return wsgi_app(environ, start_response)

    if trusted:
        app.wsgi_app = forwarded  # type: ignore[method-assign]


def apply_forwarded_headers(environ: dict[str, Any], trusted: tuple[Network, ...]) -> None:
    """Set address, scheme and host of a WSGI environ. Applying them twice has no further effect.

    The nearest address that is not a trusted proxy is the client's. The ASGI adapter applies them before it asks the
    response cache and reads a body. `install_proxies` applies them for servers without the adapter. After the adapter,
    it only compares the address, unless that is still the address of a trusted proxy.
    """
    if not _is_trusted(_address(environ.get("REMOTE_ADDR", "")), trusted):
        return
    hops = _x_forwarded(environ) or _forwarded(environ.get("HTTP_FORWARDED", ""))
    first = len(hops.addresses)
    for hop in reversed(hops.addresses):
        # This hop was reported by a trusted proxy.
        first -= 1
        found = _address(hop)
        if found is None:
            break
        environ["REMOTE_ADDR"] = str(found)
        if not _is_trusted(found, trusted):
            break
    scheme, host = _value_at(hops.schemes, hops.addresses, first), _value_at(hops.hosts, hops.addresses, first)
    if len(hops.schemes) != len(hops.addresses) and "https" in hops.schemes:
        # It is unknown which proxy sent which scheme. With TLS anywhere, the URL in the browser is https.
        scheme = "https"
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    if parse_host(host) is not None:
        # Werkzeug takes no empty port.
        environ["HTTP_HOST"] = host.removesuffix(":")


def _is_trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, trusted: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _value_at(values: list[str], addresses: list[str], first: int) -> str:
    """The value of the hop `first`, if there is one per hop, else the value of the nearest proxy."""
    if not values:
        return ""
    return values[first if len(values) == len(addresses) else -1]


def _address(node: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address with or without a port: 192.0.2.1:4711, [2001:db8::1]:4711, 2001:db8::1. None: it is none."""
    parts = _NODE.fullmatch(node)
    try:
        found = ipaddress.ip_address(parts["v6"] or parts["v4"] or parts["bare"] or "" if parts else "")
    except ValueError:
        return None
    # An IPv4 client of a dual-stack socket.
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _x_forwarded(environ: dict[str, Any]) -> _Hops | None:
    """None: there is none of these headers."""
    if not any(name in environ for name in _X_FORWARDED):
        return None
    addresses, schemes, hosts = (
        [value.strip() for value in environ.get(name, "").split(",") if value.strip()] for name in _X_FORWARDED
    )
    return _Hops(addresses, [scheme.lower() for scheme in schemes], [host.lower() for host in hosts])


def _forwarded(header: str) -> _Hops:
    """`Forwarded: for=192.0.2.1;proto=https;host=users.example, for="[2001:db8::1]:4711"`. Empty if it is malformed."""
    hops = []
    for element in parse_http_list(header):
        pairs = _pairs(element.strip())
        if pairs is None:
            return _Hops([], [], [])
        hops.append(pairs)
    return _Hops(*([hop.get(name, "").lower() for hop in hops] for name in ("for", "proto", "host")))


def _pairs(element: str) -> dict[str, str] | None:
    """The parameters of one proxy; None: they are malformed."""
    found, position = dict[str, str](), 0
    while position < len(element):
        pair = _PAIR.match(element, position)
        if pair is None:
            return None
        found[pair[1].lower()], position = _unquoted(pair[2]), pair.end()
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
