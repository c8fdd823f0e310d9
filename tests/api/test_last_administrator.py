"""At least one administrator remains, also with concurrent requests."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.models import ADMINISTRATOR
from tests.support.api_client import ApiClient
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient


@pytest.mark.parametrize(
    "patch",
    [{"role": "editor"}, {"role": None}, {"active": False}, {"password": None}, {"role": "member", "name": "x"}],
)
def test_the_last_administrator_stays_one(secured_app: SecuredApp, patch: dict[str, Any]) -> None:
    me = secured_app.admin.get("/me").json
    path = f"/users/{me['id']}"
    assert secured_app.admin.patch(path, patch).status_code == 409
    assert secured_app.admin.delete(path).status_code == 409
    assert secured_app.admin.delete(f"{path}?purge=true").status_code == 409
    assert secured_app.admin.put(path, {"username": "root"}).status_code == 409
    assert secured_app.admin.get("/me").json == me


def test_an_administrator_who_cannot_sign_in_does_not_count_as_another(secured_app: SecuredApp) -> None:
    secured_app.create_user("admin")
    secured_app.create_user("admin", password=PASSWORD, active=False)
    gone = secured_app.create_user("admin", password=PASSWORD)
    secured_app.admin.delete(f"/users/{gone['id']}")
    assert secured_app.admin.patch("/me", {"role": "member"}).status_code == 409
    secured_app.create_user("admin", password=PASSWORD)
    assert secured_app.admin.patch("/me", {"role": "member"}).status_code == 200


@pytest.mark.parametrize("how", ["demote", "deactivate", "delete", "purge", "no password", "mixed"])
def test_administrators_who_remove_each_other_at_once_leave_one(
    secured_app: SecuredApp, database: psycopg.Connection[Any], how: str
) -> None:
    """Five at a time; each removes the next one in the circle."""
    ways: dict[str, Callable[[UserClient, str], Any]] = {
        "demote": lambda client, path: client.patch(path, {"role": "member"}),
        "deactivate": lambda client, path: client.patch(path, {"active": False}),
        "delete": lambda client, path: client.delete(path),
        "purge": lambda client, path: client.delete(f"{path}?purge=true"),
        "no password": lambda client, path: client.patch(path, {"password": None}),
    }
    first = secured_app.admin.user
    for _ in range(4):
        admins = [first, *(secured_app.create_user("admin", password=PASSWORD) for _ in range(4))]
        clients = [secured_app.token_client(admin) for admin in admins]
        start = threading.Barrier(len(clients))
        chosen = list(ways.values()) if how == "mixed" else [ways[how]] * len(clients)

        def remove(
            number: int, clients: Any = clients, admins: Any = admins, start: Any = start, chosen: Any = chosen
        ) -> None:
            start.wait()
            chosen[number](clients[number], f"/users/{admins[(number + 1) % len(admins)]['id']}")

        threads = [threading.Thread(target=remove, args=(number,)) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = database.execute(f"SELECT id::text FROM users WHERE {ADMINISTRATOR}").fetchall()  # noqa: S608 - a constant
        assert len(left) >= 1
        first = {"id": left[0][0], "role": "admin"}
        secured_app.admin = secured_app.session_client(first)
        for (other,) in left[1:]:
            secured_app.admin.delete(f"/users/{other}")


def test_concurrent_first_visitors_leave_the_service_secured(app: Flask, api: ApiClient) -> None:
    """Several requests may succeed: in setup mode each may do anything. After them, the service is secured."""
    statuses, start = [], threading.Barrier(4)

    def visit(number: int) -> None:
        form = {"email": f"first{number}@example.org", "password": PASSWORD}
        start.wait()
        statuses.append(app.test_client().post("/first", data=form).status_code)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 303 in statuses
    assert set(statuses) <= {303, 302, 404, 401}
    assert api.get("/users").status_code == 401
    assert app.test_client().post("/first", data={"email": "x@example.org", "password": PASSWORD}).status_code == 404
