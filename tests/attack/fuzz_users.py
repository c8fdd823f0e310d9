"""Values for the fuzzer of the model: few of each kind, so that they meet."""

from typing import Any

import hypothesis.strategies as st

from tests.attack.model import KEPT, ROLES

NAMES = ["Ada Lovelace", "ada", "Ådå", "Zoë Bob", "bob-ada", "田中", "B 2", "Straße"]
USERNAMES = ["ada", "ADA", "bob", "zoé", "Zoé", "x1", "x2", "strasse", "STRAßE", "bob@b.org"]
EMAILS = ["ada@a.org", "ADA@A.ORG", "bob@b.org", "zoë@b.org"]
WORDS = ["a", "ADA", "love", "bob ada", "zoe", "中", "田 中", "2", "org", "strasse", "nobody", "-"]
PASSWORDS = ["correct horse battery", "a second long sentence"]
NEW_IDS = [f"019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5{digit}" for digit in "abc"]
VALUES = st.sampled_from([None, True, False, 0, 1, 1.5, "1", "x", "", [1], {"deep": {"er": None}}])
ATTRIBUTES = st.dictionaries(st.sampled_from(["team", "n", "ü"]), VALUES, max_size=3)
_OWN: dict[str, st.SearchStrategy[Any]] = {
    "username": st.sampled_from(USERNAMES),
    "email": st.sampled_from(EMAILS),
    "name": st.sampled_from(NAMES),
    "role": st.sampled_from(ROLES),
    "active": st.sampled_from([True, True, False]),
    "attributes": ATTRIBUTES,
}


def _rarely(name: str, value: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.integers(0, 19).map(lambda number: {} if number else {name: value})


def _with_noise(fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Now and then an unknown field."""
    return st.builds(lambda own, noise: {**own, **noise}, fields, _rarely("nickname", "x"))


OWN = _with_noise(st.fixed_dictionaries({}, optional={**_OWN, "email": st.none() | _OWN["email"]}))
"""Fields of a draft."""
PATCH = _with_noise(st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in _OWN.items()}))
"""Fields of a merge patch."""
PASSWORD = st.sampled_from([KEPT] * 6 + PASSWORDS)
"""A new password, or none in the body."""
CURRENT = st.sampled_from([None, None, *PASSWORDS])
Pick = tuple[str, int]
"""A kind, and the number of one of that kind."""
_NUMBERS = st.integers(0, 40)
WHO = st.tuples(st.sampled_from(["admin", "admin", "editor", "valid", "valid", "any"]), _NUMBERS)
"""A credential."""
WHOM = st.tuples(st.sampled_from(["live", "live", "live", "trash", "any"]), _NUMBERS)
"""A user."""
TAGS = st.sampled_from([""] * 6 + ["right", "right", "any", "wrong", "new"])
"""Conditions of requests."""
