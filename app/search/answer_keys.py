"""The names under which answers are kept in Redis."""

import hashlib
from urllib.parse import urlencode

from app.schemas import ListQuery

LONGEST_KEPT_QUERY = 1024
"""Characters of a query string; answers to longer ones are not kept."""

SIGN_UPS_KEY = "sign-ups-per-day"
"""Whether the numbers are exact, and how many users were made on each of the last days."""


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
