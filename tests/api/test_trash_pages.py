"""Pages of deleted users show their history and who deleted them; a purge names the user."""

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from tests.support.console_client import create_user_page, form_of, send


@pytest.fixture
def path(admin: FlaskClient) -> str:
    """The path of the page of a deleted user."""
    path = create_user_page(
        admin, name="Bob Trashed", username="bob", email="bob@example.org", attributes='{"plan": "pro"}'
    )
    send(admin, path, **form_of(admin, path, name="Bob Deleted", attributes='{"plan": "pro"}'))
    assert send(admin, f"{path}/delete").status_code == 303
    return path


def shown(browser: FlaskClient, path: str) -> str:
    """The visible text of a page."""
    response = browser.get(path)
    assert response.status_code == 200
    return response.text


def test_the_trash_links_to_a_page_with_all_that_is_known(admin: FlaskClient, path: str) -> None:
    assert f'href="{path}"' in shown(admin, "/people?deleted=true")
    page = shown(admin, path)
    for text in ("Bob Deleted", "bob@example.org", "&#34;plan&#34;: &#34;pro&#34;", "In the trash"):
        assert text in page
    note = re.sub(r"<[^>]*>|\s+", " ", page.partition('class="notice"')[2].partition("</p>")[0])
    assert re.search(r"Deleted .* UTC\s*, by Ada$", note)
    assert "<del>Bob Trashed</del>" in page
    assert f'action="{path}/restore"' in page
    assert f'action="{path}/purge"' in page


def test_a_deleted_user_can_only_be_read_restored_or_purged(admin: FlaskClient, path: str) -> None:
    main = shown(admin, path).partition("<main")[2].partition("</main>")[0]
    assert set(re.findall(r'action="([^"]+)"', main)) == {f"{path}/restore", f"{path}/purge"}
    assert re.findall(r"<(?:input|textarea|select)", main) == []


def test_the_page_of_a_deleted_user_offers_only_permitted_actions(
    admin: FlaskClient, path: str, sign_in: Callable[[str], FlaskClient]
) -> None:
    browsers = {role: sign_in(role) for role in ("viewer", "editor")}

    def offered() -> dict[str, list[str]]:
        return {role: re.findall(rf'action="{path}/(\w+)"', shown(one, path)) for role, one in browsers.items()}

    assert offered() == {"viewer": [], "editor": ["restore"]}
    member = sign_in("member")
    assert member.get(path).status_code == 403
    send(admin, f"{path}/restore")
    send(admin, path, **form_of(admin, path, role="admin"))
    send(admin, f"{path}/delete")
    assert offered() == {"viewer": [], "editor": []}


def test_a_user_deleted_by_sql_can_be_opened(admin: FlaskClient, database: psycopg.Connection[Any]) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    database.execute("UPDATE users SET deleted_at = now(), version = version + 1 WHERE username = 'bob'")
    assert "In the trash" in shown(admin, path)


def test_saving_a_user_that_was_deleted_meanwhile_says_so(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    form = form_of(admin, path, name="Robert")
    send(admin, f"{path}/delete")
    late = send(admin, path, **form)
    assert late.status_code == 409
    assert "This user was deleted. Your changes were not saved." in late.text
    assert f'action="{path}/restore"' in late.text


def test_a_restore_whose_name_is_taken_says_so_on_the_page(admin: FlaskClient, path: str) -> None:
    create_user_page(admin, username="bob")
    refused = send(admin, f"{path}/restore")
    assert refused.status_code == 409
    assert "Another user has this username." in refused.text
    assert f'action="{path}/purge"' in refused.text


def test_the_confirmation_of_a_purge_names_the_user(admin: FlaskClient, path: str) -> None:
    asked = send(admin, f"{path}/purge").text
    assert re.search(r"<h1>Permanently delete Bob Deleted\?</h1>", asked)
    assert "bob@example.org" in asked
    assert send(admin, f"{path}/purge", confirmed="1").status_code == 303
    assert admin.get(path).status_code == 404


def test_older_activity_of_a_deleted_user_can_be_read(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    for number in range(25):
        send(admin, path, **form_of(admin, path, name=f"Bob {number}"))
    send(admin, f"{path}/delete")
    (older,) = re.findall(r'href="([^"]+before=[^"]+)"', shown(admin, path))
    assert "Bob 0</ins>" in shown(admin, older)
    fragment = admin.get(older, headers={"HX-Request-Type": "partial"}).text
    assert "Bob 0</ins>" in fragment
    assert "<main" not in fragment
