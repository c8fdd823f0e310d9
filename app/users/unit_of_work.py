"""One transaction that changes users: its errors in the words of the domain, and what it invalidates."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from app.auth import admins
from app.cache.keys import USERS_KEY, user_key
from app.db.database import ConstraintViolation
from app.errors import Busy, Taken, Unavailable
from app.extensions import generations, writing

_TAKEN = {
    "users_username_key": "username",
    "users_email_key": "email",
    "users_username_identifier": "username",
    "users_email_identifier": "email",
}


@dataclass(slots=True)
class Work:
    """A transaction, and the keys that it invalidates."""

    connection: Connection
    keys: list[str] = field(default_factory=list)

    def add_invalidation(self, user_ids: Iterable[uuid.UUID]) -> None:
        """Invalidate what is cached of these users after the commit."""
        self.keys += map(user_key, user_ids)


@contextmanager
def changing(*user_ids: uuid.UUID) -> Iterator[Work]:
    """A transaction on these users and those that `add_invalidation` names, whom it invalidates at its end.

    Raises: Taken, when a unique constraint broke; Unavailable
    """
    keys = [user_key(user_id) for user_id in user_ids]
    with invalidating(keys), writing(key=user_ids[0] if user_ids else None) as connection:
        yield Work(connection, keys)


@contextmanager
def invalidating(keys: Iterable[str]) -> Iterator[None]:
    """Write inside the block; at its end `keys`, and all lists, are invalidated.

    Raises: Taken, when a unique constraint broke; Unavailable
    """
    try:
        yield
    except ConstraintViolation as error:
        if error.name not in _TAKEN:
            raise
        raise Taken(_TAKEN[error.name]) from None
    except Busy:
        # Nothing was written.
        raise
    except Unavailable:
        # The connection may have been lost after the commit.
        generations().invalidate([USERS_KEY, *keys])
        raise
    generations().invalidate([USERS_KEY, *keys])
    with suppress(Unavailable):
        # The first administrator secures the service before the answer is given.
        admins.door().look()
