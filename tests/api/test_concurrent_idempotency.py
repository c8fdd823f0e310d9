"""Idempotency-Key: concurrent requests create one user, and do not wait for other keys."""

import time
from typing import Any

import psycopg
import pytest
from flask import Flask

from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.concurrency import at_once


@pytest.mark.usefixtures("api")
def test_of_concurrent_posts_with_one_key_one_creates_a_user(app: Flask, database: psycopg.Connection[Any]) -> None:
    for number in range(15):
        body, key = {"username": f"u{number}"}, {"Idempotency-Key": f"k{number}"}
        responses = at_once([lambda body=body, key=key: ApiClient(app).post("/users", body, headers=key)] * 8)
        assert {response.status_code for response in responses} == {201}
        assert len({response.data for response in responses}) == 1
        assert sum("Idempotent-Replayed" not in response.headers for response in responses) == 1
    assert database.execute("SELECT count(*) FROM users").fetchone() == (15,)
    assert database.execute("SELECT count(*) FROM history").fetchone() == (15,)


def test_one_of_concurrent_requests_reuses_an_expired_key(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    key = {"Idempotency-Key": "k"}
    for number in range(10):
        responses = at_once(
            [
                lambda n=n, number=number: ApiClient(app).post("/users", {"username": f"u{number}-{n}"}, headers=key)
                for n in range(6)
            ]
        )
        assert sorted(response.status_code for response in responses) == [201, 422, 422, 422, 422, 422]
        (first,) = [response for response in responses if response.status_code == 201]
        assert database.execute("SELECT body FROM idempotency_keys").fetchall() == [(first.data,)]
        database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    assert len(api.list_users()) == 10


@pytest.mark.usefixtures("api")
def test_requests_that_reuse_expired_keys_do_not_block_each_other(
    app: Flask, database: psycopg.Connection[Any]
) -> None:
    """Each also sweeps out what is old: the keys of the others."""
    calls = [
        lambda n=n, number=number: ApiClient(app).post(
            "/users", {"username": f"u{number}-{n}"}, headers={"Idempotency-Key": f"k{n}"}
        )
        for number in range(12)
        for n in range(8)
    ]
    for start in range(0, len(calls), 8):
        responses = at_once(calls[start : start + 8])
        assert {response.status_code for response in responses} == {201}, [response.text for response in responses]
        database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")


def test_a_locked_expired_key_is_not_waited_for(
    api: ApiClient, servers: Stack, database: psycopg.Connection[Any]
) -> None:
    """Two requests that delete each other's keys would wait for each other: 503 after one or five seconds."""
    for number in range(3):
        api.post("/users", {"username": f"u{number}"}, headers={"Idempotency-Key": f"k{number}"})
    database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    with psycopg.connect(servers.postgres.url) as other:
        other.execute("SELECT FROM idempotency_keys WHERE key = 'open k1' FOR UPDATE")
        began = time.monotonic()
        assert api.post("/users", {"username": "new"}, headers={"Idempotency-Key": "k"}).status_code == 201
        assert time.monotonic() - began < 1
    left = database.execute("SELECT key FROM idempotency_keys ORDER BY key").fetchall()
    assert left == [("open k",), ("open k1",)]
