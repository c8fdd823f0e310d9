"""The search index is cleaned in the background after changes."""

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.db.index_cleaner import IndexCleaner
from app.http.services import services_of
from tests.support.api_client import ApiClient
from tests.support.service_process import Service, first_administrator
from tests.support.waiting import wait_until


def _cleaned(database: psycopg.Connection[Any]) -> int:
    """How many pages of words had to be put into their index."""
    row = database.execute("SELECT gin_clean_pending_list('users_by_search_vector')").fetchone()
    return int(row[0]) if row else 0


def test_lexemes_are_pending_until_a_cleanup(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    _cleaned(database)
    api.create_user(username="bob")
    assert _cleaned(database) == 1


def test_pending_lexemes_are_merged_into_the_index(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    cleaner = IndexCleaner(services_of(app).database.connect)
    cleaner.start()
    api.create_user(username="bob")
    cleaner.request()
    time.sleep(1)
    assert _cleaned(database) == 0
    assert [user["username"] for user in api.get("/users?q=bob").json] == ["bob"]


def test_a_failed_cleanup_is_repeated(app: Flask, api: ApiClient, database: psycopg.Connection[Any]) -> None:
    """PostgreSQL is unavailable at first."""
    tries: list[int] = []

    def connect() -> psycopg.Connection[Any]:
        tries.append(1)
        if len(tries) == 1:
            raise psycopg.OperationalError
        return services_of(app).database.connect()

    cleaner = IndexCleaner(connect)
    cleaner.start()
    api.create_user(username="bob")
    cleaner.request()
    wait_until(lambda: len(tries) == 2)
    time.sleep(1)
    assert _cleaned(database) == 0


@pytest.mark.parametrize("settings", [{}, {"CACHE_MEMORY_MIB": "0"}, {"CACHE_TTL_S": "0"}])
def test_a_service_cleans_after_its_writes(
    serve: Callable[..., Service],
    empty: Callable[[], None],
    database: psycopg.Connection[Any],
    settings: dict[str, str],
) -> None:
    """Also without reads, and without a cache."""
    del empty
    service = serve(WORKERS="1", **settings)
    headers = first_administrator(service)
    time.sleep(1)
    _cleaned(database)
    for number in range(3):
        assert service.post("/api/users", {"username": f"u{number}"}, headers=headers).status == 201
    time.sleep(2.5)
    assert _cleaned(database) == 0
