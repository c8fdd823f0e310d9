"""Hot statements hand on their connections, and never one that is of no use."""

from collections.abc import Callable, Iterator
from typing import cast

import psycopg
import pytest
from flask import Flask
from sqlalchemy import QueuePool

from app.errors import Malformed
from app.extensions import ConstraintBroken, Resources, asked, holding
from app.infra import borrowing as module
from app.infra.postgres import Statement

BACKEND = Statement("SELECT pg_backend_pid()")
BROKEN = Statement("INSERT INTO tokens SELECT * FROM tokens UNION ALL SELECT NULL, NULL, '', '', '', now(), NULL, NULL")


@pytest.fixture
def held(make_app: Callable[..., Flask]) -> Iterator[Resources]:
    held: Resources = make_app(database_pool_size=4).extensions["fullstack"]
    with holding(held):
        yield held


def backend() -> int:
    return int(asked(BACKEND).get_value(0, 0) or b"")


def lent(held: Resources) -> int:
    """How many connections the pool has lent."""
    return cast("QueuePool", held.engine.pool).checkedout()


def at_once(held: Resources, count: int) -> set[int]:
    """The backends of so many statements, none of which ends before all have begun."""
    all_of_them = [held.borrowing.borrow() for _ in range(count)]
    for borrowed in all_of_them:
        held.borrowing.keep(borrowed)
    return {borrowed.connection.info.backend_pid for borrowed in all_of_them}


def test_one_after_the_other_has_the_same(held: Resources) -> None:
    assert len({backend() for _ in range(5)}) == 1
    assert lent(held) == 1


def test_half_of_the_pool_is_kept_at_most(held: Resources) -> None:
    assert len(at_once(held, 4)) == 4
    assert lent(held) == 2


def test_one_that_the_server_ended_is_replaced_unseen(held: Resources) -> None:
    ended = at_once(held, 2)
    with psycopg.connect(held.settings.database_url, autocommit=True) as connection:
        for pid in ended:
            connection.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
    assert backend() not in ended
    assert not at_once(held, 4) & ended


@pytest.mark.parametrize(
    ("statement", "values", "error"), [(BROKEN, (), ConstraintBroken), (BACKEND, ("\0",), Malformed)]
)
def test_who_failed_leaves_it_to_the_pool(
    held: Resources, statement: Statement, values: tuple[object, ...], error: type[Exception]
) -> None:
    assert backend()
    with pytest.raises(error):
        asked(statement, *values)
    assert lent(held) == (0 if error is ConstraintBroken else 1)
    assert backend()


def test_after_a_minute_the_pool_looks_at_it(held: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend()
    assert lent(held) == 1
    monkeypatch.setattr(module, "_LONGEST_S", 0.0)
    assert backend()
    assert lent(held) == 0


def test_the_pool_has_all_of_them_before_its_end(held: Resources) -> None:
    assert len(at_once(held, 2)) == 2
    assert lent(held) == 2
    held.borrowing.give_back()
    assert lent(held) == 0
    assert backend()
