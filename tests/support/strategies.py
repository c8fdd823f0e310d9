"""Hypothesis strategies for users, and values that are known to be difficult."""

from datetime import UTC, datetime
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings

ROLES = st.sampled_from(["member", "viewer", "editor", "admin"])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NUMBERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e20, 1.0, -0.0, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**53 + 1, 2**63 - 1, -(2**63)])
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(TEXT, JSON, max_size=4)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
ROW = st.fixed_dictionaries(
    {
        "username": TEXT,
        "email": st.none() | TEXT,
        "name": TEXT,
        "role": ROLES,
        "active": st.booleans(),
        "attributes": ATTRIBUTES,
        "version": st.integers(1, 2**31 - 1),
        "created_at": MOMENTS,
        "updated_at": MOMENTS,
        "deleted_at": st.none() | MOMENTS,
    }
)
"""A row of users, including values that the API would refuse."""

LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
NAMES = st.text(LETTERS | st.just(" "), min_size=1, max_size=40)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "username": st.text(LETTERS, min_size=1, max_size=30),
    "email": st.none() | st.sampled_from(["ada@example.org", "Zoë@bücher.example", '"a b"@example.org', "田@例え.jp"]),
    "name": NAMES,
    "attributes": ATTRIBUTES,
}
WHOLE = st.fixed_dictionaries(
    {"username": FIELDS["username"]},
    optional={
        "email": FIELDS["email"],
        "name": NAMES,
        "role": ROLES,
        "active": st.booleans(),
        "attributes": ATTRIBUTES,
    },
)
PATCHES = st.fixed_dictionaries(
    {}, optional={**FIELDS, "attributes": st.none() | ATTRIBUTES, "username": FIELDS["username"]}
)

NASTY = {
    "arabic": {"username": "عائشة", "name": "عائشة \u200f\u202e", "email": "a@مثال.example"},
    "han and kana": {"username": "田中さん", "name": "田中 太郎 カタカナ"},
    "indic and thai": {"username": "अदा", "name": "สวัสดี ಕನ್ನಡ தமிழ்"},
    "greek, cyrillic, hebrew": {"username": "Σίσυφος", "name": "Ёлка שלום ςΣ"},
    "turkish and german": {"username": "İıŞş", "name": "STRAßE ẞ"},
    "emoji": {"username": "👩‍👩‍👧‍👦🏳️‍🌈", "name": "🇫🇷 👍🏽 \U0010fffd"},
    "quotes and backslashes": {"username": "\"\\'{}[],", "name": "a \\u0041 \\\\ \" ' ` $1 %(q)s {x} NULL"},
    "marks alone": {"username": "\u0301\u0327", "name": "a\u0301\u0327\u0330"},
    "empty braces": {"username": "{}", "name": '{"a",NULL}'},
    "controls in attributes": {
        "username": "c",
        "attributes": {"\b\f\n\r\t\x1f\x7f\x80\x9f": "\b\f\n\r\t\x01\x1f\x7f\x80"},
    },
    "separators in attributes": {
        "username": "s",
        "attributes": {"\u2028": "\u2029\ufeff\uffff\ufffe", "/": "</script>"},
    },
    "numbers": {"username": "n", "attributes": {"a": [1e20, 1.0, -0.0, 1e-7, 2**63 - 1, -(2**63), 1e308, 5e-324]}},
    "nested": {"username": "d", "attributes": {"": {"": {"": [[], {}, [{}], [[[{"x": None}]]]]}}}},
    "long": {"username": "u" * 254, "name": "ñ" * 200, "attributes": {"k" * 3000: "é" * 3000}},
    "null email": {"username": "nobody", "email": None, "attributes": {"null": None, "true": True, "false": False}},
}

UNHURRIED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
