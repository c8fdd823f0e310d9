"""Text comparison: sort keys, unique keys, and the lexemes of search."""

# ruff: noqa: RUF001 - letters that look alike are the point

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.search import text as search_text

ANY_TEXT = st.text(st.characters(codec="utf-8"))
ANY_WORDS = st.text(st.characters(categories=["L", "N"]), max_size=254)
BTREE_BYTES = 2704
LEXEME_BYTES = 2046


def lexemes(**fields: object) -> list[str]:
    whole = {"username": "u", "email": None, "name": "n", "role": "member", "active": True, "attributes": {}}
    return search_text.lexemes({**whole, **fields})


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Émilie", "emilie"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("ISTANBUL", "istanbul"),
        ("ıstanbul", "istanbul"),
        ("Søren", "soren"),
        ("Łódź", "lodz"),
        ("Æsir", "aesir"),
        ("Œuvre", "oeuvre"),
        ("Þór", "thor"),
        ("Ǿ", "o"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("ﬁn", "fin"),
        ("Ⅷ", "viii"),
        ("１２", "12"),
        ("Ёлка", "елка"),
        ("e\u0301", "e"),
        ("\u0345", "ι"),
    ],
)
def test_case_accents_and_compatibility_forms_do_not_matter(text: str, folded: str) -> None:
    assert search_text.fold(text) == folded


@given(ANY_TEXT)
@example("\u0345")
@example("ẞ")
@example("ŉ")
@example("Ǣ")
@example("\u1fb7")
def test_folding_twice_changes_nothing(text: str) -> None:
    assert search_text.fold(search_text.fold(text)) == search_text.fold(text)


def test_folding_every_single_character_twice_changes_nothing() -> None:
    everything = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    assert [c for c in everything if search_text.fold(search_text.fold(c)) != search_text.fold(c)] == []


@given(ANY_TEXT)
def test_composed_and_decomposed_text_folds_alike(text: str) -> None:
    assert search_text.fold(unicodedata.normalize("NFC", text)) == search_text.fold(unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ada Lovelace", ["ada", "lovelace"]),
        ("ada.lovelace+x@example.org", ["ada", "lovelace", "x", "example", "org"]),
        ("O'Brien-Smith_2", ["o", "brien", "smith", "2"]),
        ("", []),
        ("  --  ", []),
        ("田中太郎", ["田", "中", "太", "郎"]),
        ("やまだ", ["や", "ま", "た"]),
        ("ヤマ", ["ヤ", "マ"]),
        ("Ada田中B", ["ada", "田", "中", "b"]),
        ("𠮷野", ["𠮷", "野"]),
    ],
)
def test_words_end_at_characters_other_than_letters_and_digits(text: str, found: list[str]) -> None:
    assert search_text.tokenize(text) == found


def test_thai_is_one_word_a_character() -> None:
    found = search_text.tokenize("สมชาย")
    assert len(found) >= 4
    assert all(len(word) == 1 for word in found)


def test_hangul_words_are_found_by_their_first_syllables() -> None:
    (whole,) = search_text.tokenize("김철수")
    for beginning in ("김", "김철", "김철수"):
        (prefix,) = search_text.tokenize(beginning)
        assert whole.startswith(prefix)


def test_spaced_scripts_keep_their_words_whole() -> None:
    for text in ("Мария", "Μαρία", "مريم", "מרים", "मारिया", "Մարիա"):
        assert len(search_text.tokenize(text)) == 1, text


@given(ANY_TEXT)
def test_splitting_gives_only_letters_and_digits_that_fold_to_themselves(text: str) -> None:
    for word in search_text.tokenize(text):
        assert word
        assert all(character.isalnum() for character in word)
        assert search_text.fold(word) == word


@given(st.text(st.characters(codec="ascii")))
@example("a" * 3000 + "\x00B_7")
def test_ascii_text_has_the_same_words_as_other_text(text: str) -> None:
    """Text with a letter that is not ASCII is folded by other code."""
    assert search_text.tokenize(f"{text} ж") == [*search_text.tokenize(text), "ж"]


@given(ANY_TEXT, ANY_TEXT)
def test_a_space_separates_words(one: str, other: str) -> None:
    assert search_text.tokenize(f"{one} {other}") == search_text.tokenize(one) + search_text.tokenize(other)


@given(ANY_WORDS, st.integers(1, 254))
def test_a_prefix_of_a_word_finds_it(text: str, length: int) -> None:
    """The folded prefix of a word is a prefix of the folded word, so search while typing finds the word."""
    folded = search_text.fold(text)
    found = search_text.tokenize(folded[:length])
    whole = search_text.tokenize(folded)
    assert all(any(word.startswith(prefix) for word in whole) for prefix in found)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_search_text_matches_a_tag(query: str, key: str, value: str) -> None:
    marks = [
        search_text.field_tag("role", "admin"),
        search_text.field_tag("active", value=True),
        search_text.attribute_tag(key, value),
    ]
    for word in search_text.tokenize(query):
        assert not any(mark.startswith(word) for mark in marks)


def test_searching_for_the_spelling_of_a_tag_finds_no_tag() -> None:
    marks = {word for word in lexemes(attributes={"city": "Paris"}) if not word.isalnum()}
    assert len(marks) == 3
    for query in ("role member", "=role:member", "active true", "@", "="):
        assert not any(mark.startswith(word) for mark in marks for word in search_text.tokenize(query))


@given(st.text(st.characters(codec="utf-8"), max_size=254))
@example("\ufdfa" * 254)
@example("\U0001d15f" * 254)
@example("ΐ" * 254)
@example("가" * 254)
def test_keys_and_words_fit_into_an_index(text: str) -> None:
    """A btree of a key and a UUID holds less than 2,704 bytes, a tsvector words below 2,047."""
    assert len(search_text.sort_key(text).encode()) <= BTREE_BYTES - 40
    assert all(0 < len(word.encode()) <= LEXEME_BYTES for word in search_text.tokenize(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [("Paris", "Paris"), (7, "7"), (1.5, "1.5"), (True, "true"), (False, "false"), (None, "null"), ("", "")],
)
def test_a_scalar_attribute_has_a_tag(value: object, text: str) -> None:
    assert search_text.attribute_tag("city", text) in lexemes(attributes={"city": value})


@pytest.mark.parametrize("value", [{}, [], {"a": 1}, ["x"]])
def test_an_object_or_array_has_no_tag(value: object) -> None:
    assert lexemes(attributes={"city": value}) == lexemes()


def test_tags_separate_key_and_value() -> None:
    assert search_text.attribute_tag("a", "b:c") != search_text.attribute_tag("a:b", "c")
    assert search_text.attribute_tag("a", '","') != search_text.attribute_tag('a","', "")
