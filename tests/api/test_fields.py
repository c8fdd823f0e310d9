"""The rule of each field of a user."""

import json
from typing import Any

import pytest

from tests.support.api_client import ApiClient, error_fields


def nested(levels: int) -> dict[str, Any]:
    """An object of so many levels."""
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"x": document}
    return document


ACCEPTED = {
    "username": ["a", "u" * 254, "Ada", "ада", "田中", "a@b", "x-._~!$&'()*+", "😀", "𐐀", "0", "null"],
    "email": [
        None,
        "a@example.org",
        "Ada.Lovelace+tag@Example.ORG",
        "a@localhost.local",
        "a@printer.test",
        "a@b.invalid",
        "dörte@example.org",
        "a@exämple.org",
        "用户@例子.广告",
        "o'brien@example.ie",
        f"{'l' * 64}@{'d' * 63}.{'d' * 63}.{'d' * 57}.org",
    ],
    "name": [
        "A",
        "n" * 200,
        "José María",
        "O'Brien, Jr.",
        "田中 太郎",
        "👩‍👩‍👧",
        "a\u00a0b",
        "<b>x</b>",
        "م\u200cی",
        "=1+1",
    ],
    "role": ["member", "viewer", "editor", "admin"],
    "active": [True, False],
    "attributes": [
        {},
        nested(8),
        {"x": "y" * 16_000},
        {"n": 2**63 - 1, "m": -(2**63)},
        {"tiny": 5e-324, "huge": 1.7976931348623157e308, "zero": -0.0},
        {"__proto__": 1, "$where": "1", "a.b": {"c": 1}, "": None, "é": "\U0001f600"},
    ],
    "password": [None, "p" * 10, "p" * 128, "пароль пароль", "          "],
}
REFUSED = {
    "username": [
        "",
        " ",
        "a b",
        " ada",
        "ada\n",
        "a\tb",
        "a\u00a0b",
        "a\u2003b",
        "u" * 255,
        "a\u0007",
        "\x7f",
        1,
        True,
        [],
    ],
    "email": [
        "",
        "nobody",
        "@example.org",
        "a@",
        "a@b@example.org",
        "a b@example.org",
        "a@example..org",
        "a@-example.org",
        "a@example.org\n",
        "a@example.org, b@example.org",
        "Ada <ada@example.org>",
        f"a@{'d' * 250}.org",
        1,
        {},
    ],
    "name": ["", "   ", "n" * 201, "a\nb", "a\x00b", "a\x1bb", "a\u2028b", "a\x85b", 1, False],
    "role": ["", "king", "Admin", "member ", 0, None],
    "active": [0, 1, "true", "yes", None],
    "attributes": [None, [], "x", nested(9), {"x": "y" * 16_384}, {"n": 2**63}, {"n": -(2**63) - 1}],
    "password": ["", "p" * 9, "p" * 129, 1234567890],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in ACCEPTED.items() for v in values])
def test_a_good_value_is_taken_and_kept(api: ApiClient, field: str, value: object) -> None:
    user = api.create_user(**{"username": "somebody", field: value})
    if field != "password":
        assert user[field] == value
        assert api.get(f"/users/{user['id']}").json[field] == value
        assert api.put(f"/users/{user['id']}", user).json == user


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in REFUSED.items() for v in values])
def test_a_bad_value_is_refused_by_name(api: ApiClient, field: str, value: object) -> None:
    response = api.post("/users", {"username": "somebody", field: value})
    if "\x00" in str(value):
        assert response.status_code == 400
    else:
        assert response.status_code == 422, response.text
        assert error_fields(response) == {field}
    assert api.list_users() == []


def test_a_name_is_trimmed_and_composed(api: ApiClient) -> None:
    assert api.create_user(name=" \u3000e\u0301mile \u00a0")["name"] == "émile"


def test_a_username_is_composed_so_that_two_spellings_are_one(api: ApiClient) -> None:
    assert api.create_user(username="e\u0301")["username"] == "é"
    assert api.post("/users", {"username": "é"}).status_code == 409


def test_an_email_is_kept_as_it_was_sent(api: ApiClient) -> None:
    assert api.create_user(email="Ada.LOVELACE@Example.ORG")["email"] == "Ada.LOVELACE@Example.ORG"


def test_a_password_is_counted_in_characters_not_in_bytes(api: ApiClient) -> None:
    assert api.post("/users", {"username": "a", "password": "😀" * 9}).status_code == 422
    assert api.post("/users", {"username": "a", "password": "😀" * 128}).status_code == 201


@pytest.mark.parametrize("password", ["hunter2", "p" * 400])
def test_a_refused_password_is_not_told_back(api: ApiClient, password: str) -> None:
    response = api.post("/users", {"username": "a", "password": password})
    assert response.status_code == 422
    assert password not in response.text


def test_the_longest_keys_of_any_script_fit_into_every_index(api: ApiClient) -> None:
    for number, letter in enumerate(("ß", "İ", "ΐ", "ﷺ", "𝅘𝅥𝅮", "가", "㍐", "\U00010400", "ŉ", "ﬃ")):
        response = api.post("/users", {"username": letter * 254, "name": letter * 200})
        assert response.status_code in (201, 422), (letter, response.text)
        response = api.post("/users", {"username": f"u{number}", "name": letter * 200})
        assert response.status_code in (201, 422), (letter, response.text)
        assert api.get("/users", query_string={"sort": "name", "q": (letter * 200)[:200]}).status_code == 200


@pytest.mark.parametrize("field", ["name", "username", "password"])
def test_a_megabyte_of_accents_in_disorder_is_refused_without_putting_it_in_order(api: ApiClient, field: str) -> None:
    """Composing it would take minutes and block other requests."""
    body = {"email": "ada@example.org", field: "a" + "\u0315\u0300" * 240_000}
    response = api.post("/users", json.dumps(body, ensure_ascii=False).encode())
    assert response.status_code == 422
    assert error_fields(response) == {field}
