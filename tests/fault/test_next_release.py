"""Migrations while requests go on, and releases that serve on the schema of the next one."""

# ruff: noqa: S608 - constants

import ast
import itertools
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

from app.config import load_settings
from app.db.migrate import MIGRATIONS, prepare
from embedded import Postgres, Stack
from tests.support.service_process import ROOT, Response, Service, first_administrator
from tests.support.waiting import wait_until

PRESENT = ScriptDirectory(str(MIGRATIONS)).get_current_head() or ""
EXPANDED, CONTRACTED = f"{int(PRESENT) + 1:04d}", f"{int(PRESENT) + 2:04d}"
REVISION = '''"""A revision of a test."""

from alembic import op
from app.migrations.concurrent_indexes import create_index, drop_index

revision, down_revision = "{revision}", "{before}"
branch_labels = depends_on = None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    pass
'''
ADD_COLUMN = 'op.execute("ALTER TABLE users ADD COLUMN phone text")'
ADD_INDEX = """create_index("users_by_session_epoch", "users (session_epoch)")"""
BUILDING = """
SELECT count(*) FROM pg_stat_activity WHERE query ~ '^CREATE INDEX CONCURRENTLY users_by_session_epoch'
AND clock_timestamp() - query_start > interval '1 s'
"""
SLOW_AUTOVACUUM = (
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
    " autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_insert_scale_factor = 0"
)
VACUUMING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%public.history%'"
# `ALTER TABLE users DROP phone` removes a column, too.
REMOVAL = re.compile(
    r"\bdrop_(?!index\b|constraint\b)|\brename_table\b|\bnew_column_name\b|\bRENAME\b"
    r"|\bDROP\s(?!\s*(INDEX|CONSTRAINT|TRIGGER|FUNCTION|DEFAULT|NOT)\b)",
    re.IGNORECASE,
)
REMOVE = (
    'op.execute("ALTER TABLE users DROP COLUMN phone")\n'
    f"""    op.execute("UPDATE alembic_version SET compatible_from = '{EXPANDED}'")"""
)


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., Path]:
    """Copy the present release with further revisions (their bodies). Returns its folder."""

    def copy(name: str, *bodies: str) -> Path:
        root = tmp_path / name
        shutil.copytree(ROOT / "app", root / "app", ignore=shutil.ignore_patterns("__pycache__"))
        for number, body in enumerate(bodies, int(PRESENT)):
            text = REVISION.format(revision=f"{number + 1:04d}", before=f"{number:04d}", upgrade=body)
            (root / "app" / "migrations" / "versions" / f"{number + 1:04d}_test.py").write_text(text)
        return root

    return copy


@pytest.fixture
def start(serve: Callable[..., Service], new_database: str) -> Callable[..., Service]:
    """Start a release on the database of this test."""

    def start(root: Path = ROOT, **settings: object) -> Service:
        return serve(DATABASE_URL=new_database, WORKERS="1", WRITE_RATE_PER_MINUTE="0", root=root, **settings)

    return start


def revision(url: str) -> str:
    with psycopg.connect(url) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    return str(found)


@contextmanager
def requests_of(service: Service, headers: dict[str, str]) -> Iterator[set[int]]:
    """Read and write at the same time inside the block. Yields the statuses."""
    ends, statuses, uncached = threading.Event(), set[int](), {**headers, "Cache-Control": "no-cache"}

    def write(number: int) -> Response:
        return service.post("/api/users", {"username": f"load-{number}"}, headers=headers)

    def read(_number: int) -> Response:
        return service.get("/api/users?sort=-created_at", headers=uncached)

    def repeat(request: Callable[[int], Response]) -> None:
        for number in itertools.count():
            if ends.wait(0.02):
                return
            statuses.add(request(number).status)

    threads = [threading.Thread(target=repeat, args=[request]) for request in (read, write)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def test_a_release_serves_on_the_schema_of_the_next_one_and_back(
    start: Callable[..., Service], release: Callable[..., Path], new_database: str
) -> None:
    present = start()
    headers = first_administrator(present)
    following = release("next", ADD_COLUMN, ADD_INDEX)
    with requests_of(present, headers) as statuses:
        second = start(following)
        assert revision(new_database) == CONTRACTED
        second.end()
        # A container that is replaced, or starts again, during the update or after it was undone.
        restarted = start()
        user = restarted.post("/api/users", {"username": "ada"}, headers=headers)
        assert user.status == 201
        assert restarted.get(f"/api/users/{user.json['id']}/history", headers=headers).status == 200
        restarted.end()
        third = start(following)
        assert third.get(f"/api/users/{user.json['id']}", headers=headers).json == user.json
    assert statuses == {200, 201}
    (event,) = [event for event in restarted.events if event["event"] == "newer_schema"]
    assert (event["found"], event["newest"]) == (CONTRACTED, PRESENT)
    assert not [event for event in restarted.events if event["level"] == "error"]


def test_a_release_refuses_a_schema_that_lacks_what_it_uses(
    start: Callable[..., Service], release: Callable[..., Path], new_database: str
) -> None:
    start(release("contracted", ADD_COLUMN, REMOVE)).end()
    refused = start(ready=False)
    assert refused.process.wait(20) == 1
    (event,) = [event for event in refused.events if event["event"] == "start_refused"]
    assert f"is at revision {CONTRACTED}, which this release (newest: {PRESENT}) does not know" in event["cause"]
    # The release between the two does without what was removed.
    between = start(release("expanded", ADD_COLUMN))
    assert between.get("/api/users").status == 200
    assert revision(new_database) == CONTRACTED


def test_no_request_fails_because_a_migration_waits_for_a_lock(
    start: Callable[..., Service], release: Callable[..., Path], new_database: str
) -> None:
    """The migration gives way before the requests behind it do, which would be answered with 503."""
    present = start()
    headers = first_administrator(present)
    with psycopg.connect(new_database) as long, requests_of(present, headers) as statuses:
        long.execute("SELECT count(*) FROM users")
        second = start(release("next", ADD_COLUMN), ready=False)
        wait_until(lambda: second.text.count("migration_waits_for_lock") == 2, 30)
        assert revision(new_database) == PRESENT
        long.commit()
        second.wait_ready()
    assert revision(new_database) == EXPANDED
    assert statuses == {200, 201}


def test_a_migration_gets_past_an_autovacuum(
    serve: Callable[..., Service], release: Callable[..., Path], servers: Stack, tmp_path: Path
) -> None:
    """PostgreSQL cancels the autovacuum, which would take a minute, when the migration has waited for a second."""
    settings = {"autovacuum_naptime": "1s", "fsync": "off"}
    with (
        Postgres(tmp_path / "postgres", servers.postgres.version, settings=settings) as own,
        psycopg.connect(own.url, autocommit=True) as connection,
    ):
        prepare(load_settings({}, database_url=own.url))
        connection.execute(f"ALTER TABLE history SET ({SLOW_AUTOVACUUM})")
        connection.execute(
            "INSERT INTO history (user_id, version, action, changes)"
            " SELECT gen_random_uuid(), 1, 'changed', '[]' FROM generate_series(1, 30000)"
        )
        wait_until(lambda: connection.execute(VACUUMING).fetchone() == (1,), 30)
        following = release("next", 'op.execute("ALTER TABLE history ADD COLUMN note text")')
        service = serve(DATABASE_URL=own.url, WORKERS="1", DATABASE_WAIT_S="10", root=following)
        assert revision(own.url) == EXPANDED
        service.end()


def test_an_index_is_built_while_a_transaction_is_open(
    start: Callable[..., Service], release: Callable[..., Path], new_database: str
) -> None:
    """It waits for the transaction, longer than the time-out of a lock, and no request waits for it."""
    present = start()
    headers = first_administrator(present)
    with (
        psycopg.connect(new_database) as long,
        psycopg.connect(new_database, autocommit=True) as observer,
        requests_of(present, headers) as statuses,
    ):
        long.execute("UPDATE users SET name = 'Root'")
        second = start(release("next", ADD_INDEX), ready=False)
        wait_until(lambda: observer.execute(BUILDING).fetchone() == (1,), 30)
        long.commit()
        second.wait_ready()
    assert "migration_waits_for_lock" not in second.text
    assert statuses == {200, 201}
    with psycopg.connect(new_database) as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_by_session_epoch'::regclass"
        assert connection.execute(valid).fetchone() == (True,)


def test_new_revisions_build_indexes_concurrently() -> None:
    for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions():
        if script.revision > "0013":
            text = Path(script.path).read_text()
            assert "op.create_index(" not in text, f"{script.path}: use app.migrations.concurrent_indexes"
            assert "CREATE INDEX" not in text, f"{script.path}: use app.migrations.concurrent_indexes"


def lacks_compatible_from(source: str) -> bool:
    """Whether a revision removes or renames a table or a column, and does not set compatible_from."""
    _docstring, *nodes = ast.parse(source).body
    upgrade = [ast.get_source_segment(source, node) for node in nodes if getattr(node, "name", "") != "downgrade"]
    text = "\n".join(filter(None, upgrade))
    return bool(REMOVAL.search(text)) and not re.search(r"SET\s+compatible_from\b", text)


def test_new_revisions_that_remove_something_set_compatible_from() -> None:
    for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions():
        if script.revision > "0013":
            assert not lacks_compatible_from(Path(script.path).read_text()), f"{script.path}: see revision 0013"


@pytest.mark.parametrize(
    ("upgrade", "is_found"),
    [
        (REMOVE, False),
        (REMOVE.partition("\n")[0], True),
        ('op.execute("alter table users drop phone")', True),
        ('op.execute("DROP TABLE tokens")', True),
        ('op.execute("ALTER TABLE users RENAME COLUMN name TO full_name")', True),
        ('op.execute("ALTER TABLE users RENAME TO people")', True),
        ('op.drop_column("users", "name")', True),
        ('op.drop_table("tokens")', True),
        ('op.rename_table("users", "people")', True),
        ('op.alter_column("users", "name", new_column_name="full_name")', True),
        (ADD_COLUMN, False),
        (ADD_INDEX, False),
        ('drop_index("users_by_session_epoch")', False),
        ('op.execute("ALTER TABLE users DROP CONSTRAINT some_check")', False),
    ],
)
def test_a_removal_without_compatible_from_is_found(upgrade: str, is_found: bool) -> None:
    source = REVISION.format(revision=EXPANDED, before=PRESENT, upgrade=upgrade)
    assert lacks_compatible_from(source) is is_found


def test_each_release_can_use_the_schema_that_it_makes(new_database: str) -> None:
    prepare(load_settings({}, database_url=new_database))
    with psycopg.connect(new_database) as connection:
        (compatible_from,) = connection.execute("SELECT compatible_from FROM alembic_version").fetchone() or ("",)
    assert compatible_from in {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
