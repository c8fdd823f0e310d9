"""Forwarded headers, and the proxies that are trusted."""

import ipaddress
import time
from typing import Any

import pytest
from flask import Flask, request

from app.http.proxies import install_proxies


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


def test_without_trusted_proxies_forwarded_headers_are_ignored() -> None:
    assert seen("", "198.51.100.7", CLAIMS) == DIRECT
    assert seen("", "127.0.0.1", CLAIMS) == ("127.0.0.1", "http", "localhost")


def test_headers_from_an_untrusted_address_are_ignored() -> None:
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
def test_headers_from_a_trusted_proxy_are_used(trusted: str, remote: str) -> None:
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
def test_the_scheme_is_taken_from_the_nearest_proxy(proto: str, scheme: str) -> None:
    assert seen("10.0.0.1", "10.0.0.1", {"X-Forwarded-Proto": proto})[1] == scheme


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("203.0.113.9:4711, 10.0.0.3:80, [::ffff:10.0.0.2]:80", "203.0.113.9"),
        ("203.0.113.9:port, 10.0.0.2", "10.0.0.2"),
        ("[203.0.113.9, 10.0.0.2", "10.0.0.2"),
        ("fe80::1%eth0, 10.0.0.2", "10.0.0.2"),
    ],
)
def test_addresses_may_have_ports(chain: str, client: str) -> None:
    """Some proxies (Azure's, IIS, HAProxy) write the port of the client behind its address."""
    assert seen("10.0.0.0/8", "10.0.0.1", {"X-Forwarded-For": chain})[0] == client


@pytest.mark.parametrize(
    ("proto", "chain", "scheme"),
    [
        # Each proxy added how it was asked: the outer one by https, the inner one by http.
        ("https,http", "203.0.113.9, 10.0.0.2", "https"),
        ("https, http", "203.0.113.9, 10.0.0.2", "https"),
        ("http,https", "203.0.113.9, 10.0.0.2", "http"),
        # What the client claims stands before that.
        ("https,http", "192.0.2.1, 203.0.113.9", "http"),
        # One of them did not add its own.
        ("https,http", "203.0.113.9", "https"),
        ("https,http", "", "https"),
        ("http", "203.0.113.9, 10.0.0.2", "http"),
        ("https\xff", "203.0.113.9", "http"),
    ],
)
def test_the_scheme_is_that_of_the_client(proto: str, chain: str, scheme: str) -> None:
    """Behind two proxies `X-Forwarded-Proto: https,http` was http."""
    headers = {"X-Forwarded-Proto": proto, **({"X-Forwarded-For": chain} if chain else {})}
    assert seen("10.0.0.0/8", "10.0.0.1", headers)[1] == scheme


def test_the_host_is_the_one_that_the_client_requested() -> None:
    """Each proxy may add the name by which it was asked."""
    headers = {"X-Forwarded-For": "203.0.113.9, 10.0.0.2", "X-Forwarded-Host": "users.example, inner.example"}
    assert seen("10.0.0.0/8", "10.0.0.1", headers)[2] == "users.example"
    assert seen("10.0.0.0/8", "10.0.0.1", {**headers, "X-Forwarded-For": "203.0.113.9"})[2] == "inner.example"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("for=203.0.113.9;proto=https;host=users.example", ("203.0.113.9", "https", "users.example")),
        ('For="203.0.113.9:4711" ; Proto=HTTPS;Host="Users.Example:8443"',
         ("203.0.113.9", "https", "users.example:8443")),
        ('for="[2001:db8::7]:4711";proto=https', ("2001:db8::7", "https", "localhost")),
        ("for=203.0.113.9;proto=https;host=a.example, for=10.0.0.2;proto=http;host=b.example",
         ("203.0.113.9", "https", "a.example")),
        # An address that is no trusted proxy may have sent any values before that.
        ("for=192.0.2.1;proto=https;host=evil.example, for=203.0.113.9", ("203.0.113.9", "http", "localhost")),
        ("for=unknown;proto=https, for=10.0.0.2", ("10.0.0.2", "https", "localhost")),
        ("for=_hidden;proto=https", ("10.0.0.1", "https", "localhost")),
        ('for="203.0.113.9";by="a, b; c";secret=x', ("203.0.113.9", "http", "localhost")),
        ('for="203.0.113.9', ("10.0.0.1", "http", "localhost")),
        ("for=203.0.113.9 proto=https", ("10.0.0.1", "http", "localhost")),
        ("nonsense", ("10.0.0.1", "http", "localhost")),
        ("for=203.0.113.9\xff", ("10.0.0.1", "http", "localhost")),
        ("", ("10.0.0.1", "http", "localhost")),
    ],
)  # fmt: skip
def test_forwarded_is_parsed_according_to_rfc_7239(header: str, found: tuple[str, str, str]) -> None:
    """`Forwarded` says the same as the three X-Forwarded-* together."""
    assert seen("10.0.0.0/8", "10.0.0.1", {"Forwarded": header}) == found
    assert seen("", "10.0.0.1", {"Forwarded": header}) == ("10.0.0.1", "http", "localhost")
    assert seen("10.0.0.0/8", "198.51.100.7", {"Forwarded": header}) == DIRECT


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"])
def test_forwarded_is_ignored_beside_x_forwarded(name: str) -> None:
    """A proxy that sets X-Forwarded-* passes on what a client sends as Forwarded."""
    headers = {name: CLAIMS[name], "Forwarded": "for=192.0.2.66;proto=https;host=evil.example"}
    assert seen("10.0.0.0/8", "10.0.0.1", headers) == seen("10.0.0.0/8", "10.0.0.1", {name: CLAIMS[name]})


@pytest.mark.parametrize("claim", ["a" * 60_000, "for=" + 'a="' + r"\a" * 30_000, "a=;" * 20_000 + "a" * 10_000])
def test_a_long_header_is_parsed_quickly(claim: str) -> None:
    """The event loop reads Forwarded, which many proxies pass on as a client sent it; 32 kB took 8 s."""
    began = time.perf_counter()
    assert seen("10.0.0.0/8", "10.0.0.1", {"Forwarded": claim})[0] == "10.0.0.1"
    assert time.perf_counter() - began < 0.5
