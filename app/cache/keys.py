"""The keys by which cached values are invalidated."""

import uuid

USERS_KEY = "users"
"""The key of all lists of users. Each change of a user invalidates it."""


def user_key(user_id: uuid.UUID | str) -> str:
    """The key of a user, with its tokens and permissions. An id as text is in its canonical form."""
    return f"user:{user_id}"
