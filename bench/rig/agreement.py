"""Compares the responses of all contenders before a measurement, so that no contender is fast because it is wrong."""

import random
import sys
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from rig.contenders import Running, ask
from rig.ground import COMMON_WORDS, Ground
from rig.workloads import WORKLOADS, request

_USERS = 20
_RARE_WORDS = 3
_MOMENTS = ("created_at", "updated_at")
_User = dict[str, Any]


def require_agreement(contenders: Sequence[Running], ground: Ground) -> int:
    """Compare single users, a page and searches with ours, then write a user and read it.

    Returns the number of compared responses. Raises: SystemExit
    """
    ours = next(contender for contender in contenders if contender.kind.is_ours)
    chance = random.Random(1)
    questions = [
        *(("one", user_id) for user_id in chance.sample(ground.ids, _USERS)),
        ("page", ""),
        *(("search", word) for word in (*COMMON_WORDS, *chance.sample(ground.rare_words, _RARE_WORDS))),
    ]
    compared = 0
    for kind, line in questions:
        expected = _users(ours, kind, line)
        for contender in _asked(contenders, kind):
            _require_same(contender, kind, line, expected)
            compared += 1
    for contender in _asked(contenders, "create"):
        _require_writing(contender)
    return compared


def _asked(contenders: Sequence[Running], kind: str) -> list[Running]:
    """The contenders for which `kind` is measured."""
    asked = {contender for workload in WORKLOADS if kind in workload.kinds for contender in workload.contenders}
    return [contender for contender in contenders if contender.kind in asked]


def _require_same(contender: Running, kind: str, line: str, expected: list[_User]) -> None:
    found = _users(contender, kind, line)
    if [user["id"] for user in found] != [user["id"] for user in expected]:
        sys.exit(f"Error: {contender.title} finds other users than ours ({kind} {line}).")
    for theirs, ours in zip(found, expected, strict=True):
        if different := [name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name]]:
            sys.exit(f"Error: {contender.title} has another {', '.join(different)} of {ours['id']} than we do.")


def _require_writing(contender: Running) -> None:
    """Create a user, change it, and require that a read returns the change."""
    new = f"agreement-{contender.kind.name.replace(' ', '-').lower()}"
    made = _written(contender, "create", "", new, HTTPStatus.CREATED)
    wanted = {"username": new, "email": f"{new}@example.com", "name": "Some One"}
    _require_fields(contender, made["id"], wanted)
    _written(contender, "change", made["id"], new, HTTPStatus.OK)
    _require_fields(contender, made["id"], {**wanted, "name": f"Some One {new}"})


def _require_fields(contender: Running, user_id: str, wanted: _User) -> None:
    found = _users(contender, "one", user_id)[0]
    if any(found[name] != value for name, value in wanted.items()):
        sys.exit(f"Error: {contender.title} returns another user than was written.")


def _written(contender: Running, kind: str, line: str, new: str, wanted: HTTPStatus) -> _User:
    method, path, body = (part.replace("@line", line).replace("@new", new) for part in request(contender.kind, kind))
    status, answer = ask(contender, method, path, body)
    if status != wanted:
        sys.exit(f"Error: {contender.title} gave {status} to {method} {path}: {answer.decode()}")
    return orjson.loads(answer)


def _users(contender: Running, kind: str, line: str) -> list[_User]:
    method, path, _ = (part.replace("@line", line) for part in request(contender.kind, kind))
    status, answer = ask(contender, method, path)
    if status != HTTPStatus.OK:
        sys.exit(f"Error: {contender.title} gave {status} to {method} {path}: {answer.decode()}")
    found = orjson.loads(answer)
    if isinstance(found, dict):
        # Pages of the template and of PocketBase contain more than users.
        found = found.get("data") or found.get("items") or [found]
    return [_comparable(user) for user in found]


def _comparable(user: _User) -> _User:
    """A user with the same names and formats for all. PocketBase has milliseconds, other names, and "" for no email."""
    moments = {name: datetime.fromisoformat(user[name]) for name in _MOMENTS if name in user}
    return {**user, **moments, "email": user["email"] or None}
