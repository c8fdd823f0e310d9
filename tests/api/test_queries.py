"""Query strings: invalid parameters are refused and named."""

from typing import Any

import pytest

from tests.support.api_client import ApiClient, error_fields, links

PATHS = ["/users", "/users/0198c0de-0000-7000-8000-000000000001/history"]


@pytest.mark.parametrize("query", ["q=%ff", "q=%c3", "%ff=1", "q=%ed%a0%80", "attributes.a=%ff", "attributes.%ff=a"])
def test_a_query_that_is_not_utf_8_is_400(api_or_root: ApiClient, query: str) -> None:
    assert api_or_root.get(f"/users?{query}").status_code == 400


@pytest.mark.parametrize(
    "query", ["q=%00", "%00=1", "email=a%00b", "attributes.a%00=1", "attributes.a=%00", "cursor=%00"]
)
def test_u_0000_in_a_query_is_400(api_or_root: ApiClient, query: str) -> None:
    assert api_or_root.get(f"/users?{query}").status_code == 400


@pytest.mark.parametrize(
    "limit",
    ["-1", "0", "201", "abc", "", "1.5", "1e2", "٣", " 5", "+5", "0x10", "9" * 5000, "9223372036854775808", "null"],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_limit_out_of_range_is_422(api: ApiClient, path: str, limit: str) -> None:
    response = api.get(path, query_string={"limit": limit})
    assert response.status_code == 422
    assert error_fields(response) == {"limit"}


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
    response = api.get(f"/users?{query}")
    assert response.status_code in (400, 422)
    assert error_fields(response) == {field}
    assert len(response.data) < 2000


def test_all_bad_parameters_are_named_at_once(api: ApiClient) -> None:
    response = api.get("/users?limit=0&sort=x&active=x&created_after=x")
    assert response.status_code == 422
    assert error_fields(response) == {"limit", "sort", "active", "created_after"}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "q=a&q=a", "attributes.a=1&attributes.a=2", "%6cimit=1&limit=1"])
def test_a_parameter_that_is_given_twice_is_400(api_or_root: ApiClient, query: str) -> None:
    assert api_or_root.get(f"/users?{query}").status_code == 400


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
def test_an_unknown_parameter_is_400_and_names_the_closest(api_or_root: ApiClient, name: str, closest: str) -> None:
    response = api_or_root.get(f"/users?{name}=1")
    assert response.status_code == 400
    assert error_fields(response) == {name}
    assert repr(closest) in response.json["detail"]


@pytest.mark.parametrize(
    "path",
    ["/users?xyz=1", "/users?attributes=1", "/users?attributes.=1", "/users?password=x", f"/users?{'x' * 9000}=1"],
)
def test_any_other_unknown_parameter_is_400_too(api_or_root: ApiClient, path: str) -> None:
    assert api_or_root.get(path).status_code == 400


def test_routes_without_parameters_take_none(api_or_root: ApiClient) -> None:
    user = api_or_root.create_user()
    path = f"/users/{user['id']}"
    assert api_or_root.get(f"{path}?fields=id").status_code == 400
    assert api_or_root.post("/users?x=1", {"username": "b"}).status_code == 400
    assert api_or_root.patch(f"{path}?force=1", {}).status_code == 400
    assert api_or_root.put(f"{path}?purge=true", {"username": "b"}).status_code == 400
    assert api_or_root.post(f"{path}/restore?x=1").status_code == 400
    assert api_or_root.delete(f"{path}?prge=true").status_code == 400
    assert api_or_root.get("/health?deep=1").status_code == 400
    assert api_or_root.list_users() == [user]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "bm9uc2Vuc2U", "=", "%20", "..", "W10", "\u00e9", "A" * 1999])
def test_a_made_up_cursor_is_400(api_or_root: ApiClient, cursor: str) -> None:
    response = api_or_root.get("/users", query_string={"cursor": cursor})
    assert response.status_code == 400
    assert error_fields(response) == {"cursor"}


def test_a_cursor_of_another_list_or_a_cut_one_is_400(api_or_root: ApiClient) -> None:
    for _ in range(3):
        api_or_root.create_user()
    url = links(api_or_root.get("/users?limit=1&sort=name"))["next"]
    cursor = url.rpartition("cursor=")[2]
    assert api_or_root.get(f"/users?limit=1&sort=name&cursor={cursor}").status_code == 200
    for query in ("sort=-name", "sort=username", "", "sort=name&deleted=true"):
        assert api_or_root.get(f"/users?{query}&cursor={cursor}").status_code == 400, query
    for cut in range(0, len(cursor) - 1, 5):
        assert api_or_root.get(f"/users?sort=name&cursor={cursor[:cut]}").status_code == 400 or cut == 0


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("attributes.plan=a&attributes.plan=b", "attributes.plan"),
        ("attributes[plan]=a&attributes.plan=b", "attributes.plan"),
        ("attributes.limit=a&limit=1&attributes.limit=b", "attributes.limit"),
        ("attributes.limit=a&limit=1&limit=2", "limit"),
    ],
)
def test_a_repeated_parameter_is_named_in_full(api_or_root: ApiClient, query: str, name: str) -> None:
    """A repeated `attributes.plan` was reported as `plan`."""
    response = api_or_root.get(f"/users?{query}")
    assert response.status_code == 400
    assert error_fields(response) == {name}
    assert response.json["detail"] == f"The query parameter '{name}' is given twice."


def test_the_known_parameters_are_all_named(api_or_root: ApiClient) -> None:
    """Filters of attributes were left out."""
    detail = api_or_root.get("/users?xyzzy=1").json["detail"]
    for name in ("limit", "cursor", "sort", "q", "email", "created_after", "deleted", "attributes.<key>"):
        assert name in detail.partition("Known are: ")[2].rstrip(".").split(", ")
    assert (
        "attributes" not in api_or_root.get(f"/users/{api_or_root.create_user()['id']}/history?xyzzy=1").json["detail"]
    )
    for near in ("attributes", "attribute.plan", "attributes."):
        assert "Did you mean 'attributes.<key>'?" in api_or_root.get(f"/users?{near}=1").json["detail"]


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
    api_or_root: ApiClient, method: str, path: str, kwargs: dict[str, Any], title: str
) -> None:
    """Before Python 3.13 a 422 was an "Unprocessable Entity" and a 413 a "Request Entity Too Large"."""
    assert api_or_root(method, path, **kwargs).json["title"] == title
