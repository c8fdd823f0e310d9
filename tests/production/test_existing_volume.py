"""A volume of an earlier release, whose tables the superuser owns, and a dump of it: both get the owner role."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import Stack
from tests.stack.production_stack import ADMIN, REPLICAS, SECRETS, ProductionStack

_OWNER = "fullstack_app_owner"
_SUPERUSERS_OBJECTS = """
SELECT count(*) FROM (
    SELECT relowner AS owner, relnamespace AS place FROM pg_class
    UNION ALL SELECT proowner, pronamespace FROM pg_proc
    UNION ALL SELECT typowner, typnamespace FROM pg_type
    UNION ALL SELECT stxowner, stxnamespace FROM pg_statistic_ext
) AS objects WHERE owner = 'postgres'::regrole AND place::regnamespace::text !~ '^(pg_|information_schema)'
"""
_EXTRA = """
CREATE SCHEMA reports;
CREATE VIEW reports.names AS SELECT name FROM users;
CREATE TABLE reports.runs (id serial PRIMARY KEY, at timestamptz GENERATED ALWAYS AS (NULL) STORED);
CREATE TYPE reports.kind AS ENUM ('daily');
CREATE TYPE reports.pair AS (a int, b int);
CREATE DOMAIN reports.positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE reports.numbers;
CREATE FUNCTION reports.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE reports.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE reports.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE STATISTICS reports.both ON role, name FROM users;
CREATE MATERIALIZED VIEW "reports"."Odd name" AS SELECT 1 AS one;
"""


@pytest.fixture(scope="module")
def upgraded(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ProductionStack, dict[str, str]]:
    """The production stack on the volume of docker-compose.yml alone, and the users that were there."""
    folder = tmp_path_factory.mktemp("upgraded")
    earlier = make_stack("upgraded", POSTGRES_PASSWORD=f"'{SECRETS['postgres_password']}'")
    earlier.up()
    users = {name: earlier.make(name)["id"] for name in ("anna", "bert")}
    assert earlier.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'users'") == "postgres"
    program = 'pg_dump -U postgres -Fc --no-acl "$POSTGRES_DB" > /tmp/users.dump && base64 /tmp/users.dump'
    (folder / "users.dump.b64").write_text(earlier.sh("db", program).stdout)
    earlier.sql(_EXTRA)
    earlier("down")
    stack = ProductionStack(earlier.name, folder)
    stack.up()
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    return stack, users


def test_the_users_are_there_and_the_service_works(upgraded: tuple[ProductionStack, dict[str, str]]) -> None:
    stack, users = upgraded
    for name, user_id in users.items():
        assert stack.get(f"/api/users/{user_id}").json["username"] == name
    assert stack.request("PATCH", f"/api/users/{users['anna']}", {"name": "Anna"}).status == 200
    for replica in REPLICAS:
        doctor = stack("exec", "-T", replica, "flask", "doctor").stdout
        assert "works as fullstack_app, which can only read and write rows" in doctor
        assert "works_as_owner" not in stack.log(replica)


def test_the_superuser_owns_nothing_of_the_database(upgraded: tuple[ProductionStack, dict[str, str]]) -> None:
    stack, _ = upgraded
    assert stack.sql(_SUPERUSERS_OBJECTS) == "0"
    assert set(stack.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").split()) == {_OWNER}
    assert stack.sql("SELECT datdba::regrole FROM pg_database WHERE datname = current_database()") == _OWNER


def test_the_owner_is_no_superuser_and_web_has_no_password_of_one(
    upgraded: tuple[ProductionStack, dict[str, str]],
) -> None:
    stack, _ = upgraded
    owner = "FROM pg_roles WHERE rolname = 'fullstack_app_owner'"
    assert stack.sql(f"SELECT rolsuper, rolcreatedb, rolreplication, rolbypassrls {owner}") == "f|f|f|f"
    memberships = "FROM pg_auth_members WHERE member = 'fullstack_app_owner'::regrole"
    assert set(stack.sql(f"SELECT roleid::regrole, inherit_option {memberships}").split()) == {"fullstack_app|f"}
    typed = "from app import db; print(db.session.execute('SELECT current_user').scalar())"
    assert stack("exec", "-T", "web", "python", "-c", typed).stdout.strip() == _OWNER
    assert SECRETS["postgres_password"] not in stack.sh("web", "cat /run/secrets/*; env").stdout
    assert SECRETS["owner_password"] not in stack.log("db") + stack.log("own-database")


def test_another_start_changes_nothing(upgraded: tuple[ProductionStack, dict[str, str]]) -> None:
    stack, _ = upgraded
    catalog = "SELECT md5(string_agg(c::text, '' ORDER BY oid)) FROM pg_class AS c WHERE oid > 16384"
    before = stack.sql(catalog), stack.container("web"), stack.container("db")
    stack("up", "-d", "--wait")
    assert (stack.sql(catalog), stack.container("web"), stack.container("db")) == before


def test_a_restored_dump_of_the_earlier_release_gets_the_owner(
    upgraded: tuple[ProductionStack, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack, users = upgraded
    (dump,) = Path(tmp_path_factory.getbasetemp()).rglob("users.dump.b64")
    stack("stop", "web", "web2")
    stack.sql("DROP SCHEMA reports CASCADE")
    restore = 'base64 -d | pg_restore -U postgres --clean --if-exists --no-acl -d "$POSTGRES_DB"'
    stack.sh("db", restore, input=dump.read_text())
    assert stack.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'users'") == "postgres"
    stack("up", "-d", "--wait")
    assert stack.sql(_SUPERUSERS_OBJECTS) == "0"
    assert stack.get("/api/health").json["status"] == "ok"
    assert stack.sql(f"SELECT name FROM users WHERE id = '{users['anna']}'") == "anna"  # noqa: S608
