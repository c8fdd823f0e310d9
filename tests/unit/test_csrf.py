"""Host names and origins that setup mode accepts."""

# ruff: noqa: S104 - such addresses are what is refused

import pytest

from app.errors import Forbidden
from app.http.csrf import check_host, check_origin, is_same_origin, parse_host

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:5000",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:5000",
        "127.8.9.10:80",
        "[::1]",
        "[::1]:5000",
        "users.localhost",
        "a.b.localhost:5000",
    ],
)
def test_a_local_host_name_is_accepted_in_setup_mode(host: str) -> None:
    check_host(host, NONE)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":5000",
        "evil.com",
        "evil.com:5000",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]",
        "192.168.1.1:5000",
        "localhost.evil.com",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "evil.com@localhost.evil.com",
        "web",
        "[::1",
        "::1]",
        "a b",
        "localhost\x00.evil.com",
        "évil",
        "2130706433",
        "0x7f000001",
    ],
)
def test_any_other_host_name_is_refused_in_setup_mode(host: str) -> None:
    with pytest.raises(Forbidden):
        check_host(host, NONE)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:80@localhost",
        "evil.example@localhost:5000",
        "evil.example:80@127.0.0.1",
        "evil.example:80@[::1]",
        "evil.example@users.example.org",
        "user:secret@localhost",
        "@localhost",
        "localhost/",
        "localhost/evil.example",
        "localhost?evil.example",
        "localhost#evil.example",
        "localhost\\evil.example",
        "localhost,evil.example",
        "localhost evil.example",
        " localhost",
        "localhost ",
        "localhost\t",
        "localhost\n",
        "localhost:0",
        "localhost:5000:5000",
        "localhost:80a",
        "localhost:-1",
        "localhost:+80",
        "localhost:\u0665",
        "localhost:65536",
        "localhost:99999999999999999999",
        "localhost%00",
        "local%68ost",
        "[::1]evil.example",
        "evil.example[::1]",
        "[::1%25lo]",
        "[[::1]]",
        "\uff4cocalhost",
    ],
)
def test_a_malformed_host_header_is_not_a_local_name(host: str) -> None:
    """A URL parser would find a local name in a Host header that names another host."""
    assert parse_host(host) is None
    with pytest.raises(Forbidden):
        check_host(host, frozenset({"users.example.org"}))


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("Users.Example.org", ("users.example.org", None)),
        ("users.example.org:", ("users.example.org", None)),
        ("users.example.org:0443", ("users.example.org", 443)),
        ("my_web-1:5000", ("my_web-1", 5000)),
        ("[2001:DB8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_a_host_header_is_parsed_into_name_and_optional_port(host: str, parts: tuple[str, int | None]) -> None:
    assert parse_host(host) == parts


def test_a_host_name_from_the_settings_is_accepted() -> None:
    check_host("Users.Example.org:443", frozenset({"users.example.org"}))
    with pytest.raises(Forbidden):
        check_host("example.org", frozenset({"users.example.org"}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:5000"},
        {"Origin": "http://LOCALHOST:5000"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:5000"},
    ],
)
def test_pages_of_the_service_and_programs_may_write(headers: dict[str, str]) -> None:
    check_origin("http", "localhost:5000", headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:5000.evil.com"},
        {"Origin": "localhost:5000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:5000"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.com"},
    ],
)
def test_a_page_of_another_site_may_not_write(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        check_origin("http", "localhost:5000", headers)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "users.example:443", "https://users.example"),
        ("https", "users.example", "https://users.example:443"),
        ("http", "users.example:80", "http://users.example"),
        ("http", "users.example", "http://users.example:80"),
        ("http", "Users.Example:", "http://users.example"),
        ("https", "[2001:db8::1]:443", "https://[2001:DB8::1]"),
        ("https", "users.example", "HTTPS://users.example"),
        # TLS ends at a proxy of which the service does not know.
        ("http", "users.example:443", "https://users.example"),
        ("http", "users.example", "https://users.example"),
    ],
)
def test_an_origin_is_scheme_host_and_effective_port(scheme: str, host: str, origin: str) -> None:
    """Regression: a default port that only one side named was refused."""
    check_origin(scheme, host, {"Origin": origin})
    assert is_same_origin(scheme, host, {"Origin": origin})


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "users.example", "http://users.example"),
        ("https", "users.example:443", "http://users.example:443"),
        ("https", "users.example:80", "http://users.example"),
        ("https", "users.example", "https://users.example:80"),
        ("http", "users.example", "http://users.example:443"),
        ("http", "users.example:80", "https://users.example"),
        ("http", "users.example", "https://users.example:80"),
        ("http", "users.example", "http://users.example:0"),
        ("http", "users.example", "http://users.example/"),
        ("http", "users.example", "http://users.example?"),
        ("http", "users.example", "http://ada@users.example"),
        ("http", "users.example", "ftp://users.example"),
        ("http", "users.example", "//users.example"),
        ("http", "users.example", "http://users.example, http://users.example"),
        ("http", "users.example", "http://users.ex\xe4mple"),
        ("http", "", "http://"),
        ("http", ":80", "http://:80"),
    ],
)
def test_a_different_scheme_host_or_port_is_another_origin(scheme: str, host: str, origin: str) -> None:
    """Plain http is another origin for a request that came by https; so is another port."""
    with pytest.raises(Forbidden):
        check_origin(scheme, host, {"Origin": origin})
    assert not is_same_origin(scheme, host, {"Origin": origin})
