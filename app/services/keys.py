"""The names under which answers are kept, in memory and in Redis: all of them are here."""

import hashlib
import uuid
from urllib.parse import urlencode

from app.schemas import ListQuery


def user_key(user_id: uuid.UUID | str) -> str:
    """One user, rendered; an id as text is in its canonical form."""
    return f"user:{user_id}"


LONGEST_KEPT_QUERY = 1024
"""Characters of a query string; answers to longer ones are not kept."""

MEMBERS_KEY = "members"
"""Who lives, but for those who are new: what makes a page old that users who were not changed are on."""

SIGN_UPS_KEY = "sign-ups-per-day"
"""Whether the numbers are exact, and how many users were made on each of the last days."""


def session_key(session_id: str) -> str:
    """One session."""
    return f"session:{session_id}"


def sessions_key(user_id: uuid.UUID) -> str:
    """That any session of a user ended."""
    return f"sessions-of:{user_id.hex}"


def standing_key(user_id: uuid.UUID) -> str:
    """What a user may do now: old with the user."""
    return f"standing:{user_id.hex}"


def keys_of_users(*user_ids: uuid.UUID) -> list[str]:
    """What makes old all that is kept of these users themselves."""
    return [user_key(user_id) for user_id in user_ids]


def token_key(digest: bytes) -> str:
    """Whom an API token stands for."""
    return f"token:{digest.hex()}"


def is_short(query: ListQuery) -> bool:
    """Whether the query string of a list is short enough for its answer to be kept, about."""
    return len(urlencode(query.model_dump(exclude_defaults=True) | query.attributes)) <= LONGEST_KEPT_QUERY


def page_key(query: ListQuery) -> str:
    """One page of a list."""
    return f"page:{_digest(query.model_dump_json())}:{_digest(repr(sorted(query.attributes.items())))}"


def count_key(query: ListQuery) -> str:
    """How many users a list has, whatever its pages and order."""
    filters = query.model_dump_json(exclude={"limit", "cursor", "sort"})
    return f"count:{_digest(filters)}:{_digest(repr(sorted(query.attributes.items())))}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
