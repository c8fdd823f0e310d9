"""Behind a proxy: who really asks, and how. Only proxies that TRUSTED_PROXIES names are believed."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def install_proxies(app: Flask, trusted: tuple[Network, ...]) -> None:
    """Take address, scheme and host of requests of `app` from X-Forwarded-* when a trusted proxy sends them."""
    if trusted:
        app.wsgi_app = _Forwarded(app.wsgi_app, trusted)  # type: ignore[method-assign]


class _Forwarded:
    """WSGI middleware; the nearest address that is no trusted proxy is the client's."""

    def __init__(self, app: Callable[..., Iterable[bytes]], trusted: tuple[Network, ...]) -> None:
        self._app, self._trusted = app, trusted

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            for hop in reversed(_values(environ, "HTTP_X_FORWARDED_FOR")):
                if _address(hop) is None:
                    break
                environ["REMOTE_ADDR"] = hop
                if not self._is_trusted(hop):
                    break
            # Each proxy adds its own; the last is the one that we trust.
            for name, key in (("HTTP_X_FORWARDED_PROTO", "wsgi.url_scheme"), ("HTTP_X_FORWARDED_HOST", "HTTP_HOST")):
                value = (_values(environ, name) or [""])[-1].lower()
                if value and (key == "HTTP_HOST" or value in ("http", "https")):
                    environ[key] = value
        return self._app(environ, start_response)

    def _is_trusted(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._trusted)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # So it is written where one socket listens for both kinds.
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _values(environ: dict[str, Any], name: str) -> list[str]:
    return [value.strip() for value in environ.get(name, "").split(",") if value.strip()]
