"""Users by the hot statements: found, and seen before a change, for all who ask at once."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from app.errors import N_, NotFound
from app.extensions import Resources, answers, asked, resources
from app.infra.postgres import Statement
from app.infra.shared_table import Versioned
from app.infra.together import Together
from app.services import history
from app.services.documents import Document
from app.services.keys import user_key
from app.services.statements import USERS, USERS_AND_NEXT
from app.values import Role

_AHEAD = 250
"""How many are read beside those who are asked for."""
_FIRST_REST = 100
"""Look-ups before it begins: a service that hardly anybody asks stays small."""
_LONGEST_PAUSE = 1000
"""Look-ups without that, at the most, when nobody new was met or there was no room."""


def find(user_id: uuid.UUID) -> Document:
    """A living user; who asks at the same moment shares the statement. Raises: NotFound, Unavailable"""
    document = resources().part(_Reader).get(str(user_id))
    if document is None:
        raise NotFound(N_("There is no such user."))
    return document


class Seen(NamedTuple):
    """A living user as a change finds it; `attributes` as JSON, `body` as all of it."""

    id: uuid.UUID
    version: int
    username: str
    email: str | None
    name: str
    role: Role
    active: bool
    attributes: bytes
    body: bytes


def look(user_id: uuid.UUID) -> Seen:
    """A living user as it is now, unlocked; who looks at the same moment shares the statement.

    Raises: NotFound, Unavailable
    """
    document = resources().part(_Reader).look(str(user_id))
    if document is None:
        raise NotFound(N_("There is no such user."))
    return _seen(user_id, document)


def recall(user_id: uuid.UUID) -> Seen | None:
    """A living user as it was when it was read last, if that is remembered."""
    known = answers().table.recall(user_key(user_id))
    return _seen(user_id, Document(*known)) if known is not None else None


class _Reader:
    """Looks users up for all who ask at once, keeps them for all, and reads on while there is room for more.

    A memory that only learns who was asked for is long in learning: of a million users who are wanted now and then
    most are yet unknown after as many requests. Whom it reads beside them costs a tenth of a look-up of their own.
    """

    def __init__(self, held: Resources) -> None:
        self._table = held.answers.table
        self._together, self._afresh = Together(self._look_up), Together(self._read)
        self._ahead: list[str] = []
        self._after = ""
        self._pause, self._rest = 0, _FIRST_REST

    def get(self, user_id: str) -> Document | None:
        """A living user by its id in canonical form; None: there is no such."""
        return self._together.get(user_id)

    def look(self, user_id: str) -> Document | None:
        """The same, whatever is remembered."""
        return self._afresh.get(user_id)

    def _look_up(self, ids: Sequence[str]) -> dict[str, Document]:
        # Some were read for others while these waited.
        known = {user_id: Document(*found) for user_id in ids if (found := self._table.recall(user_key(user_id)))}
        asked_for = [user_id for user_id in ids if user_id not in known]
        return known | self._read(asked_for) if asked_for else known

    def _read(self, wanted: Sequence[str]) -> dict[str, Document]:
        ids = list(dict.fromkeys(wanted))
        if not self._table.usable:
            return _read(USERS, ids)[0]
        self._rest -= 1
        reads_on = self._rest < 0
        ids = [*ids, *self._ahead] if reads_on else ids
        reading = self._table.begin(map(user_key, ids))
        if reads_on:
            found, following = _read(USERS_AND_NEXT, ids, self._after or ids[0], _AHEAD)
            self._read_on(following)
        else:
            found, _ = _read(USERS, ids)
        self._table.keep(
            reading, [Versioned(user_key(user_id), one.version, one.body) for user_id, one in found.items()]
        )
        return found

    def _read_on(self, following: list[str]) -> None:
        """Read those of `following` next time who are not known. Nobody: begin elsewhere, a while later."""
        has_room = self._table.has_room
        self._ahead = [user_id for user_id in following if has_room and self._table.recall(user_key(user_id)) is None]
        self._after = following[-1] if self._ahead else ""
        self._pause = 0 if self._ahead else min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._rest = self._pause


def _read(statement: Statement, *values: object) -> tuple[dict[str, Document], list[str]]:
    """Users by their ids, then ids alone."""
    found, documents, ids = asked(statement, *values), {}, []
    for row in range(found.ntuples):
        user_id = (found.get_value(row, 0) or b"").decode()
        body = found.get_value(row, 2)
        if body is None:
            ids.append(user_id)
        else:
            documents[user_id] = Document(int(found.get_value(row, 1) or b""), body)
    return documents, ids


def _seen(user_id: uuid.UUID, document: Document) -> Seen:
    fields = orjson.loads(document.body)
    username, email, name, role, active = (fields[field] for field in history.FIELDS)
    attributes = orjson.dumps(fields["attributes"])
    return Seen(user_id, document.version, username, email, name, role, active, attributes, document.body)
