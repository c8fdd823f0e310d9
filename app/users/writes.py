"""Users by the hot statements: made and changed, with their history, in one round trip for all who write at once.

Who waits for a lock, or breaks a rule, is not to hold up or undo the others: then each of them writes alone.
"""

import functools
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import orjson
from psycopg.pq.abc import PGresult

from app.auth import admins, audit_log, tokens
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.cache.keys import user_key
from app.cache.single_flight import Batcher
from app.db.connection import LOCK_WAIT_MS, Statement, bytea_text, json_text
from app.db.database import execute_prepared_in
from app.errors import Busy, Unavailable
from app.extensions import Resources, asked, resources, writing
from app.schemas import UserDraft
from app.search.text import lexemes
from app.users import history
from app.users.columns import named, values_of
from app.users.idempotency import Attempt
from app.users.reads import Seen
from app.users.serialization import Document
from app.users.sql import MADE_ONCE, WRITTEN
from app.users.unit_of_work import invalidating

_PATIENCE = "25ms"
"""How long several wait for a lock together: a commit takes a few milliseconds."""
_ALONE = f"{LOCK_WAIT_MS}ms"
"""How long a writer waits alone."""
_Ask = Callable[..., PGresult]


class Draft:
    """What is to be written of one user: the columns of a hot statement, as JSON. Raises: Malformed"""

    def __init__(
        self, user_id: uuid.UUID, fields: dict[str, Any], values: dict[str, Any], caller: AuditContext
    ) -> None:
        self.user_id = user_id
        told = {**audit_log.origin(caller), **tokens.claim(caller.actor)}
        keys = named(values)
        self.row = json_text({"id": user_id, **fields, **keys, "lexemes": lexemes(values), **told})
        self.is_change = "was" in fields
        # Of several new users with one identifier, one may wait for a transaction that has taken it.
        self.waits_for: Hashable = user_id if self.is_change else keys["email_key"] or keys["username_key"]
        self.is_alone = False


def make(user_id: uuid.UUID, values: dict[str, Any], caller: AuditContext, attempt: Attempt | None) -> Document | None:
    """A new user, with its history and the answer to `attempt`, in one statement.

    None: the key was used before, or the token of the caller is not what it was.

    Raises: Taken, Conflict (only the first administrator may be made, and there is one), Unavailable
    """
    draft = Draft(user_id, {"changes": history.differences({}, values), **values}, values, caller)
    is_administrator = admins.is_one(values)
    if attempt is None and not is_administrator:
        return resources().part(_Writer).write(draft)
    key = attempt.stored_key if attempt is not None else user_id
    ask = functools.partial(_admitted, caller.actor, values) if is_administrator else functools.partial(_in_turn, key)
    if attempt is None:
        return _written(WRITTEN, [draft], _ALONE, ask=ask).get(user_id)
    kept = (attempt.stored_key, bytea_text(attempt.fingerprint), f"{attempt.ttl.total_seconds()} seconds")
    return _written(MADE_ONCE, [draft], _ALONE, *kept, ask=ask).get(user_id)


def drafted(before: Seen, after: UserDraft, caller: AuditContext) -> Draft | None:
    """What makes `after` of `before`; None: nothing. Raises: Invalid, Forbidden"""
    values = values_of(after)
    changes = history.differences({**before._asdict(), "attributes": orjson.loads(before.attributes)}, values)
    fields = [change["field"] for change in changes]
    caller.actor.require_change(before.id, before.role, fields, resources().settings.self_editable_keys)
    if not changes:
        return None
    kept = {"was": before.body.decode(), "attributes": values["attributes"], "changes": changes}
    return Draft(before.id, kept, values, caller)


def change(draft: Draft) -> Document | None:
    """What a user became by `draft`; None: it is not as it was seen, or the token of the caller is not what it was.

    Raises: Taken, Unavailable
    """
    return resources().part(_Writer).write(draft)


class _Writer:
    """Writes what several threads want written at once."""

    def __init__(self, _: Resources) -> None:
        self._together = Batcher(self._write_together)

    def write(self, draft: Draft) -> Document | None:
        """What was made of it; None: nothing. Raises: Taken, Unavailable"""
        made = self._together.get(draft)
        if not draft.is_alone:
            return made
        alone = functools.partial(_in_turn, draft.waits_for)
        return _written(WRITTEN, [draft], _ALONE, ask=alone).get(draft.user_id)

    def _write_together(self, drafts: Sequence[Draft]) -> Mapping[Draft, Document]:
        # Of two changes of one user the second has not seen the first. All lock users in the same order.
        first: dict[uuid.UUID, Draft] = {}
        for draft in sorted(drafts, key=lambda draft: draft.user_id):
            first.setdefault(draft.user_id, draft)
        try:
            made = _written(WRITTEN, list(first.values()), _PATIENCE)
        except Exception as error:
            is_locked_out = isinstance(error, Busy)
            # Of what else is Unavailable nobody knows whether it was written.
            if not is_locked_out and (isinstance(error, Unavailable) or len(drafts) == 1):
                raise
            # It was undone. Whose fault it was, each finds out alone.
            for draft in drafts:
                draft.is_alone = True
            return {}
        return {first[user_id]: document for user_id, document in made.items()}


def _in_turn(key: Hashable, statement: Statement, *given: object) -> PGresult:
    """What a statement gives that may wait for others who change `key`. Raises: Busy, and as `asked`"""
    with resources().database.write_slot(key):
        return asked(statement, *given)


def _admitted(actor: Actor, values: Mapping[str, Any], statement: Statement, *given: object) -> PGresult:
    """What a statement gives that makes an administrator of `values`. Raises: Conflict, and as `asked`"""
    with writing() as connection:
        admins.admit(connection, actor, [{}], values)
        return execute_prepared_in(connection, statement, *given)


def _written(
    statement: Statement, drafts: Sequence[Draft], patience: str, *more: object, ask: _Ask | None = None
) -> dict[uuid.UUID, Document]:
    """Write all by one statement, whose locks are waited for as long as `patience`. What was made of each, by its id.

    `ask`: what sends it, if not `asked`. Raises: Taken, Unavailable, and what `ask` raises
    """
    rows = b"[" + b",".join(draft.row for draft in drafts) + b"]"
    with invalidating(user_key(draft.user_id) for draft in drafts):
        return _read((ask or asked)(statement, rows, patience, *more))


def _read(found: PGresult) -> dict[uuid.UUID, Document]:
    """What a hot statement wrote, by id."""
    written = {}
    for row in range(found.ntuples):
        user_id, version, body = (cast("bytes", found.get_value(row, column)) for column in range(3))
        written[uuid.UUID(user_id.decode())] = Document(int(version), body)
    return written
