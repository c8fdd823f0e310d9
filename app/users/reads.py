"""Users by the hot statements: found, and seen before a change, for all who ask at once."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from app.cache.single_flight import Batcher
from app.errors import N_, NotFound
from app.extensions import Resources, asked, resources
from app.types import Role
from app.users import history
from app.users.serialization import Document
from app.users.sql import USERS


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
    document = resources().part(_Reader).get(str(user_id))
    if document is None:
        raise NotFound(N_("There is no such user."))
    return _seen(user_id, document)


class _Reader:
    """Looks users up for all who ask at once."""

    def __init__(self, _: Resources) -> None:
        self._batcher = Batcher(_read)

    def get(self, user_id: str) -> Document | None:
        """An active user by its id in canonical form; None: there is no such."""
        return self._batcher.get(user_id)


def _read(wanted: Sequence[str]) -> dict[str, Document]:
    found, documents = asked(USERS, list(dict.fromkeys(wanted))), {}
    for row in range(found.ntuples):
        user_id, version, body = (found.get_value(row, column) or b"" for column in range(3))
        documents[user_id.decode()] = Document(int(version), body)
    return documents


def _seen(user_id: uuid.UUID, document: Document) -> Seen:
    fields = orjson.loads(document.body)
    username, email, name, role, active = (fields[field] for field in history.FIELDS)
    attributes = orjson.dumps(fields["attributes"])
    return Seen(user_id, document.version, username, email, name, role, active, attributes, document.body)
