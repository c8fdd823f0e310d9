"""Usernames and emails share one name space."""

# ruff: noqa: RUF001 - letters that look alike are the point

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.errors import AlreadyTaken, StartError
from app.http.services import services
from tests.support.api_client import ApiClient
from tests.support.bulk_calls import apply_bulk, bulk_refusal, target_of
from tests.support.concurrency import at_once
from tests.support.secured_app import PASSWORD, SecuredApp
from tests.support.spellings import ANNA, SPELLINGS, WRITES, Write, refusal, taken_refusal


def test_the_settings_name_no_administrator_by_another_users_username(
    make_app: Callable[..., Flask], api: ApiClient
) -> None:
    """The start says so, and does not go on without an administrator."""
    api.create_user(username=ANNA, email="another@corp.example")
    with (
        make_app(admin_email=SPELLINGS[0], admin_password=PASSWORD).app_context(),
        pytest.raises(StartError, match=r"ADMIN_EMAIL: Another user has this (email|username)\."),
    ):
        services().bootstrap_admin.create_from_settings()


@WRITES
@pytest.mark.parametrize("spelling", ["boss@corp.example", "Boss@ｃorp。example", "boss＠corp.example"])
def test_a_username_equal_to_an_email_is_refused(api: ApiClient, write: Write, spelling: str) -> None:
    """Usernames and emails share one name space."""
    api.create_user(username="boss", email="boss@corp.example")
    member = api.create_user(username="member")
    assert refusal(write(api, member["id"], {"username": spelling})) == taken_refusal("username")


@WRITES
@pytest.mark.parametrize("spelling", [ANNA, *SPELLINGS])
def test_an_email_equal_to_a_username_is_refused(api: ApiClient, write: Write, spelling: str) -> None:
    """Usernames and emails share one name space."""
    api.create_user(username=ANNA, email="another@corp.example")
    member = api.create_user(username="member")
    assert refusal(write(api, member["id"], {"username": "m", "email": spelling})) == taken_refusal("email")


def test_identifiers_are_free_again_when_their_user_leaves_them(api: ApiClient) -> None:
    """Usernames and emails share one name space."""
    own = api.create_user(email="own@corp.example")
    assert own["username"] == own["email"]
    path = f"/users/{own['id']}"
    other = api.create_user(username="other")
    assert api.patch(path, {"username": "own"}).status_code == 200
    assert refusal(api.patch(f"/users/{other['id']}", {"username": "own@corp.example"})) == taken_refusal("username")
    assert api.patch(path, {"email": None}).status_code == 200
    assert api.patch(f"/users/{other['id']}", {"username": "own@corp.example"}).status_code == 200
    assert refusal(api.patch(path, {"email": "own@corp.example"})) == taken_refusal("email")
    assert api.delete(f"/users/{other['id']}").status_code == 204
    assert api.patch(path, {"email": "own@corp.example"}).status_code == 200
    assert refusal(api.post(f"/users/{other['id']}/restore")) == taken_refusal("username")
    assert api.delete(f"{path}?purge=true").status_code == 204
    assert api.post(f"/users/{other['id']}/restore").status_code == 200


def test_a_bulk_restore_holds_usernames_against_emails(secured_app: SecuredApp) -> None:
    """Among those who are restored, and against those who are there."""
    users = [secured_app.create_user(username="a", email=ANNA)]
    apply_bulk(secured_app, "delete", target_of(users))
    users.append(secured_app.create_user(username=SPELLINGS[0], email="b@corp.example"))
    apply_bulk(secured_app, "delete", target_of(users[1:]))
    bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users))
    assert apply_bulk(secured_app, "restore", target_of(users[1:])).changed == 1
    assert "the email of 'a'" in bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users[:1]))
    apply_bulk(secured_app, "delete", target_of(users[1:]))
    assert apply_bulk(secured_app, "restore", target_of(users[:1])).changed == 1
    assert "the username of" in bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users[1:]))


@pytest.mark.usefixtures("without_refusal_delay")
def test_a_username_equal_to_the_email_of_another_user_is_refused(secured_app: SecuredApp) -> None:
    """Otherwise an editor could take over the sign-in name of an administrator."""
    boss = secured_app.create_user("admin", username="boss", email="boss@corp.example", password=PASSWORD)
    editor = secured_app.session_client(secured_app.create_user("editor"))
    response = editor.post("/users", {"username": "boss@corp.example", "password": "another long password"})
    assert refusal(response) == taken_refusal("username")
    for field in ("username", "email"):
        response = secured_app.sign_in({field: "boss@corp.example", "password": PASSWORD})
        assert response.json["user"]["id"] == boss["id"]


@pytest.mark.parametrize("_", range(3))
def test_of_writers_at_once_one_gets_an_identifier(app: Flask, api: ApiClient, _: int) -> None:
    """Usernames and emails share one name space."""
    wishes: list[dict[str, str]] = [
        {"username": f"u{number}", "email": ANNA} if number % 2 else {"username": SPELLINGS[0]} for number in range(8)
    ]
    responses = at_once([lambda wish=wish: ApiClient(app).post("/users", wish) for wish in wishes])
    assert sorted(response.status_code for response in responses) == [201] + [409] * 7
    assert len(api.list_users()) == 1


def test_users_who_swap_identifiers_at_once_get_no_server_error(app: Flask, api: ApiClient) -> None:
    """Writers that wait for each other are refused, and the identifiers stay unique."""
    emails = ["a@corp.example", "b@corp.example"]
    users = [api.create_user(username=f"u{number}", email=email) for number, email in enumerate(emails)]
    paths = [f"/users/{user['id']}" for user in users]
    for fields in ({"email"}, {"username", "email"}, {"username"}):
        swapped = zip(paths, [dict.fromkeys(fields, email) for email in reversed(emails)], strict=True)
        calls = [lambda path=path, wish=wish: ApiClient(app).patch(path, wish) for path, wish in swapped]
        assert {response.status_code for response in at_once(calls)} <= {409, 503}
    assert [user["email"] for user in api.list_users(sort="username")] == emails


SQL = {
    "username": "UPDATE users SET username_key = 'boss@corp.example' WHERE username = 'member'",
    "email": "UPDATE users SET email_key = 'boss' || '@corp.example' WHERE username = 'member'",
    "a new username": "INSERT INTO users (username, username_key, name, name_key, search_vector)"
    " VALUES ('x', 'boss@corp.example', '', '', '')",
    "a copy": "INSERT INTO users (username, username_key, email_key, name, name_key, search_vector)"
    " VALUES ('x', 'x', 'chief@corp.example', '', '', '')",
    "restored": "UPDATE users SET deleted_at = NULL WHERE username = 'gone'",
}


@pytest.mark.parametrize("how", SQL)
@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel))
def test_sql_from_outside_is_held_to_one_name_space(
    api: ApiClient, database: psycopg.Connection[Any], how: str, isolation: psycopg.IsolationLevel
) -> None:
    """Usernames and emails share one name space."""
    api.create_user(username="member")
    gone = api.create_user(username="gone", email="boss@corp.example")
    api.delete(f"/users/{gone['id']}")
    api.create_user(username="chief@corp.example", email="boss@corp.example")
    database.isolation_level = isolation
    with pytest.raises(psycopg.errors.UniqueViolation), database.transaction():
        database.execute(SQL[how])
    api.create_user(username="boss@corp.example@corp.example")


def test_identifiers_follow_ids_changed_and_users_removed_by_sql(
    api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    """The name space follows what is written past the service."""
    user = api.create_user(email="own@corp.example")
    new_id = str(uuid.uuid4())
    database.execute("UPDATE users SET id = %s", [new_id])
    assert refusal(api.post("/users", {"username": "x", "email": "own@corp.example"})) == taken_refusal("email")
    assert api.delete(f"/users/{new_id}?purge=true").status_code == 204
    assert api.put(f"/users/{user['id']}", {"username": "own@corp.example"}).status_code == 201
    database.execute("TRUNCATE users CASCADE")
    assert api.post("/users", {"username": "x", "email": "own@corp.example"}).status_code == 201
    database.execute("DELETE FROM users")
    assert api.post("/users", {"username": "own@corp.example"}).status_code == 201


@pytest.mark.usefixtures("without_refusal_delay")
@pytest.mark.parametrize("search_path", ["''", "pg_catalog", "pg_temp, public"])
def test_sql_from_outside_is_held_to_it_by_any_search_path(
    api: ApiClient, database: psycopg.Connection[Any], search_path: str
) -> None:
    """Pg_restore writes with an empty search_path, and who has temporary tables with one before ours."""
    api.create_user(username="member")
    api.create_user(username="chief@corp.example", email="boss@corp.example")
    database.execute("CREATE TEMPORARY TABLE identifiers (key text, user_id uuid)")
    database.execute(f"SET search_path = {search_path}")
    database.execute("UPDATE public.users SET email_key = 'own@corp.example' WHERE username = 'member'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("UPDATE public.users SET username_key = 'boss@corp.example' WHERE username = 'member'")
    assert refusal(api.post("/users", {"username": "own@corp.example"})) == taken_refusal("username")
    database.execute("TRUNCATE public.users CASCADE")
    assert api.post("/users", {"username": "own@corp.example"}).status_code == 201


def test_attempts_by_username_and_by_email_count_together(secured_app: SecuredApp) -> None:
    """Usernames and emails share one name space."""
    user = secured_app.create_user(username="anna", email=ANNA, password=PASSWORD)
    names = [{"username": "anna"}, {"email": ANNA}, {"username": "ＡNNA"}, *({"email": one} for one in SPELLINGS)]
    statuses = [secured_app.sign_in({**name, "password": "a wrong guess"}).status_code for name in names]
    assert statuses == [401] * 5 + [429] * 2
    for name in names:
        assert secured_app.sign_in({**name, "password": PASSWORD}).status_code == 429
    assert secured_app.session_client(user).put(
        "/me/password", {"current_password": PASSWORD, "new_password": "another long password"}
    ).status_code in (403, 429)
    assert secured_app.admin.post(f"/users/{user['id']}/unlock").status_code == 204
    for name in names:
        assert secured_app.sign_in({**name, "password": PASSWORD}).status_code == 201


@pytest.mark.usefixtures("without_refusal_delay")
def test_unknown_names_are_counted_as_known_ones(secured_app: SecuredApp) -> None:
    """Neither answers nor counts tell who is there."""
    secured_app.create_user(username="anna", email=ANNA, password=PASSWORD)

    def seen(*names: dict[str, str]) -> list[tuple[int, Any, list[str]]]:
        found = []
        for name in names:
            response = secured_app.sign_in({**name, "password": "a wrong guess"})
            headers = sorted(header for header, _ in response.headers)
            found.append((response.status_code, {**response.json, "instance": ""}, headers))
        return found

    known = [{"email": one} for one in (ANNA, *SPELLINGS, ANNA, ANNA)]
    unknown = [{"email": name["email"].replace("nna", "nne")} for name in known]
    assert seen(*known) == seen(*unknown)


@pytest.mark.parametrize("commits", [True, False])
def test_a_writer_waits_for_another_who_may_take_the_identifier(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], commits: bool
) -> None:
    """An identifier that an open transaction takes is taken when it commits, and free when it does not."""
    member = api.create_user(username="member")
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(force_rollback=not commits):
            database.execute("UPDATE users SET email_key = 'boss@corp.example' WHERE username = 'member'")
            waiting = pool.submit(ApiClient(app).post, "/users", {"username": "boss@corp.example"})
            time.sleep(0.3)
            assert not waiting.done()
        response = waiting.result()
    assert response.status_code == (409 if commits else 201)
    assert api.get(f"/users/{member['id']}").status_code == 200
