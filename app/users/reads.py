"""Reads single users. One prepared statement reads all users that concurrent requests ask for."""

import uuid
from collections.abc import Sequence

from sqlalchemy import select

from app.cache.single_flight import Batcher
from app.db.database import Database
from app.errors import N_, NotFound
from app.models import users
from app.users.serialization import PUBLIC_COLUMNS, Document, serialize
from app.users.sql import GET_USERS


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
        statement = select(*PUBLIC_COLUMNS).where(users.c.id == user_id, users.c.deleted_at.is_not(None))
        with self._database.connection() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(N_("There is no such user."))
        return serialize(row)

    def _query(self, user_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Document]:
        found = self._database.execute(GET_USERS, {"ids": ",".join(map(str, user_ids))})
        return {user_id: Document(version, body.encode()) for user_id, version, body in found.fetchall()}
