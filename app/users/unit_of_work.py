"""A transaction that changes users: maps its constraint errors, and invalidates caches after it."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from app.auth.admins import Admins
from app.cache.generations import USERS_KEY, Generations, user_key
from app.db.database import Database
from app.db.error_translation import ConstraintViolation
from app.errors import AlreadyTaken, Busy, Unavailable

_FIELD_BY_CONSTRAINT = {
    "users_username_key": "username",
    "users_email_key": "email",
    "users_username_identifier": "username",
    "users_email_identifier": "email",
}


@dataclass(slots=True)
class UnitOfWork:
    """A transaction, and the ids of the users that are invalidated after it."""

    connection: Connection
    user_ids: list[uuid.UUID]


class UserTransactions:
    """Transactions that change users, and the invalidation of caches after them."""

    def __init__(self, database: Database, generations: Generations, admins: Admins) -> None:
        self._database, self._generations, self._admins = database, generations, admins

    @contextmanager
    def unit_of_work(self, *user_ids: uuid.UUID) -> Iterator[UnitOfWork]:
        """A transaction that changes these users, and those that the block adds. It invalidates them, and
        all lists, at its end. Raises: AlreadyTaken (a unique constraint failed), Unavailable
        """
        changed = list(user_ids)
        with self.invalidating(changed), self._database.transaction(user_ids[0] if user_ids else None) as connection:
            yield UnitOfWork(connection, changed)

    @contextmanager
    def invalidating(self, user_ids: Iterable[uuid.UUID]) -> Iterator[None]:
        """Invalidate these users and all lists at the end of the block, which writes users.

        Raises: AlreadyTaken (a unique constraint failed), Unavailable
        """
        try:
            yield
        except ConstraintViolation as error:
            if error.name not in _FIELD_BY_CONSTRAINT:
                raise
            raise AlreadyTaken(_FIELD_BY_CONSTRAINT[error.name]) from None
        except Busy:
            # Nothing was written.
            raise
        except Unavailable:
            # The commit may have succeeded before the connection was lost.
            self.invalidate(user_ids)
            raise
        self.invalidate(user_ids)
        with suppress(Unavailable):
            # Notices the first administrator, which secures the service before its creation is confirmed.
            self._admins.is_secured()

    def invalidate(self, user_ids: Iterable[uuid.UUID]) -> None:
        """Invalidate these users and all lists."""
        self._generations.invalidate([USERS_KEY, *map(user_key, user_ids)])
