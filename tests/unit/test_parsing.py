"""Strict JSON: invalid documents are refused, others are unchanged."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.http.parsing import parse_json

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@given(JSON, st.booleans())
def test_valid_json_is_parsed_unchanged(document: object, ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert parse_json(body) == document


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused_as_malformed(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        json.dumps(parse_json(body))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"1 2", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"x": [{"b": 1, "a": 2, "b": 3}]}', "'b'"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b"NaN", "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b'"a\x00b"', "U+0000"),
        (b'"a\\u0000b"', "U+0000"),
        (b'{"a\\u0000": 1}', "U+0000"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'"\\ud800\\ud800"', "surrogate"),
        (b'"\xff"', "UTF-8"),
        (b'"\xc3', "UTF-8"),
        (b'"\xc0\x80"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xf5\x80\x80\x80"', "UTF-8"),
        (b"7" * 5000, "digits"),
        (b"[" * 1_000 + b"]" * 1_000, "deep"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "deep"),
        (b"[" * 500_000, "deep"),
        (b"[" * 65 + b"]" * 65, "deep"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_invalid_json_is_refused_with_the_reason(body: bytes, word: str) -> None:
    with pytest.raises(BadRequest, match=word.replace("+", r"\+")) as raised:
        parse_json(body)
    assert len(str(raised.value)) < 200


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_the_maximum_depth_is_accepted() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64)


def test_many_adjacent_brackets_do_not_count_as_depth() -> None:
    assert len(parse_json(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000


def test_numbers_keep_their_kind() -> None:
    one, real, tiny = parse_json(b"[1, 1.0, 1e-999]")
    assert isinstance(one, int)
    assert isinstance(real, float)
    assert tiny == 0
    assert math.isfinite(tiny)
