"""Behind a proxy: who really asks, and how. Only proxies that TRUSTED_PROXIES names are believed.

They say it in X-Forwarded-For, -Proto and -Host, or in Forwarded (RFC 7239), which counts only when none of the three
comes: most proxies set those, and pass on whatever Forwarded a client sends.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.request import parse_http_list

from flask import Flask

from app.http.csrf import parse_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_X_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")
_NODE = re.compile(r"\[(?P<v6>[^\]%]*)\](?::\d*)?|(?P<v4>[\d.]+)(?::\d*)?|(?P<bare>[^\[\]%]*)", re.ASCII)
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*(?:;|\Z)', re.ASCII)


class _Hops(NamedTuple):
    """What proxies said, each behind the ones before it: from whom a request came to it, how, and under which host."""

    addresses: list[str]
    schemes: list[str]
    hosts: list[str]


def install_proxies(app: Flask, trusted: tuple[Network, ...]) -> None:
    """Take address, scheme and host of requests of `app` from their headers when a trusted proxy sends them."""
    headers, wsgi_app = ForwardedHeaders(trusted), app.wsgi_app

    def forwarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        headers.apply(environ)
        return wsgi_app(environ, start_response)

    if trusted:
        app.wsgi_app = forwarded  # type: ignore[method-assign]


class ForwardedHeaders:
    """What trusted proxies say of requests; the nearest address that is no trusted proxy is the client's."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted

    def apply(self, environ: dict[str, Any]) -> None:
        """Put it into an environ; to do so twice changes nothing more."""
        if self._trusted and self._is_trusted(_address(environ.get("REMOTE_ADDR", ""))):
            self._believe(environ, _x_forwarded(environ) or _forwarded(environ.get("HTTP_FORWARDED", "")))

    def _believe(self, environ: dict[str, Any], hops: _Hops) -> None:
        """Put what `hops` say into `environ`."""
        first = len(hops.addresses)
        for hop in reversed(hops.addresses):
            # Whoever said this is trusted, whatever it says.
            first -= 1
            found = _address(hop)
            if found is None:
                break
            environ["REMOTE_ADDR"] = str(found)
            if not self._is_trusted(found):
                break
        scheme, host = _said(hops.schemes, hops.addresses, first), _said(hops.hosts, hops.addresses, first)
        if len(hops.schemes) != len(hops.addresses) and "https" in hops.schemes:
            # No telling which proxy said what: with TLS anywhere, the browser's address begins with https.
            scheme = "https"
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        if parse_host(host) is not None:
            environ["HTTP_HOST"] = host

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _said(values: list[str], addresses: list[str], first: int) -> str:
    """What the proxy of the hop `first` said, if each said something, else what the nearest did."""
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
    # So it is written where one socket listens for both kinds.
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _x_forwarded(environ: dict[str, Any]) -> _Hops | None:
    """None: no such header came."""
    if not any(name in environ for name in _X_FORWARDED):
        return None
    addresses, schemes, hosts = (
        [value.strip() for value in environ.get(name, "").split(",") if value.strip()] for name in _X_FORWARDED
    )
    return _Hops(addresses, [scheme.lower() for scheme in schemes], [host.lower() for host in hosts])


def _forwarded(header: str) -> _Hops:
    """`Forwarded: for=192.0.2.1;proto=https;host=users.example, for="[2001:db8::1]:4711"`. Nothing if it is damaged."""
    hops = []
    for element in parse_http_list(header):
        pairs = _pairs(element.strip())
        if pairs is None:
            return _Hops([], [], [])
        hops.append(pairs)
    return _Hops(*([hop.get(name, "").lower() for hop in hops] for name in ("for", "proto", "host")))


def _pairs(element: str) -> dict[str, str] | None:
    """The parameters of one proxy; None: they are damaged. Each is looked for only where the one before it ends."""
    found, position = dict[str, str](), 0
    while position < len(element):
        pair = _PAIR.match(element, position)
        if pair is None:
            return None
        found[pair[1].lower()], position = _unquoted(pair[2]), pair.end()
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
