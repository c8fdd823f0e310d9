"""Users by the hot statements: found, and seen before a change, for all who ask at once."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import select

from app.cache.single_flight import Batcher
from app.db.database import Database
from app.errors import N_, NotFound
from app.models import users
from app.types import Role
from app.users import history
from app.users.serialization import PUBLIC, Document, document
from app.users.sql import GET_USERS


class UserSnapshot(NamedTuple):
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


class UserReads:
    """Reads single users. Concurrent reads share one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher = Batcher(self._query)

    def get(self, user_id: uuid.UUID) -> Document:
        """An active user. Raises: NotFound, Unavailable"""
        found = self._batcher.get(str(user_id))
        if found is None:
            raise NotFound(N_("There is no such user."))
        return found

    def get_snapshot(self, user_id: uuid.UUID) -> UserSnapshot:
        """An active user as a change finds it, without a lock. Raises: NotFound, Unavailable"""
        return _snapshot(user_id, self.get(user_id))

    def get_deleted(self, user_id: uuid.UUID) -> Document:
        """A user in the trash. Raises: NotFound, Unavailable"""
        with self._database.connection() as connection:
            found = select(*PUBLIC).where(users.c.id == user_id, users.c.deleted_at.is_not(None))
            row = connection.execute(found).one_or_none()
        if row is None:
            raise NotFound(N_("There is no such user."))
        return document(row)

    def _query(self, wanted: Sequence[str]) -> dict[str, Document]:
        found, documents = self._database.execute_prepared(GET_USERS, list(dict.fromkeys(wanted))), {}
        for row in range(found.ntuples):
            user_id, version, body = (found.get_value(row, column) or b"" for column in range(3))
            documents[user_id.decode()] = Document(int(version), body)
        return documents


def _snapshot(user_id: uuid.UUID, document: Document) -> UserSnapshot:
    fields = orjson.loads(document.body)
    username, email, name, role, active = (fields[field] for field in history.FIELDS)
    attributes = orjson.dumps(fields["attributes"])
    return UserSnapshot(user_id, document.version, username, email, name, role, active, attributes, document.body)
