"""Bulk actions of the console: on selected users, or on all matching users."""

import html
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.console_client import create_user_page, hidden_value, send


@pytest.fixture
def users(admin: FlaskClient) -> list[str]:
    """The ids of five members."""
    return [create_user_page(admin, username=f"bob{n}", name=f"Bob {n}").rpartition("/")[2] for n in range(5)]


def ask(browser: FlaskClient, action: str, ids: list[str] | None = None, **form: str) -> TestResponse:
    return browser.post(
        "/people/bulk", data={"action": action, "id": ids or [], **form}, headers={"Origin": "http://localhost"}
    )


def many(browser: FlaskClient, action: str, ids: list[str] | None = None, **form: str) -> TestResponse:
    """The same, with the number of those who were picked confirmed."""
    return ask(browser, action, ids, **({"expected": str(len(ids))} if ids else {}), **form)


def named(browser: FlaskClient, query: str) -> list[str]:
    return sorted(user["username"] for user in browser.get(f"/api/users?{query}").json)


def undo_of(browser: FlaskClient, response: TestResponse) -> dict[str, str]:
    page = browser.get(response.location).text
    undo = page.partition('class="notice done"')[2].partition("</form>")[0]
    return {name: hidden_value(f"<main{undo}", name) for name in ("deleted_at", "query")}


def test_selected_users_are_deactivated_and_the_list_keeps_its_page(admin: FlaskClient, users: list[str]) -> None:
    done = many(admin, "deactivate", users[:2], query="q=bob&sort=-name")
    assert (done.status_code, done.location) == (303, "/people?q=bob&sort=-name&done=deactivate&n=2")
    assert "2 users updated." in admin.get(done.location).text
    assert named(admin, "active=false") == ["bob0", "bob1"]
    assert many(admin, "activate", users[:1]).location == "/people?done=activate&n=1"
    assert named(admin, "active=false") == ["bob1"]


def test_selected_users_get_a_role(admin: FlaskClient, users: list[str]) -> None:
    assert many(admin, "role", users[:3], role="editor").status_code == 303
    assert named(admin, "role=editor") == ["bob0", "bob1", "bob2"]


def test_a_bulk_delete_is_undone_from_the_next_page(admin: FlaskClient, users: list[str]) -> None:
    send(admin, f"/people/{users[4]}/delete")
    done = many(admin, "delete", users[:3])
    assert "3 users moved to the trash." in admin.get(done.location).text
    assert named(admin, "q=bob") == ["bob3"]
    undone = many(admin, "restore", **undo_of(admin, done))
    assert "3 users restored." in admin.get(undone.location).text
    assert named(admin, "q=bob") == ["bob0", "bob1", "bob2", "bob3"]


@pytest.mark.parametrize("action", ["activate", "deactivate", "role", "delete", "restore"])
def test_a_bulk_action_on_selected_users_asks_to_confirm_their_number(
    admin: FlaskClient, users: list[str], action: str
) -> None:
    """A change of many asks first, with the number, also when only some of a page were picked."""
    if action == "restore":
        many(admin, "delete", users)
    before = [admin.get(f"/api/users?{query}").json for query in ("", "deleted=true")]
    form = {"query": "q=bob&sort=name", **({"role": "viewer"} if action == "role" else {})}
    asked = ask(admin, action, [*users[:3], users[0]], **form)
    assert asked.status_code == 200
    assert re.search(r"<h1>[^<]*\b3 users\b", asked.text)
    assert [admin.get(f"/api/users?{query}").json for query in ("", "deleted=true")] == before
    assert re.findall(r'name="id" value="([^"]+)"', asked.text) == users[:3]
    fields = {
        name: hidden_value(asked.text, name) for name in ("expected", "query", *(["role"] if action == "role" else []))
    }
    done = ask(admin, action, users[:3], **fields)
    assert (done.status_code, done.location.partition("&done=")[0]) == (303, "/people?q=bob&sort=name")
    one = ask(admin, action, users[3:4], **form)
    assert re.search(r"<h1>[^<]*\b1 user\b", one.text)


def test_when_a_selected_user_is_gone_no_user_is_changed(admin: FlaskClient, users: list[str]) -> None:
    send(admin, f"/people/{users[0]}/delete")
    refused = many(admin, "deactivate", users[:3])
    assert refused.status_code == 409
    assert "The selection has 2 users now, not 3." in refused.text


@pytest.mark.parametrize("chosen", ["picked", "all"])
def test_undo_returns_to_the_same_search(admin: FlaskClient, users: list[str], chosen: str) -> None:
    """Undoing a change of many leads back to the same search."""
    query = "q=bob&role=member&sort=-name"
    if chosen == "picked":
        done = many(admin, "delete", users[:3], query=query)
    else:
        done = ask(admin, "delete", all="1", expected="5", query=query)
    undone = ask(admin, "restore", **undo_of(admin, done))
    number = 3 if chosen == "picked" else 5
    assert (undone.status_code, undone.location) == (303, f"/people?{query}&done=undone&n={number}")


def test_a_bulk_action_on_all_matching_users_shows_their_number_first(admin: FlaskClient, users: list[str]) -> None:
    asked = many(admin, "deactivate", query="q=bob&role=member", all="1")
    assert asked.status_code == 200
    assert "Deactivate 5 users?" in asked.text
    assert named(admin, "active=false") == []
    fields = {name: hidden_value(asked.text, name) for name in ("all", "expected", "query")}
    assert fields["query"] == "q=bob&amp;role=member" or html.unescape(fields["query"]) == "q=bob&role=member"
    done = many(admin, "deactivate", **fields)
    assert done.status_code == 303
    assert len(named(admin, "active=false")) == len(users)


def test_when_the_number_of_matching_users_changed_no_user_is_changed(admin: FlaskClient, users: list[str]) -> None:
    fields = {"all": "1", "expected": str(len(users)), "query": "q=bob"}
    create_user_page(admin, username="bob9", name="Bob 9")
    refused = many(admin, "delete", **fields)
    assert refused.status_code == 409
    assert "confirm again" in refused.text
    assert len(named(admin, "q=bob")) == len(users) + 1


def test_one_forbidden_user_fails_the_whole_bulk_command(
    admin: FlaskClient, users: list[str], sign_in: Callable[[str], FlaskClient]
) -> None:
    editor = sign_in("editor")
    (root,) = (user["id"] for user in admin.get("/api/users?role=admin").json)
    refused = many(editor, "deactivate", [*users, root])
    assert refused.status_code == 403
    assert "Filter by role to exclude them" in refused.text
    assert named(admin, "active=false") == []
    assert many(editor, "role", users, role="viewer").status_code == 403


def test_a_bulk_action_never_includes_the_signed_in_user(admin: FlaskClient, users: list[str]) -> None:
    (root,) = (user["id"] for user in admin.get("/api/users?role=admin").json)
    for action, form in (("delete", {}), ("deactivate", {}), ("role", {"role": "member"})):
        refused = many(admin, action, [*users, root], **form)
        assert refused.status_code == 409
        assert "Exclude your own user" in refused.text
    assert len(named(admin, "active=true")) == len(users) + 1


@pytest.mark.parametrize(
    "form",
    [
        {"action": "explode", "id": "x"},
        {"action": "delete"},
        {"action": "delete", "id": "no-id"},
        {"action": "role", "role": "king", "id": "00000000-0000-7000-8000-000000000000"},
        {"action": "role", "id": "00000000-0000-7000-8000-000000000000"},
        {"action": "restore", "deleted_at": "yesterday"},
        {"action": "restore", "deleted_at": "2026-01-01T00:00:00"},
        {"action": "delete", "all": "1", "query": "role=king"},
        {"action": "delete", "all": "1", "query": "nonsense=1"},
        {"action": "delete", "all": "1", "query": "q=%ff"},
        {"action": "delete", "all": "1", "query": "", "expected": "many"},
        {"action": "delete", "all": "1", "query": "", "expected": "-1"},
    ],
)
@pytest.mark.usefixtures("users")
def test_a_meaningless_bulk_command_is_refused_and_changes_no_user(admin: FlaskClient, form: dict[str, str]) -> None:
    response = send(admin, "/people/bulk", **form)
    assert response.status_code in (200, 400, 404, 409, 422)
    assert response.status_code != 200 or "expected" in form
    assert len(named(admin, "active=true")) == 6


def test_a_purge_in_the_trash_is_offered_to_administrators_alone(
    admin: FlaskClient, users: list[str], sign_in: Callable[[str], FlaskClient]
) -> None:
    many(admin, "delete", users)
    assert f'formaction="/people/{users[0]}/purge"' in admin.get("/people?deleted=true").text
    page = sign_in("editor").get("/people?deleted=true").text
    assert f'formaction="/people/{users[0]}/restore"' in page
    assert "/purge" not in page
    assert re.findall(r'value="(restore|delete|activate)"', page) == ["restore"]
