"""Pages: their boundaries, their links, and changes between them."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.support.api_client import SORTS, ApiClient, links


def test_a_page_that_is_not_the_last_always_has_a_next(api: ApiClient) -> None:
    for number in range(5):
        assert ("next" in links(api.get("/users?limit=4"))) == (number > 4)
        api.create_user()
    assert "next" in links(api.get("/users?limit=4"))
    assert "next" not in links(api.get("/users?limit=5"))


def test_fifty_is_the_default_and_nothing_is_capped_silently(api: ApiClient) -> None:
    users = [api.create_user() for _ in range(57)]
    response = api.get("/users")
    assert len(response.json) == 50
    assert "next" in links(response)
    assert len(api.walk()) == len(users)


def test_an_empty_list_is_an_empty_array(api: ApiClient) -> None:
    response = api.get("/users")
    assert response.json == []
    assert links(response).keys() == {"first"}


def test_links_keep_all_that_was_asked(api: ApiClient) -> None:
    for number in range(3):
        api.create_user(name="Ada & Bob", attributes={"a b": "ü&="}, email=f"{number}@example.org")
    query = {"q": "ada bob", "sort": "-name", "limit": "1", "attributes.a b": "ü&=", "active": "true"}
    response = api.get("/users", query_string=query)
    for url in links(response).values():
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        asked.pop("cursor", None)
        assert asked == query
    assert len(api.walk(**query)) == 3


def changed_between(api: ApiClient, sort: str, change: Callable[[int], None]) -> tuple[list[str], list[str]]:
    """Ids of those who are there throughout, and of those that a walk with changes after each page has seen."""
    lasting = [
        api.create_user(username=f"m{number:02}", email=f"m{number:02}@example.org")["id"] for number in range(20)
    ]
    response = api.get("/users", query_string={"sort": sort, "limit": 3})
    seen = [user["id"] for user in response.json]
    for step in range(100):
        change(step)
        if "next" not in links(response):
            break
        response = api.follow(links(response)["next"])
        seen += [user["id"] for user in response.json]
    return lasting, seen


@pytest.mark.parametrize("sort", [sort for sort in SORTS if "updated" not in sort])
def test_inserts_and_deletes_between_pages_shift_no_user(api: ApiClient, sort: str) -> None:
    created: list[str] = []

    def change(step: int) -> None:
        if step > 12:
            return
        for letter in "az":
            name = f"{letter}{step}"
            created.append(api.create_user(username=name, email=f"{name}@example.org")["id"])
        api.delete(f"/users/{created.pop(0)}")

    lasting, seen = changed_between(api, sort, change)
    assert len(seen) == len(set(seen)), "somebody came twice"
    assert set(lasting) <= set(seen), "somebody vanished"


def test_a_cursor_works_after_its_row_is_deleted(api: ApiClient) -> None:
    made = [api.create_user()["id"] for _ in range(6)]
    first = api.get("/users?limit=3")
    api.delete(f"/users/{made[2]}")
    second = api.follow(links(first)["next"])
    assert [user["id"] for user in second.json] == made[3:]
    api.delete(f"/users/{made[3]}")
    assert [user["id"] for user in api.follow(links(second)["prev"]).json] == made[:2]


def test_a_page_whose_rows_were_deleted_still_has_a_previous_link(api: ApiClient) -> None:
    made = [api.create_user()["id"] for _ in range(4)]
    second = links(api.get("/users?limit=2"))["next"]
    for user_id in made[2:]:
        api.delete(f"/users/{user_id}")
    response = api.follow(second)
    assert response.json == []
    assert [user["id"] for user in api.follow(links(response)["prev"]).json] == made[:2]
