"""ETag, If-Match and If-None-Match (RFC 9110, section 13)."""

import uuid

import pytest

from tests.support.api_client import ApiClient

CURRENT = ['"2"', '"1", "2"', '"x","2" ,"y"', "*"]
OTHER = ['"1"', '"1", "3"', '""', '"02"']


@pytest.fixture
def path(api: ApiClient) -> str:
    """The path of a user at version 2."""
    user = api.create_user()
    path = f"/users/{user['id']}"
    assert api.patch(path, {"name": "second"}).headers["ETag"] == '"2"'
    return path


@pytest.mark.parametrize("tag", [*CURRENT, 'W/"2"', 'W/"1", W/"2"'])
def test_get_with_a_matching_if_none_match_is_304_without_a_body(api: ApiClient, path: str, tag: str) -> None:
    response = api.get(path, headers={"If-None-Match": tag})
    assert response.status_code == 304
    assert response.headers["ETag"] == '"2"'


@pytest.mark.parametrize("tag", [*OTHER, 'W/"1"'])
def test_get_with_an_outdated_if_none_match_returns_the_user(api: ApiClient, path: str, tag: str) -> None:
    response = api.get(path, headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.json["version"] == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("tag", CURRENT)
def test_a_write_with_the_current_etag_succeeds(api: ApiClient, path: str, method: str, tag: str) -> None:
    body = {} if method == "DELETE" else {"json": {"username": "third"}}
    assert api(method, path, headers={"If-Match": tag}, **body).status_code in (200, 204)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("tag", [*OTHER, 'W/"2"', "", "garbage"])
def test_a_write_with_an_outdated_etag_is_412_and_changes_nothing(
    api: ApiClient, path: str, method: str, tag: str
) -> None:
    before = api.get(path).json
    body = {} if method == "DELETE" else {"json": {"username": "third"}}
    assert api(method, path, headers={"If-Match": tag}, **body).status_code == 412
    assert api.get(path).json == before


def test_purge_and_restore_take_if_match_too(api: ApiClient, path: str) -> None:
    assert api.delete(f"{path}?purge=true", headers={"If-Match": '"1"'}).status_code == 412
    assert api.delete(path, headers={"If-Match": '"2"'}).status_code == 204
    assert api.post(f"{path}/restore", headers={"If-Match": '"2"'}).status_code == 412
    assert api.post(f"{path}/restore", headers={"If-Match": '"3"'}).status_code == 200
    assert api.delete(f"{path}?purge=true", headers={"If-Match": '"4"'}).status_code == 204


def test_put_with_if_none_match_is_412_if_the_user_exists(api: ApiClient, path: str) -> None:
    response = api.put(path, {"username": "third"}, headers={"If-None-Match": "*"})
    assert response.status_code == 412
    new = f"/users/{uuid.uuid4()}"
    assert api.put(new, {"username": "fourth"}, headers={"If-None-Match": "*"}).status_code == 201
    assert api.put(new, {"username": "fourth"}, headers={"If-None-Match": "*"}).status_code == 412


@pytest.mark.parametrize("tag", ["*", '"1"'])
def test_put_with_if_match_is_412_if_the_user_does_not_exist(api: ApiClient, tag: str) -> None:
    new = f"/users/{uuid.uuid4()}"
    assert api.put(new, {"username": "a"}, headers={"If-Match": tag}).status_code == 412
    assert api.get(new).status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_condition_on_an_unknown_user_is_404(api: ApiClient, method: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    assert api(method, f"/users/{uuid.uuid4()}", headers={"If-Match": '"1"'}, **body).status_code == 404


def test_no_change_keeps_the_etag_and_any_change_makes_a_new_one(api: ApiClient, path: str) -> None:
    assert api.patch(path, {"name": "second"}).headers["ETag"] == '"2"'
    assert api.patch(path, {"name": "third"}).headers["ETag"] == '"3"'
    api.delete(path)
    assert api.post(f"{path}/restore").headers["ETag"] == '"5"'


def test_an_old_etag_never_matches_again(api: ApiClient, path: str) -> None:
    api.delete(f"{path}?purge=true")
    made = api.put(path, {"username": "somebody-else"})
    assert made.status_code == 201
    assert made.json["version"] > 2
    assert api.get(path, headers={"If-None-Match": '"2"'}).status_code == 200
