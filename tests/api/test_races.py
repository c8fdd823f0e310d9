"""Races between threads, on a server of two processes."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from flask import Flask

from tests.support.api_client import SORTS, ApiClient, links
from tests.support.concurrency import at_once
from tests.support.service_process import Response, Service


@pytest.fixture(scope="module")
def service(serve_all: Callable[..., Service]) -> Service:
    return serve_all(WORKERS="2")


def statuses(responses: list[Response]) -> Counter[int]:
    return Counter(response.status for response in responses)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_of_two_editors_with_the_same_etag_one_wins(service: Service, api: ApiClient, method: str) -> None:
    user = api.create_user(username="ada")
    path = f"/api/users/{user['id']}"
    for number in range(20):
        tag = service.get(path).headers["ETag"]
        bodies = [{"username": "ada", "name": f"editor {editor} of round {number}"} for editor in (1, 2)]
        responses = at_once([partial(service, method, path, body, {"If-Match": tag}) for body in bodies])
        assert statuses(responses) == {200: 1, 412: 1}
        (winner,) = [response for response in responses if response.status == 200]
        assert service.get(path).json == winner.json
    versions = [entry["version"] for entry in service.get(f"{path}/history").json]
    assert versions == list(range(21, 0, -1))


def test_of_fifty_creators_of_one_email_one_wins(service: Service, api: ApiClient) -> None:
    bodies = [
        {"username": f"u{number}", "email": "Ada@example.org" if number % 2 else "ada@EXAMPLE.org"}
        for number in range(50)
    ]
    # A busy machine may refuse some at first.
    responses = at_once([partial(service.send_until_admitted, "POST", "/api/users", body) for body in bodies])
    assert statuses(responses) == {201: 1, 409: 49}
    assert len(api.list_users()) == 1


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}])
def test_of_concurrent_puts_of_one_new_id_one_creates_the_user(
    service: Service, api: ApiClient, headers: dict[str, str]
) -> None:
    for _ in range(5):
        path = f"/api/users/{uuid.uuid4()}"
        bodies = [{"username": f"{path[-12:]}-{number}"} for number in range(8)]
        responses = at_once([partial(service, "PUT", path, body, headers) for body in bodies])
        assert statuses(responses) == ({201: 1, 412: 7} if headers else {201: 1, 200: 7})
        entries = service.get(f"{path}/history").json
        assert len(entries) == (1 if headers else 8)
    assert len(api.list_users()) == 5


@pytest.mark.parametrize("password", [None, "correct horse"])
def test_one_idempotency_key_twenty_times_at_once_makes_one_user(
    service: Service, api: ApiClient, password: str | None
) -> None:
    body = {"email": "ada@example.org", "password": password}
    key = {"Idempotency-Key": "once"}
    responses = at_once([lambda: service.post("/api/users", body, headers=key)] * 20)
    assert statuses(responses) == {201: 20}
    assert len({response.body for response in responses}) == 1
    assert sum("Idempotent-Replayed" not in response.headers for response in responses) == 1
    (user,) = api.list_users()
    assert len(api.get(f"/users/{user['id']}/history").json) == 1


def test_of_concurrent_deletes_or_restores_one_succeeds(service: Service, api: ApiClient) -> None:
    path = f"/api/users/{api.create_user()['id']}"
    for _ in range(3):
        assert statuses(at_once([lambda: service("DELETE", path)] * 8)) == {204: 1, 404: 7}
        assert statuses(at_once([lambda: service("POST", f"{path}/restore")] * 8)) == {200: 1, 409: 7}
    assert len(service.get(f"{path}/history").json) == 7


def test_restoring_and_creating_the_same_name_at_once_leaves_one_of_them(service: Service, api: ApiClient) -> None:
    for number in range(5):
        user = api.create_user(username=f"ada{number}")
        api.delete(f"/users/{user['id']}")
        responses = at_once(
            [
                partial(service, "POST", f"/api/users/{user['id']}/restore"),
                partial(service.post, "/api/users", {"username": f"ADA{number}"}),
            ]
        )
        assert statuses(responses) in ({200: 1, 409: 1}, {409: 1, 201: 1})
        assert len(api.list_users(username=f"ada{number}")) == 1


def test_many_changes_at_once_are_all_kept_one_after_another(service: Service, api: ApiClient) -> None:
    path = f"/api/users/{api.create_user()['id']}"
    calls = [partial(service, "PATCH", path, {"attributes": {f"k{n}": n}}) for n in range(24)]
    assert statuses(at_once(calls)) == {200: 24}
    user = service.get(path).json
    assert user["attributes"] == {f"k{n}": n for n in range(24)}
    assert user["version"] == 25


@pytest.mark.parametrize("sort", SORTS)
def test_walks_list_each_lasting_user_once(service: Service, app: Flask, api: ApiClient, sort: str) -> None:
    lasting = {api.create_user(username=f"m{n:03}", email=f"m{n:03}@example.org")["id"] for n in range(60)}
    stop = threading.Event()

    def come_and_go() -> None:
        client, created, number = ApiClient(app), [], 0
        while not stop.is_set():
            number += 1
            name = f"{'amz'[number % 3]}{number:05}-new"
            created.append(client.create_user(username=name, email=f"{name}@example.org")["id"])
            if len(created) > 10:
                client.delete(f"/users/{created.pop(number % 10)}")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(4):
            seen = walk(service, f"/api/users?sort={sort}&limit=7")
            assert len(seen) == len(set(seen)), "somebody came twice"
            assert lasting <= set(seen), "somebody vanished"
    finally:
        stop.set()
        thread.join()


def walk(service: Service, path: str) -> list[str]:
    """The ids of all users of a list; gives up where newcomers make it endless."""
    seen: list[str] = []
    for _ in range(200):
        response = service.get(path)
        assert response.status == 200
        seen += [user["id"] for user in response.json]
        url = links(response).get("next")
        if url is None:
            break
        path = "/" + url.split("/", 3)[3]
    return seen
