"""A transaction that changes users: maps its constraint errors, and invalidates caches after it."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from app.auth.admins import Admins
from app.cache.generations import Generations
from app.cache.keys import USERS_KEY, user_key
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
    """A transaction, and the cache keys that are invalidated after it."""

    connection: Connection
    keys: list[str] = field(default_factory=list)

    def add_invalidation(self, user_ids: Iterable[uuid.UUID]) -> None:
        """Also invalidate these users after the transaction."""
        self.keys += map(user_key, user_ids)


class UserTransactions:
    """Transactions that change users, and the invalidation of caches after them."""

    def __init__(self, database: Database, generations: Generations, admins: Admins) -> None:
        self._database, self._generations, self._admins = database, generations, admins

    @contextmanager
    def unit_of_work(self, *user_ids: uuid.UUID) -> Iterator[UnitOfWork]:
        """A transaction that changes these users, and those of `add_invalidation`. It invalidates them, and
        all lists, at its end. Raises: AlreadyTaken (a unique constraint failed), Unavailable
        """
        keys = [user_key(user_id) for user_id in user_ids]
        with self.invalidating(keys), self._database.transaction(key=user_ids[0] if user_ids else None) as connection:
            yield UnitOfWork(connection, keys)

    @contextmanager
    def invalidating(self, keys: Iterable[str]) -> Iterator[None]:
        """Invalidate `keys` and all lists at the end of the block, which writes users.

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
            self._generations.invalidate([USERS_KEY, *keys])
            raise
        self._generations.invalidate([USERS_KEY, *keys])
        with suppress(Unavailable):
            # Notices the first administrator, which secures the service before its creation is confirmed.
            self._admins.is_secured()

    def invalidate_user(self, user_id: uuid.UUID) -> None:
        """Invalidate a user and all lists."""
        self._generations.invalidate([USERS_KEY, user_key(user_id)])
