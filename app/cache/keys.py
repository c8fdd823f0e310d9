"""The keys by which cached values are invalidated."""

import uuid

USERS_KEY = "users"
"""Every list of users: any change of a user invalidates it."""


def user_key(user_id: uuid.UUID | str) -> str:
    """One user, with their tokens and what they may do; an id as text is in its canonical form."""
    return f"user:{user_id}"
