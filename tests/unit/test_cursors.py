"""Cursors are decoded as they were encoded, or refused."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadRequest
from app.search.cursors import Keyset, decode, encode

KEYS = st.text(st.characters(codec="utf-8"), max_size=100) | st.integers(0, 2**53)
ALPHABET = string.ascii_letters + string.digits + "-_"
CURSOR = encode("users:name:live", Keyset("müller", "0198c0de-0000-7000-8000-000000000001"))


@given(KEYS, st.uuids().map(str), st.booleans())
def test_a_decoded_cursor_equals_the_encoded_keyset(key: str | int, row_id: str, backwards: bool) -> None:
    keyset = Keyset(key, row_id, backwards)
    assert decode("a", encode("a", keyset), repr) == keyset


def test_every_truncation_is_refused() -> None:
    for length in range(len(CURSOR)):
        with pytest.raises(BadRequest):
            decode("users:name:live", CURSOR[:length], repr)


def test_every_change_of_a_single_character_is_refused() -> None:
    accepted = []
    for place in range(len(CURSOR)):
        for character in ALPHABET + "=+/ .%é\x00":
            if character == CURSOR[place]:
                continue
            changed = CURSOR[:place] + character + CURSOR[place + 1 :]
            try:
                decode("users:name:live", changed, repr)
            except BadRequest:
                continue
            accepted.append(changed)
    assert accepted == []


def test_every_added_character_is_refused() -> None:
    accepted = []
    for place in range(len(CURSOR) + 1):
        for character in ALPHABET + "= \n":
            try:
                decode("users:name:live", CURSOR[:place] + character + CURSOR[place:], repr)
            except BadRequest:
                continue
            accepted.append((place, character))
    assert accepted == []


@given(st.text(max_size=200))
@settings(max_examples=300)
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decode("users:name:live", text, repr)


@pytest.mark.parametrize("kind", ["users:-name:live", "users:name:trash", "users:email:live", "history:x", ""])
def test_a_cursor_of_another_list_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest, match="another list or sort"):
        decode(kind, CURSOR, repr)
