"""Every sort, read page by page, gives the expected users in the expected order."""

import random
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.http.services import services_of
from embedded import Stack
from tests.support.api_client import SORTS, ApiClient, links
from tests.support.empty_tables import empty_tables

NAMES = ["Ada", "ada", "Ádá", "ÅDA", "Bob", "bob", "Zoë", "zoe", "Ørsted", "orsted", "田中", "Ж", "~", "1", "10", "2"]
FOLDED = {"Ádá": "ada", "ÅDA": "ada", "Zoë": "zoe", "Ørsted": "orsted", "Ж": "ж"}


def key_of(user: dict[str, Any], sort: str) -> tuple[str, str]:
    """The order of docs/api.md: without case and accents, then by id; users without an email come first."""
    value = user[sort]
    if sort == "name":
        value = FOLDED.get(value, value.lower())
    elif sort in ("username", "email"):
        value = (value or "").casefold()
    return value.encode(), user["id"]


def expected(users: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    return sorted(users, key=lambda user: key_of(user, sort.removeprefix("-")), reverse=sort.startswith("-"))


@pytest.fixture(scope="module")
def client(app: Flask) -> ApiClient:
    return ApiClient(app)


@pytest.fixture(scope="module")
def users(servers: Stack, app: Flask, client: ApiClient) -> list[dict[str, Any]]:
    """57 users, many with equal names, equal times or no email. Created once."""
    with psycopg.connect(servers.postgres.url, autocommit=True) as database:
        empty_tables(database)
        services = services_of(app)
        services.generations.invalidate()
        services.state.is_secured = False
        return make(client, database)


def make(api: ApiClient, database: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    chance = random.Random(7)  # noqa: S311 - the same crowd each time
    made = [
        api.create_user(
            username=f"{chance.choice('aAbBéÉ')}{number}",
            email=None if number % 3 else f"{chance.choice('xXyY')}{number}@example.org",
            name=chance.choice(NAMES),
            role=chance.choice(["member", "admin"]),
        )
        for number in range(57)
    ]
    for column in ("created_at", "updated_at"):
        for user in made:
            database.execute(
                f"UPDATE users SET {column} = '2026-01-01T00:00:00.0000Z'::timestamptz + %s * interval '1 us'"  # noqa: S608
                " WHERE id = %s",
                (chance.randrange(20), user["id"]),
            )
    return [api.get(f"/users/{user['id']}").json for user in made]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 7, 19, 57, 200])
def test_walking_forwards_lists_each_user_once_in_order(
    client: ApiClient, users: list[dict[str, Any]], sort: str, limit: int
) -> None:
    pages = client.pages(sort=sort, limit=limit)
    assert [user for page in pages for user in page] == expected(users, sort)
    assert all(len(page) == limit for page in pages[:-1])


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 7, 19])
def test_walking_backwards_lists_each_user_once_in_order(
    client: ApiClient, users: list[dict[str, Any]], sort: str, limit: int
) -> None:
    last = client.last_page(sort=sort, limit=limit)
    before = client.walk("prev", start=links(last)["prev"])
    assert before + last.json == expected(users, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_going_forth_and_back_comes_to_the_same_page(client: ApiClient, users: list[dict[str, Any]], sort: str) -> None:
    first = client.get("/users", query_string={"sort": sort, "limit": 10})
    assert links(first).keys() == {"first", "next"}
    second = client.follow(links(first)["next"])
    assert links(second).keys() == {"first", "next", "prev"}
    back = client.follow(links(second)["prev"])
    assert back.json == first.json == expected(users, sort)[:10]
    assert "prev" not in links(back)
    assert client.follow(links(back)["next"]).json == second.json
    assert client.follow(links(second)["first"]).json == first.json


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("role", ["member", "admin"])
def test_a_filtered_list_keeps_the_order(client: ApiClient, users: list[dict[str, Any]], sort: str, role: str) -> None:
    fitting = [user for user in users if user["role"] == role]
    assert client.walk(sort=sort, limit=5, role=role) == expected(fitting, sort)
    last = client.last_page(sort=sort, limit=5, role=role)
    assert client.walk("prev", start=links(last)["prev"]) + last.json == expected(fitting, sort)


def test_the_trash_is_listed_in_every_order_too(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    users = make(api, database)
    gone = {user["id"] for user in users[::2]}
    for user_id in gone:
        api.delete(f"/users/{user_id}")
    for sort in SORTS:
        trash = api.walk(sort=sort, limit=7, deleted="true")
        assert {user["id"] for user in trash} == gone
        assert trash == expected(trash, sort)
        assert api.walk(sort=sort, limit=7) == expected([u for u in users if u["id"] not in gone], sort)
