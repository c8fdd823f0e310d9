"""The history of a user: actor, change, time and address."""

import pytest

from tests.support.api_client import ApiClient, is_timestamp, links


def entries(api: ApiClient, user_id: str) -> list[dict]:
    return api.get(f"/users/{user_id}/history").json


def changes(entry: dict) -> dict[str, tuple]:
    return {change["field"]: (change["old"], change["new"]) for change in entry["changes"]}


def test_each_change_is_listed_with_its_fields_newest_first(api: ApiClient) -> None:
    user = api.create_user(username="ada", attributes={"team": "x", "n": 1})
    path = f"/users/{user['id']}"
    api.patch(path, {"name": "Ada L.", "attributes": {"team": "y", "n": None, "new": [1]}})
    api.delete(path)
    api.post(f"{path}/restore")
    found = entries(api, user["id"])
    assert [entry["action"] for entry in found] == ["restored", "deleted", "changed", "created"]
    assert [entry["version"] for entry in found] == [4, 3, 2, 1]
    assert [entry["id"] for entry in found] == sorted((entry["id"] for entry in found), reverse=True)
    assert all(is_timestamp(entry["at"]) for entry in found)
    assert changes(found[2]) == {
        "name": ("ada", "Ada L."),
        "attributes.team": ("x", "y"),
        "attributes.n": (1, None),
        "attributes.new": (None, [1]),
    }
    created = changes(found[3])
    assert created["username"] == (None, "ada")
    assert created["role"] == (None, "member")
    assert created["active"] == (None, True)
    assert created["attributes.team"] == (None, "x")


def test_an_entry_has_address_and_user_agent(api: ApiClient) -> None:
    headers = {"User-Agent": "Mozilla/\u00e9 (x)", "X-Request-ID": "my-request-1"}
    user = api.post("/users", {"username": "ada"}, headers=headers).json
    (entry,) = entries(api, user["id"])
    assert entry["actor"] is None
    assert entry["address"] == "127.0.0.1"
    assert entry["agent"].startswith("Mozilla/")
    assert entry["request_id"] == "my-request-1"


def test_a_very_long_agent_is_cut(api: ApiClient) -> None:
    user = api.post("/users", {"username": "ada"}, headers={"User-Agent": "x" * 5000}).json
    assert len(entries(api, user["id"])[0]["agent"]) <= 300


def test_a_password_is_named_but_never_shown(api: ApiClient) -> None:
    user = api.create_user(password="correct horse")
    path = f"/users/{user['id']}"
    api.patch(path, {"password": "battery staple"})
    api.patch(path, {"password": None})
    response = api.get(f"{path}/history")
    assert [changes(entry).get("password") for entry in response.json] == [(None, None)] * 3
    for secret in ("correct", "battery", "argon2"):
        assert secret not in response.text


def test_a_failed_change_leaves_no_history_entry(api: ApiClient) -> None:
    api.create_user(username="taken")
    user = api.create_user(username="ada")
    path = f"/users/{user['id']}"
    api.patch(path, {"username": "taken"})
    api.patch(path, {"name": "x"}, headers={"If-Match": '"9"'})
    api.patch(path, {"role": "king"})
    assert len(entries(api, user["id"])) == 1


def test_the_history_of_the_trash_and_of_the_purged_can_be_read(api: ApiClient) -> None:
    user = api.create_user()
    path = f"/users/{user['id']}"
    api.delete(path)
    assert len(entries(api, user["id"])) == 2
    api.delete(f"{path}?purge=true")
    assert [entry["action"] for entry in entries(api, user["id"])] == ["purged", "deleted", "created"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 200])
def test_pages_give_every_entry_once(api: ApiClient, limit: int) -> None:
    user = api.create_user()
    path = f"/users/{user['id']}"
    for number in range(6):
        api.patch(path, {"name": f"name {number}"})
    seen, url = [], f"{path}/history?limit={limit}"
    while url:
        response = api.get(url)
        assert len(response.json) <= limit
        seen += [entry["version"] for entry in response.json]
        assert links(response)["first"].endswith(f"{path}/history?limit={limit}")
        url = links(response).get("next", "").removeprefix("http://localhost/api")
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_a_change_between_two_pages_shifts_no_entry(api: ApiClient) -> None:
    user = api.create_user()
    path = f"/users/{user['id']}"
    for number in range(3):
        api.patch(path, {"name": f"name {number}"})
    first = api.get(f"{path}/history?limit=2")
    api.patch(path, {"name": "between"})
    second = api.get(links(first)["next"].removeprefix("http://localhost/api"))
    assert [entry["version"] for entry in first.json + second.json] == [4, 3, 2, 1]


def test_a_cursor_of_another_users_history_is_400(api: ApiClient) -> None:
    one, other = api.create_user(), api.create_user()
    api.patch(f"/users/{one['id']}", {"name": "x"})
    cursor = links(api.get(f"/users/{one['id']}/history?limit=1"))["next"].rpartition("cursor=")[2]
    assert api.get(f"/users/{other['id']}/history?cursor={cursor}").status_code == 400
    assert api.get(f"/users?cursor={cursor}").status_code == 400
    assert api.get(f"/users/{one['id']}/history?cursor={cursor[:-1]}").status_code == 400
