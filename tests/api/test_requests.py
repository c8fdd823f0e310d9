"""Requests: no input causes a 5xx or an HTML page in the API."""

import gzip
import json
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from tests.support.api_client import ApiClient

PATHS = ["/users", "/users/0198c0de-0000-7000-8000-000000000001", "/users/0198c0de-0000-7000-8000-000000000001/history"]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/user",
        "/users/",
        "/users//",
        "/users/x/y",
        "/users/x/history/",
        "/%00",
        "/%ff%fe",
        "/..",
        "/é",
        "/users;x",
    ],
)
def test_an_unknown_route_is_404_or_the_same_route(api_or_root: ApiClient, path: str) -> None:
    response = api_or_root.get(path)
    assert response.status_code in (200, 400, 404), response.text


def test_a_trailing_slash_makes_no_difference(api_or_root: ApiClient) -> None:
    api_or_root.create_user(username="ada")
    assert api_or_root.get("/users/").json == api_or_root.get("/users").json
    user = api_or_root.list_users()[0]
    assert api_or_root.get(f"/users/{user['id']}/").json == user


@pytest.mark.parametrize("path", ["/users//x", "/users//", "/api//users"])
def test_double_slashes_are_404_and_no_redirect(api_or_root: ApiClient, path: str) -> None:
    assert api_or_root.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        (PATHS[1], {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}),
        (PATHS[2], {"GET", "HEAD", "OPTIONS"}),
        (f"{PATHS[1]}/restore", {"POST", "OPTIONS"}),
        ("/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_an_unknown_method_is_405_and_says_which_are_known(
    api_or_root: ApiClient, path: str, allowed: set[str]
) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW"):
        if method in allowed:
            continue
        response = api_or_root(method, path)
        assert response.status_code == 405, method
        assert {name.strip() for name in response.headers["Allow"].split(",")} == allowed
    options = api_or_root("OPTIONS", path)
    assert options.status_code in (200, 204)
    assert {name.strip() for name in options.headers["Allow"].split(",")} == allowed


def test_head_is_get_without_a_body(api_or_root: ApiClient) -> None:
    user = api_or_root.create_user()
    for path in ("/users", f"/users/{user['id']}", f"/users/{user['id']}/history", "/users?limit=1&q=nobody"):
        head, get = api_or_root("HEAD", path), api_or_root.get(path)
        assert head.status_code == get.status_code == 200
        for name in ("Content-Type", "Content-Length", "ETag", "Link", "Cache-Control"):
            assert head.headers.get(name) == get.headers.get(name), name
    assert api_or_root("HEAD", PATHS[1]).status_code == 404


@pytest.mark.parametrize("sane", ["abc", "0198c0de-0000-7000-8000-000000000001", "a.b_c:d/e+f=", "x" * 128])
def test_a_sane_request_id_comes_back(api: ApiClient, sane: str) -> None:
    assert api.get("/users", headers={"X-Request-ID": sane}).headers["X-Request-ID"] == sane
    assert api.get("/nothing", headers={"X-Request-ID": sane}).json["instance"] == sane


@pytest.mark.parametrize("insane", ["", " ", "x" * 129, "a b", "<script>", "a\u00e9", '"', "a,b", "{}", "-x"])
def test_an_insane_request_id_is_replaced(api: ApiClient, insane: str) -> None:
    responses = [api.get("/users", headers={"X-Request-ID": insane}) for _ in range(2)]
    given = [response.headers["X-Request-ID"] for response in responses]
    assert insane not in given
    assert given[0] != given[1]
    assert all(16 <= len(text) <= 128 and text.isascii() and text.isprintable() for text in given)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 201),
        ({"Content-Type": "application/json; charset=utf-8"}, 201),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 201),
        ({"Content-Type": "Application/JSON"}, 201),
        ({}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/merge-patch+json"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "json"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "br, gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "nonsense"}, 415),
    ],
)
def test_only_plain_json_is_taken(api_or_root: ApiClient, headers: dict[str, str], status: int) -> None:
    response = api_or_root("POST", "/users", data=b'{"username": "ada"}', headers=headers)
    assert response.status_code == status, response.text
    assert len(api_or_root.list_users()) == (status == 201)


def test_a_gzip_bomb_is_415_and_never_unpacked(api: ApiClient) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert api("POST", "/users", data=bomb, headers=headers).status_code == 415


def test_a_body_of_more_than_a_mebibyte_is_413(api_or_root: ApiClient) -> None:
    body = json.dumps({"username": "ada", "name": "x" * (2**20)}).encode()
    assert api_or_root.post("/users", body).status_code == 413
    fits = b'{"username": "ada"' + b" " * (2**20 - 19) + b"}"
    assert len(fits) == 2**20
    assert api_or_root.post("/users", fits).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"username": "a", "username": "b"}',
        b'{"username": "a\\u0000"}',
        b'{"username": "a\x00"}',
        b'{"username": "\\ud800"}',
        b'{"username": "a", "attributes": {"n": NaN}}',
        b'{"username": "a", "attributes": {"n": 1e999}}',
        b'{"username": "a", "attributes": {"a\\u0000": 1}}',
        b'{"username": "a", "version": ' + b"9" * 5000 + b"}",
        b"[" * 1000 + b"]" * 1000,
        b'{"attributes": ' + b'{"x":' * 1000 + b"1" + b"}" * 1000 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_strict_json_is_400(api_or_root: ApiClient, body: bytes) -> None:
    user = api_or_root.create_user()
    assert api_or_root.post("/users", body).status_code == 400
    assert api_or_root.put(f"/users/{user['id']}", body).status_code == 400
    assert api_or_root.patch(f"/users/{user['id']}", body).status_code == 400


@pytest.mark.parametrize(
    "path", ["/users/%ff", "/users/%c3%28", "/users/%00", "/users/%ed%a0%80/history", "/%ff", "/users/%80/restore"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_path_that_is_not_utf_8_is_4xx(api_or_root: ApiClient, method: str, path: str) -> None:
    response = api_or_root(method, path, json={})
    assert 400 <= response.status_code < 500


HEADERS = [
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Idempotency-Key",
    "User-Agent",
    "X-Request-ID",
    "Accept",
    "Content-Type",
    "Origin",
]


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    "value",
    ["\x00", "a\x00b", "\x7f", "\xff\xfe", "x" * 20_000, '"', '"' * 999, "W/", ",,,", "*,*", "count=", ";;;=", "%00"],
)
def test_no_header_value_gives_a_5xx(app: Flask, api: ApiClient, name: str, value: str) -> None:
    user = api.create_user()
    variable = name.upper().replace("-", "_")
    variable = variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"
    for method, path, body in (
        ("GET", "/users", None),
        ("GET", f"/users/{user['id']}", None),
        ("POST", "/users", {"username": "x"}),
        ("PATCH", f"/users/{user['id']}", {"name": f"{name}"}),
    ):
        environ = EnvironBuilder(path=f"/api{path}", method=method, json=body).get_environ()
        environ[variable] = value
        response = app.test_client().open(environ)
        assert response.status_code < 500, (method, path, response.text)


@pytest.mark.parametrize("host", ["evil.com", "10.0.0.1:5000", "localhost.evil.com"])
def test_a_foreign_host_is_403(api_or_root: ApiClient, host: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        response = api_or_root(method, "/users", headers={"Host": host}, json={} if method == "POST" else None)
        assert response.status_code == 403
    assert api_or_root.get("/nothing", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.com"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_sites_page_may_not_write(api_or_root: ApiClient, headers: dict[str, str]) -> None:
    user = api_or_root.create_user()
    path = f"/users/{user['id']}"
    for method, target in (
        ("POST", "/users"),
        ("PUT", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/restore"),
    ):
        body: dict[str, Any] = {} if method == "DELETE" or "restore" in target else {"json": {"username": "evil"}}
        assert api_or_root(method, target, headers=headers, **body).status_code == 403
    assert api_or_root.list_users() == [user]
    assert api_or_root.get("/users", headers=headers).status_code == 200
    assert "Access-Control-Allow-Origin" not in api_or_root.get("/users", headers=headers).headers


def test_responses_have_cache_control(api_or_root: ApiClient) -> None:
    user = api_or_root.create_user()
    for path in ("/users", f"/users/{user['id']}", f"/users/{user['id']}/history"):
        assert api_or_root.get(path).headers["Cache-Control"] == "private, no-cache"
    assert api_or_root.get("/nothing").headers["Cache-Control"] == "no-store"
    assert api_or_root.get("/health").headers["Cache-Control"] == "no-store"


def test_health_says_how_each_part_is(api_or_root: ApiClient) -> None:
    response = api_or_root.get("/health")
    assert response.status_code == 200
    assert response.json["status"] == "ok"
    assert response.json["checks"].keys() == {"database", "cache"}
    for part in response.json["checks"].values():
        assert part["status"] == "ok"
        assert part["latency_ms"] >= 0
    assert api_or_root.get("/health/live").status_code == api_or_root.get("/health/ready").status_code == 200
