"""Request headers in the WSGI environ."""

import pytest

from app.http.granian_adapter import environ_headers
from app.http.parsing import cookie_values

TRUSTED = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"]


@pytest.mark.parametrize("name", [*TRUSTED, "Authorization", "Cookie", "Content-Type", "Content-Length", "If-Match"])
def test_a_header_with_an_underscore_is_dropped(name: str) -> None:
    """WSGI would give it the same variable as the name with dashes."""
    variable = name.upper().replace("-", "_")
    variable = variable if variable.startswith("CONTENT_") else f"HTTP_{variable}"
    good, forged = (name.lower().encode(), b"good"), (name.lower().replace("-", "_").encode(), b"forged")
    for raw in ([good], [good, forged], [forged, good]):
        assert environ_headers(raw if "-" in name else [good]) == {variable: "good"}
    half = (name.lower().replace("-", "_", 1).encode(), b"forged")
    assert environ_headers([half]) == ({} if "-" in name else {variable: "forged"})


def test_each_byte_of_a_header_becomes_one_character() -> None:
    """PEP 3333 has each byte as one character."""
    every = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
    assert environ_headers([(b"x-any", every)])["HTTP_X_ANY"].encode("latin-1") == every


def test_repeated_headers_become_one() -> None:
    raw = [
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"cookie", b"a=1"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"cookie", b"b=2"),
    ]
    assert environ_headers(raw) == {"HTTP_X_FORWARDED_FOR": "192.0.2.1,10.0.0.1", "HTTP_COOKIE": "a=1; b=2"}


@pytest.mark.parametrize(
    "others",
    [
        "",
        "theme=dark",
        "theme=gr\xfcn",
        "theme=gr\xc3\xbcn",
        'theme="half',
        'theme="a; b',
        'theme="\\',
        "theme",
        "=theme",
        "=",
        ";;",
        "xs=a,s=b",
        "S=other",
        "t = x",
        "\t",
        "$Version=1",
    ],
)
def test_the_session_cookie_is_found_beside_other_cookies(others: str) -> None:
    """Other cookies may precede or follow the session cookie."""
    for header in (f"{others}; s=good", f"s=good; {others}", f"{others};s=good;{others}", f' {others} ; s = "good" '):
        assert cookie_values({"HTTP_COOKIE": header}, "s") == ["good"], header
    assert cookie_values({"HTTP_COOKIE": others}, "s") == []


def test_all_values_of_a_repeated_cookie_are_returned_in_order() -> None:
    assert cookie_values({"HTTP_COOKIE": "s=1; x=0; s=2; s; s="}, "s") == ["1", "2", "", ""]
    assert cookie_values({}, "s") == []
