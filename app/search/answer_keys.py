"""Keys of cached answers about lists of users in Redis."""

import hashlib
from urllib.parse import urlencode

from app.schemas import ListQuery
from app.search import bounds

SIGN_UPS_KEY = "sign-ups-per-day"
"""The number of users created on each of the last days, and whether these numbers are exact."""


def is_cacheable(query: ListQuery) -> bool:
    """Whether the query string is short enough for its answer to be cached."""
    parameters = query.model_dump(exclude_defaults=True) | query.attributes
    return len(urlencode(parameters)) <= bounds.MAX_CACHEABLE_QUERY_CHARACTERS


def page_key(query: ListQuery) -> str:
    """The key of one page of a list."""
    return f"page:{_digest(query.model_dump_json())}:{_digest(repr(sorted(query.attributes.items())))}"


def count_key(query: ListQuery) -> str:
    """The key of the number of users in a list. It depends on the filters only."""
    filters = query.model_dump_json(exclude={"limit", "cursor", "sort"})
    return f"count:{_digest(filters)}:{_digest(repr(sorted(query.attributes.items())))}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
