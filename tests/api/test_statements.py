"""The hot statements do what their plain versions in SQLAlchemy do, to the byte and to the row."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import orjson
import psycopg
import pytest
from door import Door
from flask import Flask
from hypothesis import HealthCheck, assume, example, given, settings
from pydantic import ValidationError
from sqlalchemy import insert, select

from app.errors import Malformed, Taken
from app.extensions import asked, reading, writing
from app.infra.postgres import DeadlineConnection, Statement
from app.models import User as UserRow
from app.models import table_of
from app.schemas import ListQuery, UserDraft, UserPatch
from app.services import listing, passwords, users
from app.services.authority import OPEN
from app.services.documents import PUBLIC, document
from app.services.history import Caller
from app.services.idempotency import Attempt
from app.services.statements import AS_IT_IS, CHANGED, MADE, MADE_ONCE, USERS
from embedded import Stack

USERS_TABLE = table_of(UserRow)
CALLER = Caller(OPEN, "192.0.2.7", 'Agent \\ "1" ü', "request-1")
DAY = timedelta(days=1)
ROLES = st.sampled_from(["member", "viewer", "editor", "admin"])

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NUMBERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e20, 1.0, -0.0, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**53 + 1, 2**63 - 1, -(2**63)])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(TEXT, JSON, max_size=4)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
ROW = st.fixed_dictionaries(
    {
        "username": TEXT,
        "email": st.none() | TEXT,
        "name": TEXT,
        "role": ROLES,
        "active": st.booleans(),
        "attributes": ATTRIBUTES,
        "version": st.integers(1, 2**31 - 1),
        "created_at": MOMENTS,
        "updated_at": MOMENTS,
        "deleted_at": st.none() | MOMENTS,
    }
)
"""What may stand in a row, also what no rule of ours would let in."""

LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
NAMES = st.text(LETTERS | st.just(" "), min_size=1, max_size=40)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "username": st.text(LETTERS, min_size=1, max_size=30),
    "email": st.none() | st.sampled_from(["ada@example.org", "Zoë@bücher.example", '"a b"@example.org', "田@例え.jp"]),
    "name": NAMES,
    "attributes": ATTRIBUTES,
}
WHOLE = st.fixed_dictionaries(
    {"username": FIELDS["username"]},
    optional={
        "email": FIELDS["email"],
        "name": NAMES,
        "role": ROLES,
        "active": st.booleans(),
        "attributes": ATTRIBUTES,
    },
)
PATCHES = st.fixed_dictionaries(
    {}, optional={**FIELDS, "attributes": st.none() | ATTRIBUTES, "username": FIELDS["username"]}
)

NASTY = {
    "arabic": {"username": "عائشة", "name": "عائشة \u200f\u202e", "email": "a@مثال.example"},
    "han and kana": {"username": "田中さん", "name": "田中 太郎 カタカナ"},
    "indic and thai": {"username": "अदा", "name": "สวัสดี ಕನ್ನಡ தமிழ்"},
    "greek, cyrillic, hebrew": {"username": "Σίσυφος", "name": "Ёлка שלום ςΣ"},
    "turkish and german": {"username": "İıŞş", "name": "STRAßE ẞ"},
    "emoji": {"username": "👩‍👩‍👧‍👦🏳️‍🌈", "name": "🇫🇷 👍🏽 \U0010fffd"},
    "quotes and backslashes": {"username": "\"\\'{}[],", "name": "a \\u0041 \\\\ \" ' ` $1 %(q)s {x} NULL"},
    "marks alone": {"username": "\u0301\u0327", "name": "a\u0301\u0327\u0330"},
    "empty braces": {"username": "{}", "name": '{"a",NULL}'},
    "controls in attributes": {
        "username": "c",
        "attributes": {"\b\f\n\r\t\x1f\x7f\x80\x9f": "\b\f\n\r\t\x01\x1f\x7f\x80"},
    },
    "separators in attributes": {
        "username": "s",
        "attributes": {"\u2028": "\u2029\ufeff\uffff\ufffe", "/": "</script>"},
    },
    "numbers": {"username": "n", "attributes": {"a": [1e20, 1.0, -0.0, 1e-7, 2**63 - 1, -(2**63), 1e308, 5e-324]}},
    "nested": {"username": "d", "attributes": {"": {"": {"": [[], {}, [{}], [[[{"x": None}]]]]}}}},
    "long": {"username": "u" * 254, "name": "ñ" * 200, "attributes": {"k" * 3000: "é" * 3000}},
    "null email": {"username": "nobody", "email": None, "attributes": {"null": None, "true": True, "false": False}},
}
UNHURRIED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """The hot statements that are asked from now on."""
    ask, seen = DeadlineConnection.ask, []

    def asking(connection: DeadlineConnection, statement: Statement, values: Sequence[bytes | None]) -> Any:
        seen.append(statement)
        return ask(connection, statement, values)

    monkeypatch.setattr(DeadlineConnection, "ask", asking)
    return seen


@pytest.fixture
def inside(api: Door, database: psycopg.Connection[Any]) -> Callable[[], None]:  # noqa: ARG001 - called for its effect
    """Empties the tables, for one more example."""

    def clear() -> None:
        # PostgreSQL takes 40 ms for each TRUNCATE.
        database.execute("DELETE FROM users")
        database.execute("DELETE FROM history")
        database.execute("DELETE FROM idempotency_keys")

    return clear


def put(**fields: Any) -> uuid.UUID:
    """A row as it is given, past all rules."""
    user_id = uuid.uuid4()
    row = {"username": "u", "name": "n", **fields, "id": user_id, "words": ""}
    keys = {"username_key": user_id.hex, "name_key": row["name"], "email_key": row.get("email") and user_id.hex}
    with writing() as connection:
        connection.execute(insert(USERS_TABLE).values({**row, **keys}))
    return user_id


def plainly(user_id: uuid.UUID) -> bytes:
    """A user as documents.document writes it."""
    with reading() as connection:
        return document(connection.execute(select(*PUBLIC).where(USERS_TABLE.c.id == user_id)).one()).body


def require_same_json(user_id: uuid.UUID, *, trashed: bool) -> None:
    """What all statements that read write of this user."""
    plain = plainly(user_id)
    assert listing.page(ListQuery(deleted=trashed)).body == b"[" + plain + b"]"
    found = [asked(USERS, [str(user_id)]), asked(AS_IT_IS, user_id)]
    if trashed:
        assert [one.ntuples for one in found] == [0, 0]
        return
    assert found[0].get_value(0, 0) == str(user_id).encode()
    assert found[0].get_value(0, 2) == found[1].get_value(0, found[1].nfields - 1) == plain
    assert found[0].get_value(0, 1) == found[1].get_value(0, 0) == str(orjson.loads(plain)["version"]).encode()


def columns(database: psycopg.Connection[Any], user_id: uuid.UUID) -> dict[str, Any]:
    """All columns of a row as text, but for its id and the moments of now; a password by whether there is one."""
    names = "username, username_key, email, email_key, name, name_key, role, active, attributes::text, version"
    rest = "words::text, session_epoch, deleted_at, password_hash IS NOT NULL AS has_password"
    new = "created_at = updated_at AS is_new"
    cursor = database.execute(f"SELECT {names}, {rest}, {new} FROM users WHERE id = %s", [user_id])  # noqa: S608 - names of ours
    (row,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def history(database: psycopg.Connection[Any], user_id: uuid.UUID) -> list[tuple[Any, ...]]:
    """The entries of a user, but for their ids and moments."""
    names = "version, action, actor, address, agent, request_id, changes::text"
    return database.execute(f"SELECT {names} FROM history WHERE user_id = %s ORDER BY id", [user_id]).fetchall()  # noqa: S608


def parsed(model: type[Any], fields: dict[str, Any]) -> Any:
    """`fields` as a request would have them; what breaks a rule is no example."""
    try:
        found = model.model_validate(fields)
    except ValidationError:
        assume(False)  # noqa: FBT003 - so Hypothesis wants it
    return found


def anything(_: int | None) -> bool:
    return True


def test_each_column_of_a_row_is_compared_here(
    database: psycopg.Connection[Any], inside: Callable[[], None], app: Flask
) -> None:
    """A new column has to be added to the statements, and to the comparison."""
    inside()
    with app.app_context():
        user_id = put()
    compared = columns(database, user_id).keys() - {"has_password", "is_new"} | {
        "id",
        "password_hash",
        "created_at",
        "updated_at",
    }
    assert compared == set(USERS_TABLE.c.keys())


@UNHURRIED
@given(row=ROW)
@example(row={"created_at": datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC), "updated_at": datetime(1, 1, 2, tzinfo=UTC)})
@example(
    row={"created_at": datetime(9999, 12, 30, 23, 59, 59, 10, UTC), "deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}
)
@example(row={"username": '\b\f\n\r\t\x01\x1f\x7f\x9f\u2028"\\/', "email": "", "name": "\ufeff\uffff\U0010ffff"})
def test_json_made_by_postgresql_is_ours_to_the_byte(
    app: Flask, inside: Callable[[], None], row: dict[str, Any]
) -> None:
    inside()
    with app.app_context():
        app.extensions["fullstack"].state.touch_all()
        require_same_json(put(**row), trashed=row.get("deleted_at") is not None)


@pytest.mark.parametrize("trashed", [False, True], ids=["live", "trash"])
@pytest.mark.parametrize("kind", NASTY)
def test_users_of_all_kinds_are_the_same_by_every_statement(app: Flask, api: Door, kind: str, trashed: bool) -> None:
    answer = api.post("/users", NASTY[kind])
    user_id = uuid.UUID(answer.json["id"])
    with app.app_context():
        assert answer.data == plainly(user_id)
        changed = api.patch(f"/users/{user_id}", {"name": "Someone \\ else"})
        assert changed.data == plainly(user_id)
        if trashed:
            api.delete(f"/users/{user_id}")
        require_same_json(user_id, trashed=trashed)


@pytest.mark.parametrize("text", ['{ "a" : 1.50 }', '{"\\u0041":"\\u00e9\\/"}', "{\n}", '{"a":1e+20,"a":2}'])
def test_attributes_that_somebody_wrote_by_hand_are_passed_on_as_they_are(
    app: Flask, api: Door, database: psycopg.Connection[Any], text: str
) -> None:
    user_id = uuid.UUID(api.make()["id"])
    database.execute("UPDATE users SET attributes = %s::json WHERE id = %s", [text, user_id])
    with app.app_context():
        app.extensions["fullstack"].state.touch_all()
        require_same_json(user_id, trashed=False)
        assert text.encode() in plainly(user_id)


@UNHURRIED
@given(fields=WHOLE)
def test_a_new_user_leaves_the_same_rows_either_way(
    app: Flask, inside: Callable[[], None], database: psycopg.Connection[Any], fields: dict[str, Any]
) -> None:
    require_made_alike(app, inside, database, parsed(UserDraft, fields))


@pytest.mark.parametrize("kind", [*NASTY, "password"])
def test_a_new_user_of_any_kind_leaves_the_same_rows_either_way(
    app: Flask, inside: Callable[[], None], database: psycopg.Connection[Any], kind: str
) -> None:
    fields = NASTY.get(kind, {"username": "ada", "role": "admin", "active": False, "password": "correct horse battery"})
    require_made_alike(app, inside, database, UserDraft.model_validate(fields))


def require_made_alike(
    app: Flask, clear: Callable[[], None], database: psycopg.Connection[Any], draft: UserDraft
) -> None:
    """By MADE, by MADE_ONCE and by users.replace, which makes a row in SQLAlchemy."""
    ways: list[Callable[[], tuple[Any, uuid.UUID]]] = [
        lambda: users.register(draft, CALLER)[:2],
        lambda: users.register(draft, CALLER, Attempt("key", draft, DAY))[:2],
        lambda: (users.replace(plain_id, draft, anything, CALLER)[0], plain_id),
    ]
    plain_id, found = uuid.uuid4(), []
    with app.app_context():
        for way in ways:
            clear()
            made, user_id = way()
            assert made.body == plainly(user_id)
            (kept,) = database.execute("SELECT password_hash FROM users").fetchone()
            assert passwords.matches(draft.password, kept)
            found.append((made.version, columns(database, user_id), history(database, user_id)))
    assert found[0] == found[1] == found[2]


@UNHURRIED
@given(fields=WHOLE, change=PATCHES)
def test_a_change_leaves_the_same_rows_either_way(
    app: Flask,
    inside: Callable[[], None],
    database: psycopg.Connection[Any],
    fields: dict[str, Any],
    change: dict[str, Any],
) -> None:
    require_changed_alike(app, inside, database, parsed(UserDraft, fields), parsed(UserPatch, change))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Ada"},
        {"name": None, "email": None},
        {"username": "ADA"},
        {"attributes": None},
        {"attributes": {"a": 1}},
        {"attributes": {"a": 1.0}},
        {"attributes": {"a": True}},
        {"attributes": {"a": None, "deep": {"x": None, "y": [None]}}},
        *({name: user[name] for name in ("name", "attributes") if name in user} for user in NASTY.values()),
    ],
)
def test_each_kind_of_change_leaves_the_same_rows_either_way(
    app: Flask, inside: Callable[[], None], database: psycopg.Connection[Any], change: dict[str, Any]
) -> None:
    ada = {"username": "ada", "name": "Ada", "email": "ada@example.org", "role": "editor", "password": "correct horse"}
    ada["attributes"] = {"a": 1, "deep": {"x": 1}}
    draft = UserDraft.model_validate(ada)
    require_changed_alike(app, inside, database, draft, UserPatch.model_validate(change))


def require_changed_alike(
    app: Flask, clear: Callable[[], None], database: psycopg.Connection[Any], draft: UserDraft, patch: UserPatch
) -> None:
    """By CHANGED and by the plain way under a lock: now, and when the clock was set back."""
    found = []
    with app.app_context():
        for way in (users.change, users._change_alone):
            for later in (None, datetime(2999, 1, 1, tzinfo=UTC)):
                clear()
                user_id = users.register(draft, CALLER)[1]
                if later is not None:
                    database.execute("UPDATE users SET updated_at = %s", [later])
                made = way(user_id, patch, anything, CALLER)
                assert made.body == plainly(user_id)
                (moved,) = database.execute("SELECT updated_at FROM users").fetchone()
                assert later is None or moved == later
                row = columns(database, user_id)
                # The plain way ends the sessions of who is inactive once more; they have none.
                row["session_epoch"] = row["active"] and row["session_epoch"]
                found.append((made.version, row, history(database, user_id)))
    assert found[0] == found[2]
    assert found[1] == found[3]


def test_the_hot_statements_are_what_requests_use(api: Door, spied: list[Statement]) -> None:
    user = api.make(username="ada")
    api.post("/users", {"username": "bob"}, headers={"Idempotency-Key": "k"})
    api.patch(f"/users/{user['id']}", {"name": "Ada"})
    api.get(f"/users/{user['id']}")
    assert [one for one in spied if one in (MADE, MADE_ONCE, AS_IT_IS, CHANGED, USERS)] == [
        MADE, MADE_ONCE, AS_IT_IS, CHANGED, USERS,
    ]  # fmt: skip


def test_what_is_left_of_a_key_is_the_answer_and_who_it_is_about(
    app: Flask, api: Door, database: psycopg.Connection[Any]
) -> None:
    body = {"username": "ada", "name": 'Adä "\\ 田中', "password": "correct horse battery"}
    first = api.post("/users", body, headers={"Idempotency-Key": "k"})
    row = database.execute("SELECT key, fingerprint, password_hash, user_id, body FROM idempotency_keys").fetchone()
    key, fingerprint, kept_hash, user_id, kept = row
    assert (key, str(user_id), kept) == ("k", first.json["id"], first.data)
    assert fingerprint == Attempt("k", UserDraft.model_validate(body), DAY).fingerprint
    assert database.execute("SELECT password_hash FROM users").fetchone() == (kept_hash,)
    with app.app_context():
        assert passwords.matches(body["password"], kept_hash)


@pytest.mark.usefixtures("api")
def test_of_those_who_come_with_one_key_at_once_one_makes_a_user(app: Flask, database: psycopg.Connection[Any]) -> None:
    for number in range(15):
        body, key = {"username": f"u{number}"}, {"Idempotency-Key": f"k{number}"}
        answers = at_once([lambda body=body, key=key: Door(app).post("/users", body, headers=key)] * 8)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.data for answer in answers}) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert database.execute("SELECT count(*) FROM users").fetchone() == (15,)
    assert database.execute("SELECT count(*) FROM history").fetchone() == (15,)


def test_an_old_key_is_taken_anew_by_one_of_those_who_come_at_once(
    app: Flask, api: Door, database: psycopg.Connection[Any]
) -> None:
    key = {"Idempotency-Key": "k"}
    for number in range(10):
        answers = at_once(
            [
                lambda n=n, number=number: Door(app).post("/users", {"username": f"u{number}-{n}"}, headers=key)
                for n in range(6)
            ]
        )
        assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422, 422, 422]
        (first,) = [answer for answer in answers if answer.status_code == 201]
        assert database.execute("SELECT body FROM idempotency_keys").fetchall() == [(first.data,)]
        database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    assert len(api.listed()) == 10


@pytest.mark.usefixtures("api")
def test_those_who_take_old_keys_anew_do_not_hinder_each_other(app: Flask, database: psycopg.Connection[Any]) -> None:
    """Each also sweeps out what is old: the keys of the others."""
    calls = [
        lambda n=n, number=number: Door(app).post(
            "/users", {"username": f"u{number}-{n}"}, headers={"Idempotency-Key": f"k{n}"}
        )
        for number in range(12)
        for n in range(8)
    ]
    for start in range(0, len(calls), 8):
        answers = at_once(calls[start : start + 8])
        assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
        database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")


def test_an_old_key_that_somebody_else_has_in_hand_is_not_waited_for(
    api: Door, servers: Stack, database: psycopg.Connection[Any]
) -> None:
    """Two who swept out each other's would wait for each other: 503 after a second, or five."""
    for number in range(3):
        api.post("/users", {"username": f"u{number}"}, headers={"Idempotency-Key": f"k{number}"})
    database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    with psycopg.connect(servers.postgres.url) as other:
        other.execute("SELECT FROM idempotency_keys WHERE key = 'k1' FOR UPDATE")
        began = time.monotonic()
        assert api.post("/users", {"username": "new"}, headers={"Idempotency-Key": "k"}).status_code == 201
        assert time.monotonic() - began < 1
    left = database.execute("SELECT key FROM idempotency_keys ORDER BY key").fetchall()
    assert left == [("k",), ("k1",)]


def test_a_few_old_keys_are_swept_out_at_a_time_the_oldest_first(api: Door, database: psycopg.Connection[Any]) -> None:
    database.execute(
        "INSERT INTO idempotency_keys (key, fingerprint, user_id, body, created_at)"
        " SELECT 'old' || n, '', gen_random_uuid(), '', now() - interval '25 hours' - n * interval '1 minute'"
        " FROM generate_series(1, 50) AS n"
    )
    api.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    left = {key for (key,) in database.execute("SELECT key FROM idempotency_keys").fetchall()}
    assert left == {"k", *(f"old{n}" for n in range(1, 31))}
    api.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    assert database.execute("SELECT count(*) FROM idempotency_keys").fetchone() == (11,)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize("taken", ["username", "email"])
def test_a_name_that_is_taken_leaves_nothing(
    api: Door, database: psycopg.Connection[Any], headers: dict[str, str], taken: str
) -> None:
    api.make(username="ada", email="ada@example.org")
    body = {
        "username": "bob",
        "email": "bob@example.org",
        taken: {"username": "ADA", "email": "Ada@Example.org"}[taken],
    }
    answer = api.post("/users", body, headers=headers)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (409, taken)
    other = api.make(username="carol")
    assert api.patch(f"/users/{other['id']}", {taken: body[taken]}).status_code == 409
    for table, count in (("users", 2), ("history", 2), ("idempotency_keys", 0)):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)  # noqa: S608 - names of ours


def test_changes_of_different_fields_at_once_all_arrive(
    app: Flask, api: Door, database: psycopg.Connection[Any]
) -> None:
    path, rounds = f"/users/{api.make(username='ada')['id']}", 12
    tracks = [
        lambda n: {"name": f"Ada {n}"},
        lambda n: {"email": f"ada{n}@example.org"},
        lambda n: {"username": f"ada{n}"},
        lambda n: {"attributes": {"a": n}},
        lambda n: {"attributes": {"b": {str(n): n}}},
        lambda n: {"active": n % 2 == 1},
        lambda n: {"role": "viewer" if n % 2 else "member"},
    ]

    def change(track: Callable[[int], Any]) -> list[int]:
        door, versions = Door(app), []
        for number in range(1, rounds + 1):
            answer = door.patch(path, track(number))
            assert answer.status_code == 200, answer.text
            versions.append(answer.json["version"])
        return versions

    answered = at_once([lambda track=track: change(track) for track in tracks])
    user = api.get(path).json
    found = {name: user[name] for name in ("name", "email", "username", "attributes", "active", "role")}
    assert found == {
        "name": f"Ada {rounds}",
        "email": f"ada{rounds}@example.org",
        "username": f"ada{rounds}",
        "attributes": {"a": rounds, "b": {str(n): n for n in range(1, rounds + 1)}},
        "active": False,
        "role": "member",
    }
    # Who was active already, and sets it, changes nothing and is answered with the version of then.
    counted = sorted(version for versions in [*answered[:5], answered[6]] for version in versions)
    assert len(set(counted)) == len(counted)
    entries = database.execute("SELECT version FROM history ORDER BY id").fetchall()
    assert [version for (version,) in entries] == list(range(1, user["version"] + 1))
    assert user["version"] == 1 + 6 * rounds + rounds - 1


def test_of_those_who_change_one_version_at_once_one_does(app: Flask, api: Door) -> None:
    path = f"/users/{api.make()['id']}"
    for number in range(1, 16):
        tag = {"If-Match": f'"{number}"'}
        answers = at_once(
            [
                lambda n=n, tag=tag: Door(app).patch(path, {"attributes": {"n": f"{tag} {n}"}}, headers=tag)
                for n in range(6)
            ]
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
    assert api.get(path).json["version"] == 16


@pytest.mark.parametrize("losses", [0, 1, 2, 3, 4])
def test_who_loses_again_and_again_gets_a_lock(
    app: Flask,
    api: Door,
    database: psycopg.Connection[Any],
    spied: list[Statement],
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
) -> None:
    """Somebody else is faster after each look, so many times."""
    user_id = uuid.UUID(api.make()["id"])
    seen, alone, left = users._seen, users._change_alone, [losses]
    locked = []

    def meanwhile(wanted: uuid.UUID) -> Any:
        found = seen(wanted)
        if left[0]:
            left[0] -= 1
            database.execute("UPDATE users SET version = version + 1, email = %s", [f"e{left[0]}@example.org"])
        return found

    monkeypatch.setattr(users, "_seen", meanwhile)
    monkeypatch.setattr(users, "_change_alone", lambda *given: locked.append(given) or alone(*given))
    answer = api.patch(f"/users/{user_id}", {"attributes": {"n": 1}})
    assert (answer.status_code, answer.json["version"]) == (200, 2 + min(losses, 3))
    assert spied.count(CHANGED) == min(losses + 1, 3)
    assert len(locked) == (losses >= 3)
    with app.app_context():
        assert answer.data == plainly(user_id)
    last = {"email": None} if not losses else {"email": f"e{left[0]}@example.org"}
    assert answer.json == {**answer.json, **last, "attributes": {"n": 1}}
    assert [entry[0] for entry in history(database, user_id)] == [1, answer.json["version"]]


@pytest.mark.parametrize("condition", ["If-Match", "none"])
def test_if_match_is_asked_again_after_each_loss(
    api: Door, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    user = api.make()
    seen = users._seen

    def meanwhile(wanted: uuid.UUID) -> Any:
        found = seen(wanted)
        database.execute("UPDATE users SET version = version + 1 WHERE version = 1")
        return found

    monkeypatch.setattr(users, "_seen", meanwhile)
    headers = {"If-Match": '"1"'} if condition == "If-Match" else {}
    answer = api.patch(f"/users/{user['id']}", {"name": "New"}, headers=headers)
    assert answer.status_code == (412 if headers else 200)


@pytest.mark.parametrize("gone", ["trash", "purged"])
def test_who_goes_between_look_and_change_is_not_there(
    api: Door, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    user = api.make()
    seen = users._seen

    def meanwhile(wanted: uuid.UUID) -> Any:
        found = seen(wanted)
        database.execute("UPDATE users SET deleted_at = now()" if gone == "trash" else "DELETE FROM users")
        return found

    monkeypatch.setattr(users, "_seen", meanwhile)
    assert api.patch(f"/users/{user['id']}", {"name": "New"}).status_code == 404
    assert len(history(database, uuid.UUID(user["id"]))) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "Ada"},
        {"name": "  Ada "},
        {"username": "ada", "email": "ada@example.org", "attributes": {"a": 1}},
        {"attributes": {}},
        {"attributes": {"gone": None}},
    ],
)
def test_what_changes_nothing_gives_no_version_and_no_entry(
    app: Flask, api: Door, database: psycopg.Connection[Any], spied: list[Statement], body: dict[str, Any]
) -> None:
    answer = api.post("/users", {"username": "ada", "name": "Ada", "email": "ada@example.org", "attributes": {"a": 1}})
    user_id = uuid.UUID(answer.json["id"])
    again = api.patch(f"/users/{user_id}", body)
    assert (again.data, again.headers["ETag"]) == (answer.data, '"1"')
    assert CHANGED not in spied
    assert len(history(database, user_id)) == 1
    with app.app_context():
        assert again.data == plainly(user_id)


def test_who_is_refused_a_name_hears_which(app: Flask, api: Door) -> None:
    api.make(username="ada")
    other = uuid.UUID(api.make(username="bob")["id"])
    ways = [
        lambda: users.register(UserDraft(username="Ada"), CALLER),
        lambda: users.change(other, UserPatch(username="Ada"), anything, CALLER),
    ]
    for way in ways:
        with app.app_context(), pytest.raises(Taken) as refused:
            way()
        assert [fault.field for fault in refused.value.faults] == ["username"]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT $1::text", "ada\0bob"),
        ("SELECT $1::text", "\0"),
        ("SELECT $1::text", b"ada\0"),
        ("SELECT $1::json", orjson.dumps({"a": 1}) + b"\0"),
        ("SELECT $1::text[]", ["ada", "b\0b"]),
        ("SELECT $1::text[]", ("\0",)),
    ],
)
@pytest.mark.parametrize("name", ["", "nul"])
def test_u0000_is_refused_and_never_cut(app: Flask, spied: list[Statement], sql: str, value: object, name: str) -> None:
    with app.app_context(), pytest.raises(Malformed, match=r"U\+0000"):
        asked(Statement(sql, name), value)
    assert spied == []


@pytest.mark.parametrize("place", range(17))
def test_u0000_in_any_value_of_a_new_user_makes_nobody(
    app: Flask, api: Door, database: psycopg.Connection[Any], place: int
) -> None:
    given_values: list[object] = [
        uuid.uuid4(), "ada", "ada", "a@b.c", "a@b.c", "Ada", "ada", "member", True, b"{}", None, ["ada"],
        None, "192.0.2.1", "Agent", "request", b"[]",
    ]  # fmt: skip
    with app.app_context():
        given_values[place] = "ada\0" if place != 11 else ["ada", "\0"]
        with pytest.raises(Malformed):
            asked(MADE, *given_values)
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert api.make(username="ada")["version"] == 1


@pytest.mark.parametrize(
    "path", ["/users?q=a%00", "/users?email=a%00@b", "/users?attributes.a=%00", "/users?attributes.%00=a"]
)
def test_u0000_in_a_query_is_400(api: Door, path: str) -> None:
    assert api.get(path).status_code == 400


@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
@example(values=["", "{}", "NULL", '"', "\\", '\\"', ",", " a ", '{"a"}', "\n\t\b", "田中", "'", "$1"])
@UNHURRIED
def test_a_list_arrives_as_it_was_given(app: Flask, values: list[str]) -> None:
    with app.app_context():
        found = asked(Statement("SELECT array_to_json($1::text[])::text"), values)
    assert orjson.loads(found.get_value(0, 0)) == values


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment, each in a thread of its own."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]
