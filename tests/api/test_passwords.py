"""Passwords: all scripts, hashing, common passwords, invalid bodies."""

# ruff: noqa: RUF001 - passwords of every script

import json
import unicodedata
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher

from tests.support.api_client import error_fields
from tests.support.secured_app import PASSWORD, SecuredApp

NEW = "another horse battery"
ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}


pytestmark = pytest.mark.usefixtures("without_refusal_delay")


SPOKEN = [
    "correct horse battery staple",
    "пароль-лошадь-скрепка",
    "正しい馬のバッテリー・ステープル",
    "올바른말배터리스테이플입니다",
    "الحصان الصحيح بطارية",
    "סוס נכון סוללה סיכה",
    "सही घोड़ा बैटरी स्टेपल",
    "σωστό άλογο μπαταρία",
    "👩‍👩‍👧‍👦🔋📎🐴👩🏽‍🚀🏴‍☠️🇺🇳🎉🫠",
    "   spaces   all   around   ",
    "tab\tand\nline\r\nend",
    "\x01\x02 control \x7f characters",
    "𝕞𝕒𝕥𝕙𝕖𝕞𝕒𝕥𝕚𝕔𝕒𝕝",
    "\u202eright-to-left\u202c \u200bzero",
    "'; DROP TABLE users; --",
    "x" * 10 + "y" * 118,
]


@pytest.mark.parametrize("password", SPOKEN, ids=range(len(SPOKEN)))
def test_a_password_of_any_script_signs_in_and_a_different_one_does_not(secured_app: SecuredApp, password: str) -> None:
    secured_app.create_user(username="ada", password=password)
    assert secured_app.sign_in({"username": "ada", "password": password}).status_code == 201
    for wrong in (password[:-1], password + " ", password.swapcase()):
        if unicodedata.normalize("NFKC", wrong) != unicodedata.normalize("NFKC", password):
            assert secured_app.sign_in({"username": "ada", "password": wrong}).status_code == 401


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("Zoë-Ångström-1", unicodedata.normalize("NFD", "Zoë-Ångström-1")),
        (unicodedata.normalize("NFD", "Zoë-Ångström-1"), "Zoë-Ångström-1"),
        ("ｆｕｌｌｗｉｄｔｈ１２", "fullwidth12"),
        ("eﬃcient oﬃce", "efficient office"),
        ("パスワードですよね", "ﾊﾟｽﾜｰﾄﾞですよね"),
        ("Ⅷ horses and ½ a battery", "VIII horses and 1⁄2 a battery"),
    ],
)
def test_a_password_is_the_same_however_a_keyboard_writes_it(secured_app: SecuredApp, chosen: str, typed: str) -> None:
    assert secured_app.anonymous.get("/me").status_code == 401
    body = {"username": "ada", "password": chosen}
    if len(unicodedata.normalize("NFKC", chosen)) < 10:
        assert error_fields(secured_app.admin.post("/users", body)) == {"password"}
        return
    secured_app.create_user(**body)
    assert secured_app.sign_in({"username": "ada", "password": typed}).status_code == 201


def test_the_length_of_a_password_counts_after_normalization(secured_app: SecuredApp) -> None:
    assert secured_app.admin.post("/users", {"username": "short", "password": "é" * 9}).status_code == 422
    decomposed = unicodedata.normalize("NFD", "é" * 9)
    assert secured_app.admin.post("/users", {"username": "short", "password": decomposed}).status_code == 422
    assert secured_app.admin.post("/users", {"username": "long", "password": "ﷺ" * 8}).status_code == 422
    assert secured_app.admin.post("/users", {"username": "long", "password": "ﷺ" * 7}).status_code == 201


@pytest.mark.parametrize("name", ["username", "email", "password"])
@pytest.mark.parametrize("value", [[], ["ada"], {}, {"$ne": None}, 0, 1.5, True, {"password": PASSWORD}])
def test_only_strings_are_names_and_passwords(secured_app: SecuredApp, name: str, value: Any) -> None:
    secured_app.create_user(**ADA)
    login = {"email": "ada@example.org"} if name == "email" else {"username": "ada"}
    response = secured_app.sign_in({**login, "password": PASSWORD, name: value})
    assert response.status_code == 422
    assert name in error_fields(response)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        [ADA],
        None,
        "ada",
        7,
        {"username": "ada"},
        {"password": PASSWORD},
        {"username": None, "password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"username": "ada", "email": "ada@example.org", "password": PASSWORD},
        {"username": "ada", "password": None},
        {"username": "ada", "password": PASSWORD, "role": "admin"},
        {"username": "a" * 255, "password": PASSWORD},
        {"username": "ada", "password": "x" * 1025},
        {"username": "ada", "password": "x" * 900_000},
        {"username": "ada", "password": "\u0315\u0300" * 40_000},
    ],
    ids=range(17),
)
def test_a_body_of_another_shape_is_refused(secured_app: SecuredApp, body: Any) -> None:
    assert secured_app.anonymous.post("/session", json.dumps(body).encode()).status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username": "ada", "password": "%s"}' % (b"x" * 2**20), 413),
        (b'{"username": "ada", "password": "correct\\u0000horse"}', 400),
        (b'{"username": "ada", "password": "correct\x00horse"}', 400),
        (b'{"username": "ada\\u0000", "password": "correct horse"}', 400),
        (b'{"username": "ada", "password": "\\ud800 correct horse"}', 400),
        (b'{"username": "ada", "password": "correct horse", "password": "x"}', 400),
        (b'{"username": "ada", "password": "\xff"}', 400),
        (b'{"username": "ada", "password": ', 400),
        (b"[" * 100_000, 400),
        (b"", 400),
    ],
    ids=range(10),
)
def test_a_body_that_can_not_be_read_is_refused(secured_app: SecuredApp, body: bytes, status: int) -> None:
    secured_app.create_user(**ADA)
    assert secured_app.anonymous.post("/session", body).status_code == status


@pytest.mark.parametrize("password", ["1234567890", "Qwertyuiop", "QWERTYUIOP", "password123", "ｑｗｅｒｔｙｕｉｏｐ"])
def test_a_common_password_is_refused(secured_app: SecuredApp, password: str) -> None:
    user = secured_app.create_user(**ADA)
    client = secured_app.session_client(user)
    assert error_fields(secured_app.admin.post("/users", {"username": "new", "password": password})) == {"password"}
    assert error_fields(secured_app.admin.patch(f"/users/{user['id']}", {"password": password})) == {"password"}
    assert error_fields(client.patch("/me", {"password": password})) == {"password"}
    change = {"current_password": PASSWORD, "new_password": password}
    assert error_fields(client.put("/me/password", change)) == {"new_password"}


@pytest.mark.parametrize(
    "password", ["ada-lovelace", "ADA-LOVELACE", "countess.of@lovelace.org", "Countess.Of", "Ａda King 1815"]
)
def test_the_own_names_are_refused_as_a_password(secured_app: SecuredApp, password: str) -> None:
    own = {"username": "ada-lovelace", "email": "countess.of@lovelace.org", "name": "Ada King 1815"}
    response = secured_app.admin.post("/users", {**own, "password": password})
    assert (response.status_code, error_fields(response)) == (422, {"password"})
    user = secured_app.create_user(**own, password=PASSWORD)
    client = secured_app.session_client(user)
    assert error_fields(secured_app.admin.patch(f"/users/{user['id']}", {"password": password})) == {"password"}
    assert error_fields(secured_app.admin.put(f"/users/{user['id']}", {**own, "password": password})) == {"password"}
    change = {"current_password": PASSWORD, "new_password": password}
    assert error_fields(client.put("/me/password", change)) == {"new_password"}
    page = client.flask_client.post("/password", data=change, headers=client.headers)
    assert page.status_code == 422
    assert '<p class="error" id="new_password-note">' in page.text
    assert secured_app.sign_in({"username": "ada-lovelace", "password": PASSWORD}).status_code == 201


def test_a_hash_of_other_parameters_is_replaced_at_sign_in(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    user = secured_app.create_user(**ADA)
    other = secured_app.session_client(user)
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=2).hash(PASSWORD)
    database.execute("SET fullstack_app.internal = yes")
    database.execute("UPDATE users SET password_hash = %s WHERE id = %s", [old, user["id"]])

    def kept() -> str:
        return database.execute("SELECT password_hash FROM users WHERE id = %s", [user["id"]]).fetchone()[0]

    assert secured_app.sign_in({"username": "ada", "password": NEW}).status_code == 401
    assert kept() == old
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    fresh = kept()
    assert fresh.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    assert kept() == fresh
    # The password is the same: no session ends, and the user is not changed.
    assert other.get("/me").json == user


def test_a_malformed_password_hash_never_verifies(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
    user = secured_app.create_user(**ADA)
    for kept in ("", "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$2b$12$" + "x" * 53, PASSWORD):
        database.execute("UPDATE users SET password_hash = %s WHERE id = %s", [kept, user["id"]])
        assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 401
        secured_app.admin.post(f"/users/{user['id']}/unlock")
