"""What the contract says of every query string: nothing is guessed, and what is wrong is named."""

from typing import Any

import pytest

from tests.support.api_client import ApiClient, faulty, links

PATHS = ["/users", "/users/0198c0de-0000-7000-8000-000000000001/history"]


@pytest.mark.parametrize("query", ["q=%ff", "q=%c3", "%ff=1", "q=%ed%a0%80", "attributes.a=%ff", "attributes.%ff=a"])
def test_a_query_that_is_not_utf_8_is_400(any_door: ApiClient, query: str) -> None:
    assert any_door.get(f"/users?{query}").status_code == 400


@pytest.mark.parametrize(
    "query", ["q=%00", "%00=1", "email=a%00b", "attributes.a%00=1", "attributes.a=%00", "cursor=%00"]
)
def test_u_0000_in_a_query_is_400(any_door: ApiClient, query: str) -> None:
    assert any_door.get(f"/users?{query}").status_code == 400


@pytest.mark.parametrize(
    "limit",
    ["-1", "0", "201", "abc", "", "1.5", "1e2", "٣", " 5", "+5", "0x10", "9" * 5000, "9223372036854775808", "null"],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_limit_out_of_range_is_422(api: ApiClient, path: str, limit: str) -> None:
    answer = api.get(path, query_string={"limit": limit})
    assert answer.status_code == 422
    assert faulty(answer) == {"limit"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sort=id", "sort"),
        ("sort=--name", "sort"),
        ("sort=NAME", "sort"),
        ("sort=", "sort"),
        ("active=yes", "active"),
        ("active=1", "active"),
        ("role=king", "role"),
        ("deleted=x", "deleted"),
        ("email=", "email"),
        ("username=", "username"),
        (f"q={'x' * 10_000}", "q"),
        (f"email={'x' * 300}", "email"),
        (f"cursor={'x' * 10_000}", "cursor"),
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_parameter_is_422_by_name(api: ApiClient, query: str, field: str) -> None:
    answer = api.get(f"/users?{query}")
    assert answer.status_code in (400, 422)
    assert faulty(answer) == {field}
    assert len(answer.data) < 2000


def test_all_bad_parameters_are_named_at_once(api: ApiClient) -> None:
    answer = api.get("/users?limit=0&sort=x&active=x&created_after=x")
    assert answer.status_code == 422
    assert faulty(answer) == {"limit", "sort", "active", "created_after"}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "q=a&q=a", "attributes.a=1&attributes.a=2", "%6cimit=1&limit=1"])
def test_a_parameter_that_is_given_twice_is_400(any_door: ApiClient, query: str) -> None:
    assert any_door.get(f"/users?{query}").status_code == 400


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("limt", "limit"),
        ("Limit", "limit"),
        ("sorted", "sort"),
        ("create_after", "created_after"),
        ("usrname", "username"),
    ],
)
def test_an_unknown_parameter_is_400_and_names_the_closest(any_door: ApiClient, name: str, closest: str) -> None:
    answer = any_door.get(f"/users?{name}=1")
    assert answer.status_code == 400
    assert faulty(answer) == {name}
    assert repr(closest) in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    ["/users?xyz=1", "/users?attributes=1", "/users?attributes.=1", "/users?password=x", f"/users?{'x' * 9000}=1"],
)
def test_any_other_unknown_parameter_is_400_too(any_door: ApiClient, path: str) -> None:
    assert any_door.get(path).status_code == 400


def test_routes_without_parameters_take_none(any_door: ApiClient) -> None:
    user = any_door.make()
    path = f"/users/{user['id']}"
    assert any_door.get(f"{path}?fields=id").status_code == 400
    assert any_door.post("/users?x=1", {"username": "b"}).status_code == 400
    assert any_door.patch(f"{path}?force=1", {}).status_code == 400
    assert any_door.put(f"{path}?purge=true", {"username": "b"}).status_code == 400
    assert any_door.post(f"{path}/restore?x=1").status_code == 400
    assert any_door.delete(f"{path}?prge=true").status_code == 400
    assert any_door.get("/health?deep=1").status_code == 400
    assert any_door.listed() == [user]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "bm9uc2Vuc2U", "=", "%20", "..", "W10", "\u00e9", "A" * 1999])
def test_a_made_up_cursor_is_400(any_door: ApiClient, cursor: str) -> None:
    answer = any_door.get("/users", query_string={"cursor": cursor})
    assert answer.status_code == 400
    assert faulty(answer) == {"cursor"}


def test_a_cursor_of_another_list_or_a_cut_one_is_400(any_door: ApiClient) -> None:
    for _ in range(3):
        any_door.make()
    url = links(any_door.get("/users?limit=1&sort=name"))["next"]
    cursor = url.rpartition("cursor=")[2]
    assert any_door.get(f"/users?limit=1&sort=name&cursor={cursor}").status_code == 200
    for query in ("sort=-name", "sort=username", "", "sort=name&deleted=true"):
        assert any_door.get(f"/users?{query}&cursor={cursor}").status_code == 400, query
    for cut in range(0, len(cursor) - 1, 5):
        assert any_door.get(f"/users?sort=name&cursor={cursor[:cut]}").status_code == 400 or cut == 0


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("attributes.plan=a&attributes.plan=b", "attributes.plan"),
        ("attributes[plan]=a&attributes.plan=b", "attributes.plan"),
        ("attributes.limit=a&limit=1&attributes.limit=b", "attributes.limit"),
        ("attributes.limit=a&limit=1&limit=2", "limit"),
    ],
)
def test_a_repeated_parameter_is_named_in_full(any_door: ApiClient, query: str, name: str) -> None:
    """Fault 10: a repeated `attributes.plan` was reported as `plan`."""
    answer = any_door.get(f"/users?{query}")
    assert answer.status_code == 400
    assert faulty(answer) == {name}
    assert answer.json["detail"] == f"The query parameter '{name}' is given twice."


def test_the_known_parameters_are_all_named(any_door: ApiClient) -> None:
    """Fault 10: filters of attributes were left out."""
    detail = any_door.get("/users?xyzzy=1").json["detail"]
    for name in ("limit", "cursor", "sort", "q", "email", "created_after", "deleted", "attributes.<key>"):
        assert name in detail.partition("Known are: ")[2].rstrip(".").split(", ")
    assert "attributes" not in any_door.get(f"/users/{any_door.make()['id']}/history?xyzzy=1").json["detail"]
    for near in ("attributes", "attribute.plan", "attributes."):
        assert "Did you mean 'attributes.<key>'?" in any_door.get(f"/users?{near}=1").json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "kwargs", "title"),
    [
        ("GET", "/users?x=1", {}, "Bad Request"),
        ("GET", "/users/x", {}, "Not Found"),
        ("DELETE", "/users", {}, "Method Not Allowed"),
        ("POST", "/users", {"data": b"x" * (2**20 + 1), "content_type": "application/json"}, "Content Too Large"),
        ("POST", "/users", {"data": b"x"}, "Unsupported Media Type"),
        ("POST", "/users", {"json": {}}, "Unprocessable Content"),
    ],
)
def test_a_title_is_the_same_whatever_python_serves(
    any_door: ApiClient, method: str, path: str, kwargs: dict[str, Any], title: str
) -> None:
    """Fault 10: before Python 3.13 a 422 was an "Unprocessable Entity" and a 413 a "Request Entity Too Large"."""
    assert any_door(method, path, **kwargs).json["title"] == title
