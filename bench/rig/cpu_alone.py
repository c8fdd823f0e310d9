"""The CPU time of single requests for variants of the service, without a server: see rig.in_process.

It can be compared on a machine that does other things as well, where requests/s can't.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from rig import DATA, ROOT
from rig.api import create_token, sign_in
from rig.contenders import OURS, OWN_VENV, serving
from rig.ground import COMMON_WORDS, Ground
from rig.report import table
from rig.variants import Variant

_EACH = 1005
"""Requests of each kind: batches of five, of which the first warms up."""
_TOGETHER = 1600
"""The same for those that sixteen threads send: batches of 160."""
_SEARCHES = 80
"""How often a common search comes in a row."""
_FEW, _FIRST = 5, 1000
_ALONE = ("one user, kept", "one user, read", "page, kept", "search, each once", "POST", "PATCH")
_AT_ONCE = ("16 POST", "16 users read", "16 searches")
_KINDS = (*_ALONE, *_AT_ONCE)


def measured(variants: Sequence[Variant], settings: dict[str, str], common: Ground) -> str:
    """A table of CPU µs: a line for each variant."""
    with serving(OURS, settings, common.admin_id) as ours:
        token = create_token(ours.port, sign_in(ours.port), "bench")["Authorization"].split()[1]
    lines = []
    with _fast_commits(common.url):
        for number, variant in enumerate(variants):
            sys.stderr.write(f"{variant.title}\n")
            found = _run(variant, settings, {"token": token, **_requests(common, number)})
            lines.append((variant.title, *(round(found[kind]) for kind in _KINDS)))
    return table(("CPU µs of a request, in a process without a server", *_KINDS), lines)


@contextmanager
def _fast_commits(url: str) -> Iterator[None]:
    """Let commits wait for no disk: a process that waited finds the caches of the processor full of others' data."""
    name = sql.Identifier(urlsplit(url).path[1:])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET synchronous_commit").format(name))


def _run(variant: Variant, settings: dict[str, str], questions: object) -> dict[str, float]:
    path = DATA / "questions.json"
    path.write_text(json.dumps(questions), encoding="utf-8")
    command = [str(OWN_VENV / "bin" / "python"), str(ROOT / "bench/rig/in_process.py"), variant.key, str(path)]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    # Whoever is measured alone has no other process whose state it could share.
    ran = subprocess.run(
        command, env={**env, **settings, "PORT": "1"}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        sys.exit(f"Error: {variant.title}: {ran.stderr}")
    return json.loads(ran.stdout)


def _requests(common: Ground, number: int) -> dict[str, dict[str, list[tuple[str, str, str]]]]:
    """Of each variant others, where an answer may not be one that was kept."""
    first = _FIRST + number * (2 * _EACH + _TOGETHER)
    users = [f"/api/users/{user_id}" for user_id in common.ids]
    read, changed, read_at_once = (users[at : at + _TOGETHER] for at in (first, first + _EACH, first + 2 * _EACH))
    names = common.usernames[number * _EACH : (number + 1) * _EACH]
    words = [COMMON_WORDS[n // _SEARCHES % len(COMMON_WORDS)] + " " + "abcdefghi"[number % 9] for n in range(_TOGETHER)]
    stem = f"alone-{int(time.time()):x}-{number}"
    alone = (
        [("GET", user, "") for user in users[:_FEW]] * (_EACH // _FEW),
        [("GET", user, "") for user in read[:_EACH]],
        [("GET", "/api/users", "")] * _EACH,
        [("GET", f"/api/users?q={quote(name)}", "") for name in names],
        _posts(f"{stem}-", _EACH),
        [("PATCH", user, json.dumps({"name": f"Some One {stem}"})) for user in changed[:_EACH]],
    )
    at_once = (
        _posts(f"{stem}-at-once-", _TOGETHER),
        [("GET", user, "") for user in read_at_once],
        [("GET", f"/api/users?q={quote(word)}", "") for word in words],
    )
    return {
        "alone": dict(zip(_ALONE, alone, strict=True)),
        "together": dict(zip(_AT_ONCE, at_once, strict=True)),
    }


def _posts(stem: str, count: int) -> list[tuple[str, str, str]]:
    names = [f"{stem}{n}" for n in range(count)]
    return [
        ("POST", "/api/users", json.dumps({"username": name, "email": f"{name}@example.com", "name": "Some One"}))
        for name in names
    ]
