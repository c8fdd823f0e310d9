"""Search, filters and counts."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.api_client import ApiClient

USERS = [
    {"username": "ada", "name": "Ada Lovelace", "email": "ada@example.org"},
    {"username": "emile", "name": "Émile Zola", "email": "zola@lettres.example"},
    {"username": "soren", "name": "Søren Kierkegaard"},
    {"username": "strasse", "name": "Anna Straße-Müller"},
    {"username": "tanaka", "name": "田中太郎"},
    {"username": "kim", "name": "김철수"},
    {"username": "somchai", "name": "สมชาย ใจดี"},
    {"username": "o.brien_7", "name": "Máire O'Brien"},
    {"username": "istanbul", "name": "İnci IŞIK"},
    {"username": "ΣΟΦΙΑ", "name": "Σοφία Παππάς"},
]
SEARCHES = [
    ("ada", ["ada"]),
    ("ADA", ["ada"]),
    ("love", ["ada"]),
    ("lovelace ada", ["ada"]),
    ("ada zola", []),
    ("da", []),
    ("l", ["ada", "emile"]),
    ("emile", ["emile"]),
    ("ÉMILE", ["emile"]),
    ("e\u0301mile", ["emile"]),
    ("lettres", ["emile"]),
    ("zola@lettres.example", ["emile"]),
    ("example", ["ada", "emile"]),
    ("søren", ["soren"]),
    ("kierke soren", ["soren"]),
    ("strasse", ["strasse"]),
    ("STRASSE muller", ["strasse"]),
    ("straß", ["strasse"]),
    ("田", ["tanaka"]),
    ("太郎", ["tanaka"]),
    ("郎 田", ["tanaka"]),
    ("中村", []),
    ("김", ["kim"]),
    ("김철", ["kim"]),
    ("철수", []),
    ("สม", ["somchai"]),
    ("ชาย", ["somchai"]),
    ("brien", ["o.brien_7"]),
    ("o'br", ["o.brien_7"]),
    ("obrien", []),
    ("7", ["o.brien_7"]),
    ("istan", ["istanbul"]),
    ("inci isik", ["istanbul"]),
    ("σοφια", ["ΣΟΦΙΑ"]),
    ("ΠΑΠΠΑΣ", ["ΣΟΦΙΑ"]),
    ("member", []),
    ("true", []),
    ("role", []),
    ("nobody", []),
]


@pytest.fixture
def client(api: ApiClient) -> ApiClient:
    for user in USERS:
        api.create_user(**user)
    return api


def test_every_word_is_the_beginning_of_some_word_of_a_user(client: ApiClient) -> None:
    wrong = {q: found for q, names in SEARCHES if (found := usernames(client, q=q)) != sorted(names)}
    assert wrong == {}


@pytest.mark.parametrize("q", ["", " ", "-", "@ . !", "'", "\u0301", "&|!():*<->"])
def test_a_search_without_a_word_finds_all_users(client: ApiClient, q: str) -> None:
    assert len(client.walk(q=q)) == len(USERS)


@pytest.mark.parametrize(
    "q",
    [
        "ada:*",
        "!ada",
        "ada & | zola",
        "'ada'",
        "ada\\",
        "a%",
        "_da",
        "ada') OR 1=1 --",
        "=role:admin",
        "$1",
        "%s",
        "%(words)s",
    ],
)
def test_special_characters_of_query_languages_are_accepted(client: ApiClient, q: str) -> None:
    assert client.get("/users", query_string={"q": q}).status_code == 200


def test_a_change_of_name_is_found_at_once_and_the_old_one_no_more(client: ApiClient) -> None:
    (ada,) = client.list_users(q="lovelace")
    client.patch(f"/users/{ada['id']}", {"name": "Countess Byron"})
    assert client.list_users(q="lovelace") == []
    assert usernames(client, q="coun byr") == ["ada"]
    client.patch(f"/users/{ada['id']}", {"email": None})
    assert usernames(client, q="example") == ["emile"]


def test_the_trash_is_searched_apart(client: ApiClient) -> None:
    (ada,) = client.list_users(q="lovelace")
    client.delete(f"/users/{ada['id']}")
    assert client.list_users(q="lovelace") == []
    assert usernames(client, q="lovelace", deleted="true") == ["ada"]
    assert client.list_users(q="zola", deleted="true") == []
    client.post(f"/users/{ada['id']}/restore")
    assert usernames(client, q="lovelace") == ["ada"]
    assert client.list_users(q="lovelace", deleted="true") == []


def usernames(api: ApiClient, **query: Any) -> list[str]:
    return sorted(user["username"] for user in api.walk(**query))


@pytest.mark.parametrize(("field", "value"), [("email", "ADA@EXAMPLE.org"), ("username", "ADA"), ("username", "σοφια")])
def test_names_are_filtered_whole_and_in_any_case(client: ApiClient, field: str, value: str) -> None:
    assert len(client.list_users(**{field: value})) == 1
    assert client.list_users(**{field: value[:-1]}) == []


def test_role_and_active_are_exact_filters_alone_and_together(api: ApiClient) -> None:
    for number, role in enumerate(["member", "viewer", "editor", "admin", "admin"]):
        api.create_user(username=f"u{number}", role=role, active=number != 4)
    assert usernames(api, role="admin") == ["u3", "u4"]
    assert usernames(api, active="false") == ["u4"]
    assert usernames(api, active="true", role="admin") == ["u3"]
    assert usernames(api, active="true") == ["u0", "u1", "u2", "u3"]


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "name", "-updated_at"])
def test_times_are_bounds_that_are_not_included(
    api: ApiClient, database: psycopg.Connection[Any], name: str, sort: str
) -> None:
    users = [api.create_user() for _ in range(5)]
    moments = []
    for number, user in enumerate(users):
        moments.append(datetime.fromisoformat("2026-02-28T23:59:59.999998+00:00") + timedelta(microseconds=number))
        database.execute("UPDATE users SET created_at = %s WHERE id = %s", (moments[-1], user["id"]))
    for number, moment in enumerate(moments):
        fitting = users[number + 1 :] if name == "created_after" else users[:number]
        for text in (moment.isoformat(), moment.isoformat().replace("+00:00", "Z")):
            found = api.walk(limit=2, sort=sort, **{name: text})
            assert {user["id"] for user in found} == {user["id"] for user in fitting}, text


def test_a_range_of_times_holds_what_lies_between(api: ApiClient) -> None:
    users = [api.create_user() for _ in range(4)]
    found = api.list_users(created_after=users[0]["created_at"], created_before=users[3]["created_at"])
    assert [user["id"] for user in found] == [user["id"] for user in users[1:3]]
    assert api.list_users(created_after=users[3]["created_at"], created_before=users[0]["created_at"]) == []
    assert len(api.list_users(created_after="0001-01-01T00:00:00Z", created_before="9999-12-31T23:59:59Z")) == 4


@pytest.mark.parametrize(
    "moment",
    [
        "now",
        "2026-01-01",
        "1767225600",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        "infinity",
        "",
    ],
)
def test_a_time_that_is_none_is_422(api: ApiClient, moment: str) -> None:
    response = api.get("/users", query_string={"created_after": moment})
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == "created_after"


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00.999999999Z"]
)
def test_a_time_at_the_edge_of_the_calendar_is_no_5xx(api: ApiClient, moment: str) -> None:
    assert api.get("/users", query_string={"created_after": moment}).status_code in (200, 422)


ATTRIBUTES = [
    {"team": "red", "n": 1, "on": True, "none": None},
    {"team": "RED", "n": 1.0, "on": False},
    {"team": "red ", "n": "1", "on": "true", "none": "null"},
    {"team": ["red"], "n": [1], "on": {}, "none": []},
    {"Team": "red", "n.m": 1, "": "empty", "ключ": "значение 1&2"},
]


@pytest.mark.parametrize(
    ("key", "text", "fitting"),
    [
        ("team", "red", [0]),
        ("team", "RED", [1]),
        ("team", "red ", [2]),
        ("team", "re", []),
        ("team", '["red"]', []),
        ("Team", "red", [4]),
        ("n", "1", [0, 2]),
        ("n", "1.0", [1]),
        ("n", "01", []),
        ("on", "true", [0, 2]),
        ("on", "false", [1]),
        ("none", "null", [0, 2]),
        ("n.m", "1", [4]),
        ("ключ", "значение 1&2", [4]),
        ("nothing", "", []),
    ],
)
def test_attributes_are_filtered_by_their_exact_value(api: ApiClient, key: str, text: str, fitting: list[int]) -> None:
    for number, attributes in enumerate(ATTRIBUTES):
        api.create_user(username=f"u{number}", attributes=attributes)
    assert usernames(api, **{f"attributes.{key}": text}) == [f"u{number}" for number in fitting]


def test_several_attributes_must_all_fit(api: ApiClient) -> None:
    api.create_user(username="both", attributes={"a": "1", "b": "2"})
    api.create_user(username="one", attributes={"a": "1", "b": "3"})
    assert usernames(api, **{"attributes.a": "1", "attributes.b": "2"}) == ["both"]


def test_counts_are_given_when_they_are_preferred(client: ApiClient) -> None:
    assert "X-Total-Count" not in client.get("/users").headers
    for prefer in ("count=exact", 'count="exact"', "respond-async, count=exact; x=y", "COUNT=exact"):
        response = client.get("/users?limit=3", headers={"Prefer": prefer})
        assert response.headers["X-Total-Count"] == str(len(USERS)), prefer
        assert response.headers["Preference-Applied"] == "count=exact"
    for prefer in ("count=planned", "count", "", "return=minimal"):
        assert "X-Total-Count" not in client.get("/users", headers={"Prefer": prefer}).headers


def test_an_exact_count_follows_filters_and_changes_not_pages(client: ApiClient) -> None:
    headers = {"Prefer": "count=exact"}

    def count(**query: Any) -> int:
        return int(client.get("/users", query_string=query, headers=headers).headers["X-Total-Count"])

    assert count(q="example") == count(q="example", limit=1, sort="-name") == 2
    assert count(role="admin") == 0
    assert count(deleted="true") == 0
    (ada,) = client.list_users(q="lovelace")
    client.delete(f"/users/{ada['id']}")
    assert (count(q="example"), count(deleted="true"), count()) == (1, 1, len(USERS) - 1)


def test_an_estimated_count_comes_from_the_statistics(client: ApiClient, database: psycopg.Connection[Any]) -> None:
    database.execute("ANALYZE users")
    response = client.get("/users", headers={"Prefer": "count=estimated"})
    assert response.headers["Preference-Applied"] == "count=estimated"
    assert int(response.headers["X-Total-Count"]) == len(USERS)
