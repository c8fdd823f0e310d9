"""Whose word on addresses is believed."""

import ipaddress
from typing import Any

import pytest
from flask import Flask, request

from app.web.proxies import install_proxies


def seen(trusted: str, remote: str, headers: dict[str, str]) -> tuple[str | None, str, str]:
    """Address, scheme and host of a request as the application sees them."""
    app = Flask("asked", static_folder=None)
    install_proxies(app, tuple(ipaddress.ip_network(part) for part in trusted.split()))
    found: list[Any] = []
    app.add_url_rule("/", "ask", lambda: found.append((request.remote_addr, request.scheme, request.host)) or "")
    app.test_client().get("/", headers=headers, environ_base={"REMOTE_ADDR": remote})
    return found[0]


DIRECT = ("198.51.100.7", "http", "localhost")
CLAIMS = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "users.example.org"}


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert seen("", "198.51.100.7", CLAIMS) == DIRECT
    assert seen("", "127.0.0.1", CLAIMS) == ("127.0.0.1", "http", "localhost")


def test_a_stranger_is_not_believed() -> None:
    assert seen("10.0.0.0/8", "198.51.100.7", CLAIMS) == DIRECT


@pytest.mark.parametrize(
    ("trusted", "remote"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("192.0.2.1 10.0.0.5", "10.0.0.5"),
        ("fd00::/8", "fd00::1"),
        ("::1", "::1"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
    ],
)
def test_a_trusted_proxy_is_believed(trusted: str, remote: str) -> None:
    assert seen(trusted, remote, CLAIMS) == ("203.0.113.9", "https", "users.example.org")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        # What a client claims stands before what the proxies add.
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.9.9.9, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("203.0.113.9,10.0.0.3 ,10.0.0.2", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("2001:db8::7", "2001:db8::7"),
        ("garbage, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.9, garbage", "10.0.0.1"),
        ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("", "10.0.0.1"),
        (" , ,", "10.0.0.1"),
        ("203.0.113.9\xff", "10.0.0.1"),
        ("٣.٣.٣.٣".encode().decode("latin-1"), "10.0.0.1"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_trusted_proxy(chain: str, client: str) -> None:
    assert seen("10.0.0.0/8", "10.0.0.1", {"X-Forwarded-For": chain})[0] == client


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("https", "https"), ("http", "http"), ("http, https", "https"), ("ftp", "http"), ("", "http"), ("HTTPS", "https")],
)
def test_the_scheme_is_what_the_nearest_proxy_says(proto: str, scheme: str) -> None:
    assert seen("10.0.0.1", "10.0.0.1", {"X-Forwarded-Proto": proto})[1] == scheme
