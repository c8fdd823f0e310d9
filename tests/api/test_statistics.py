"""Planner statistics, read by several threads."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.http.services import services_of
from app.search.planner import PlannerStats
from app.search.text import Term

_COMMON = Term("zebedee")


@pytest.fixture
def fill_users(empty: Callable[[], None], database: psycopg.Connection[Any]) -> Callable[[int], None]:
    """Insert users of one name, and run ANALYZE."""

    def fill(count: int) -> None:
        empty()
        database.execute(
            "INSERT INTO users (id, username, username_key, name, name_key, role, search_vector)"
            " SELECT gen_random_uuid(), 'u' || n, 'u' || n, 'Zebedee', 'zebedee', 'member',"
            " array_to_tsvector(ARRAY['zebedee', 'u' || n]) FROM generate_series(1, %s) AS n",
            [count],
        )
        database.execute("ANALYZE users")

    return fill


def test_a_snapshot_stays_as_it_is_while_another_thread_reads_the_next_one(
    app: Flask, fill_users: Callable[[int], None]
) -> None:
    """The statistics were replaced in place, so a thread could find the lexemes of one and the shares of
    another."""
    planner_stats = PlannerStats(services_of(app).database, ttl_s=0)
    fill_users(200)
    snapshot = planner_stats.snapshot()
    assert (snapshot.total, round(snapshot.rows(_COMMON))) == (200, 200)
    fill_users(20)
    current = planner_stats.snapshot()
    assert (current.total, round(current.rows(_COMMON))) == (20, 20)
    assert (snapshot.total, round(snapshot.rows(_COMMON))) == (200, 200)
