"""One transaction that changes users: its errors in the words of the domain, and what it invalidates."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from app.auth.admins import Admins
from app.cache.generations import Generations
from app.cache.keys import USERS_KEY, user_key
from app.db.database import ConstraintViolation, Database
from app.errors import AlreadyTaken, Busy, Unavailable

_TAKEN = {
    "users_username_key": "username",
    "users_email_key": "email",
    "users_username_identifier": "username",
    "users_email_identifier": "email",
}


@dataclass(slots=True)
class UnitOfWork:
    """A transaction, and the keys that it invalidates."""

    connection: Connection
    keys: list[str] = field(default_factory=list)

    def add_invalidation(self, user_ids: Iterable[uuid.UUID]) -> None:
        """Invalidate what is cached of these users after the commit."""
        self.keys += map(user_key, user_ids)


class UserTransactions:
    """Transactions that change users, and the invalidation of caches after them."""

    def __init__(self, database: Database, generations: Generations, admins: Admins) -> None:
        self._database, self._generations, self._admins = database, generations, admins

    @contextmanager
    def unit_of_work(self, *user_ids: uuid.UUID) -> Iterator[UnitOfWork]:
        """A transaction on these users and those that `add_invalidation` names, whom it invalidates at its end.

        Raises: AlreadyTaken, when a unique constraint broke; Unavailable
        """
        keys = [user_key(user_id) for user_id in user_ids]
        with self.invalidating(keys), self._database.transaction(key=user_ids[0] if user_ids else None) as connection:
            yield UnitOfWork(connection, keys)

    @contextmanager
    def invalidating(self, keys: Iterable[str]) -> Iterator[None]:
        """Write inside the block; at its end `keys`, and all lists, are invalidated.

        Raises: AlreadyTaken, when a unique constraint broke; Unavailable
        """
        try:
            yield
        except ConstraintViolation as error:
            if error.name not in _TAKEN:
                raise
            raise AlreadyTaken(_TAKEN[error.name]) from None
        except Busy:
            # Nothing was written.
            raise
        except Unavailable:
            # The connection may have been lost after the commit.
            self._generations.invalidate([USERS_KEY, *keys])
            raise
        self._generations.invalidate([USERS_KEY, *keys])
        with suppress(Unavailable):
            # The first administrator secures the service before the answer is given.
            self._admins.check()

    def invalidate_user(self, user_id: uuid.UUID) -> None:
        """Invalidate what is cached of a user, and all lists."""
        self._generations.invalidate([USERS_KEY, user_key(user_id)])
