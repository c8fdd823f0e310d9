"""Whether each release that `compatible_from` promises to serve can use the schema of a revision.

A release is known by its newest revision. It uses all columns and functions of that schema, except those that this
revision or an earlier one names: `unused = ("users.phone",)`, a column, a table or a function with its arguments.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_COLUMNS = """
SELECT format('%s.%s', attrelid::regclass, attname), format_type(atttypid, atttypmod),
  attnotnull AND NOT atthasdef AND attidentity = ''
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
"""
# No statement of a release calls a trigger's function.
_FUNCTIONS = """
SELECT oid::regprocedure::text, pg_get_function_result(oid), false
FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prorettype <> 'trigger'::regtype
"""
# From the next revision on, databases have compatible_from.
_BEFORE_PROMISES = "0012"


class Schema(NamedTuple):
    """The type of each column and function, and the columns for which each INSERT has to give a value."""

    types: dict[str, str]
    required: set[str]


def schema_of(connection: psycopg.Connection[Any]) -> Schema:
    rows = connection.execute(f"{_COLUMNS} UNION ALL {_FUNCTIONS}").fetchall()
    return Schema({name: kind for name, kind, _ in rows}, {name for name, _, is_required in rows if is_required})


def breaks(before: Schema, after: Schema, unused: Collection[str] = ()) -> list[str]:
    """What fails in a release that was written for `before`, when the schema is `after`."""
    used = {name: kind for name, kind in before.types.items() if not {name, _table(name)} & set(unused)}
    tables = {_table(name) for name in before.types}
    changed = [name for name, kind in used.items() if after.types.get(name) != kind]
    required = [name for name in sorted(after.required - before.required) if _table(name) in tables]
    return [
        *(f"{name} is {after.types.get(name, 'removed')}, was {used[name]}" for name in changed),
        *(f"{name} has to be given" for name in required),
    ]


def alembic_config(migrations: Path, url: str) -> Config:
    config = Config(attributes={"conninfo": url, "wait_s": 10})
    config.set_main_option("script_location", str(migrations))
    return config


def broken_promises(migrations: Path, url: str) -> list[str]:
    """Migrate an empty database revision by revision, and compare each schema with those from `compatible_from` on."""
    config = alembic_config(migrations, url)
    schemas, unused, found = dict[str, Schema](), dict[str, set[str]](), list[str]()
    with psycopg.connect(url, autocommit=True) as connection:
        for script in reversed(list(ScriptDirectory(str(migrations)).iterate_revisions("head", _BEFORE_PROMISES))):
            command.upgrade(config, script.revision)
            schemas[script.revision] = after = schema_of(connection)
            unused[script.revision] = set(getattr(script.module, "unused", ())).union(*unused.values())
            ((compatible_from,),) = connection.execute("SELECT compatible_from FROM alembic_version").fetchall()
            for earlier, before in schemas.items():
                failing = breaks(before, after, unused[earlier]) if earlier >= compatible_from else []
                found += [
                    f"{script.revision}, compatible from {compatible_from}, breaks {earlier}: {line}"
                    for line in failing
                ]
    return found


def _table(name: str) -> str:
    return name.partition(".")[0]
