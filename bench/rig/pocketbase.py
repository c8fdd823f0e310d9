"""PocketBase as a contender: its data folder is filled once with the users of a database, and kept.

Its users are records of its collection for accounts, with our public fields. Requests use a superuser's token. It
writes no request log. Nothing is written to it, because it hashes a password for each new account.
"""

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from embedded.ports import HOST, free_port
from embedded.processes import complete
from embedded.service import Service
from rig import DATA
from rig.api import ADMIN, send
from rig.generated_users import NOW

RECORDS = "/api/collections/users/records"
_FOLDER = DATA / "pocketbase"
SERVE = ("serve", "--dir", str(_FOLDER), "--hooksWatch=false", "--automigrate=false", "--http", f"{HOST}:{{port}}")
_STAMP = _FOLDER / "filled"
_RECIPE = 1
"""Increase this number when the contents of the folder change."""
_COLLECTION = "/api/collections/users"
_START_S = 30
_BATCH = 10_000
_FIELDS = (
    {"name": "username", "type": "text"},
    {"name": "role", "type": "text"},
    {"name": "active", "type": "bool"},
    {"name": "attributes", "type": "json"},
    {"name": "version", "type": "number"},
)
_INDEXES = (
    "CREATE INDEX users_created ON users (created, id)",
    "CREATE UNIQUE INDEX users_username ON users (username)",
)
_COLUMNS = ("id", "username", "email", "name", "role", "active", "attributes", "version", "created", "updated")
# PocketBase writes times in milliseconds.
_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS\"Z\"')"
_SELECT = (
    "SELECT id::text, username, coalesce(email, ''), name, role, active::int, attributes::text, version,"
    f" {_TIME.format('created_at')}, {_TIME.format('updated_at')} FROM plain_users"
    " WHERE created_at <= %s ORDER BY created_at"
)


def prepare(program: str, url: str, count: int) -> None:
    """Fill the data folder with the users of the table plain_users, unless it contains them. Raises: SystemExit"""
    recipe = f"{count} users, recipe {_RECIPE}"
    if _STAMP.exists() and _STAMP.read_text() == recipe:
        return
    sys.stderr.write("Filling PocketBase (once)\n")
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    code, printed = complete([program, "superuser", "upsert", *ADMIN.values(), "--dir", str(_FOLDER)])
    if code != 0:
        sys.exit(f"Error: PocketBase has no superuser: {printed}")
    _configure(program)
    _fill(url)
    _STAMP.write_text(recipe)


def superuser(port: int) -> dict[str, str]:
    """The headers of the superuser. Raises: RuntimeError"""
    account = {"identity": ADMIN["email"], "password": ADMIN["password"]}
    answer = send(port, "POST", "/api/collections/_superusers/auth-with-password", account)
    return {"Authorization": answer.json()["token"]}


def _configure(program: str) -> None:
    """Add our fields and indexes to the collection by its API."""
    port = free_port()
    service = Service([program, *(part.format(port=port) for part in SERVE)], port, {}, _FOLDER)
    try:
        _await(port)
        headers = superuser(port)
        found: dict[str, Any] = send(port, "GET", _COLLECTION, headers=headers).json()
        fields = [_relaxed(field) for field in found["fields"]]
        indexes = [*found["indexes"], *_INDEXES]
        send(port, "PATCH", _COLLECTION, {"fields": [*fields, *_FIELDS], "indexes": indexes}, headers).json()
        send(port, "PATCH", "/api/settings", {"logs": {"maxDays": 0}}, headers).json()
    finally:
        service.stop()


def _relaxed(field: dict[str, Any]) -> dict[str, Any]:
    """The fields with looser rules: ids are UUIDs, and a user may have no email."""
    if field["name"] == "id":
        return {**field, "min": 15, "max": 36, "pattern": "^[a-z0-9-]+$"}
    return {**field, "required": False} if field["name"] == "email" else field


def _await(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            send(port, "GET", "/api/health")
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("Error: PocketBase did not start; its output is above.")
            time.sleep(0.05)
        else:
            return


def _fill(url: str) -> None:
    columns = ", ".join(_COLUMNS)
    places = ", ".join("?" for _ in _COLUMNS)
    # Each account needs a key for its tokens, which the benchmark does not use.
    insert = f"INSERT INTO users ({columns}, tokenKey, verified) VALUES ({places}, lower(hex(randomblob(25))), 1)"
    with sqlite3.connect(Path(_FOLDER) / "data.db") as database:
        for rows in _rows(url):
            database.executemany(insert, rows)
        database.execute("ANALYZE")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _rows(url: str) -> Iterator[list[tuple[Any, ...]]]:
    with psycopg.connect(url) as connection, connection.cursor("users") as cursor:
        cursor.execute(_SELECT, [NOW])
        while rows := cursor.fetchmany(_BATCH):
            yield rows
