"""One transaction that changes users: what breaks in it in the words of the domain, what is told after its commit."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row

from app.errors import Busy, Taken, Unavailable
from app.extensions import ConstraintBroken, answers, asked, resources, writing
from app.infra.shared_table import Reading
from app.services import administrators, tokens
from app.services.history import Caller
from app.services.keys import MEMBERS_KEY, keys_of_users
from app.services.statements import TOLD

_TAKEN = {
    "users_username_key": "username",
    "users_email_key": "email",
    "users_username_identifier": "username",
    "users_email_identifier": "email",
}


@dataclass(slots=True)
class Work:
    """A transaction, and the cached answers that it makes old."""

    connection: Connection
    old_keys: list[str] = field(default_factory=list)

    def outdate(self, user_ids: Iterable[uuid.UUID]) -> None:
        """After the commit nobody is to be answered with these users as they were."""
        self.old_keys += keys_of_users(*user_ids)

    def revoke_tokens(self, caller: Caller, rows: Sequence[Row[Any]]) -> None:
        """End all tokens of the users in `rows`."""
        self.old_keys += tokens.revoke_all(self.connection, rows, caller)


@contextmanager
def changing(*user_ids: uuid.UUID) -> Iterator[Work]:
    """A transaction on these users and those that it names by `outdate`: the caches are told at the end.

    Raises: Taken, when a unique constraint broke; Unavailable
    """
    old_keys = [MEMBERS_KEY]
    with telling(old_keys), writing(key=user_ids[0] if user_ids else None) as connection:
        work = Work(connection, old_keys)
        work.outdate(user_ids)
        yield work


@contextmanager
def telling(old_keys: list[str], reading: Reading | None = None) -> Iterator[None]:
    """Write inside the block; the caches are told of `old_keys` at its end. For one statement that is all there is.

    `reading`: of what is left under them, see Answers.forget.
    Raises: Taken, when a unique constraint broke; Unavailable
    """
    try:
        yield
    except ConstraintBroken as error:
        if error.name not in _TAKEN:
            raise
        raise Taken(_TAKEN[error.name]) from None
    except Busy:
        # Nothing was written.
        raise
    except Unavailable:
        # The connection may have been lost after the commit.
        _tell([MEMBERS_KEY, *old_keys])
        raise
    _tell(old_keys, reading)
    with suppress(Unavailable):
        # The first administrator closes the service before the answer is given.
        administrators.door().look()


def _tell(old_keys: list[str], reading: Reading | None = None) -> None:
    if not answers().forget(old_keys, reading):
        with suppress(Unavailable):
            asked(TOLD, resources().state.host)
