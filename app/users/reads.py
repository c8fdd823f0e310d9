"""Reads single users. One prepared statement reads all users that concurrent requests ask for."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.cache.single_flight import Batcher
from app.db.database import Database
from app.errors import N_, NotFound
from app.users.sql import GET_DELETED_USER, GET_USERS


@dataclass(frozen=True, slots=True)
class Document:
    """One user as JSON, and its version."""

    version: int
    body: bytes


class UserReads:
    """Reads single users. Concurrent reads share one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher = Batcher(self._query)

    def get(self, user_id: uuid.UUID) -> Document:
        """An active user. Raises: NotFound, Unavailable"""
        document = self._batcher.get(user_id)
        if document is None:
            raise NotFound(N_("There is no such user."))
        return document

    def get_deleted(self, user_id: uuid.UUID) -> Document:
        """A user in the trash. Raises: NotFound, Unavailable"""
        row = self._database.execute(GET_DELETED_USER, {"id": user_id}).fetchone()
        if row is None:
            raise NotFound(N_("There is no such user."))
        return Document(row[0], row[1].encode())

    def _query(self, user_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Document]:
        found = self._database.execute(GET_USERS, {"ids": ",".join(map(str, user_ids))})
        return {user_id: Document(version, body.encode()) for user_id, version, body in found.fetchall()}
