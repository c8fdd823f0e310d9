"""Spellings of one identifier have one canonical form, different identifiers have two."""

# ruff: noqa: RUF001 - letters that look alike are the point

import sys
import unicodedata

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.identifiers import canonical

BTREE_BYTES = 2704
EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
ANY_TEXT = st.text(st.characters(codec="utf-8"))
# What domains are made of, and what only looks like it.
DOMAIN = st.text(st.sampled_from("ab-.xn1ßẞςσüÜu\u0308İıｂ．。｡_ＡאاКк\u200d\u200c\u00ad٠०ー"), max_size=30)
EMAILS = st.builds("{}@{}".format, st.text(st.characters(codec="utf-8"), max_size=5), DOMAIN)


@given(ANY_TEXT | EMAILS)
@example("x@\u200dß.example")
@example("x@b_c\u3002ß")
@example("\u00ad@ß.example")
@example("\u0345\u0301")
@example("\ufdfa" * 254)
@example("\ufdfa" * 100 + "@" + "ß" * 254)
def test_canonicalization_is_idempotent(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


def test_canonicalization_of_every_character_is_idempotent() -> None:
    assert [c for c in EVERY_CHARACTER if canonical(canonical(c)) != canonical(c)] == []


@given(ANY_TEXT)
def test_composition_and_case_do_not_matter(text: str) -> None:
    # The order of U+0345 and other marks changes when it is folded before it is composed.
    assume("@" not in unicodedata.normalize("NFKC", text) and "\u0345" not in unicodedata.normalize("NFD", text))
    assert canonical(unicodedata.normalize("NFD", text)) == canonical(text)
    assert canonical(unicodedata.normalize("NFKC", text)) == canonical(text)
    assert canonical(text.casefold()) == canonical(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ADA", "ada"),
        ("ß", "SS"),
        ("ÉA", "e\u0301a"),
        ("Σ", "ς"),
        ("1", "１"),
        ("ﬁn", "FIN"),
        ("Ⅷ", "viii"),
        ("ad\u200bmin", "admin"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\u0430\u0301da", "А\u0301DA"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("anna@bücher.example", "ANNA@XN--BCHER-KVA.EXAMPLE"),
        ("anna@bücher.example", "anna@bu\u0308cher.example"),
        ("anna@bücher.example", "anna@ｂücher.example"),
        ("anna@bücher.example", "anna@bücher．example"),
        ("anna@bücher.example", "anna@bücher。example"),
        ("anna@bücher.example", "anna@bücher｡example"),
        ("anna@bücher.example", "Ａnna@BÜCHER.example"),
        ("anna@example.org", "anna@Ｅxample。org"),
        ("leni@größe.example", "leni@xn--gre-6ka8i.example"),
        ("boss@corp.example", "boss＠corp.example"),
        ("straße@example.org", "STRASSE@example.org"),
    ],
)
def test_spellings_of_one_identifier_have_one_canonical_form(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("resume", "résumé"),
        ("Soren", "Søren"),
        ("leni@größe.example", "leni@grösse.example"),
        ("leni@größe.example", "leni@xn--grsse-kua.example"),
        ("a@bücher.example", "a@bucher.example"),
        ("a.b@example.org", "ab@example.org"),
        ("a+x@example.org", "a@example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_different_identifiers_have_different_canonical_forms(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@given(EMAILS)
@example("a@xn--bcher-kva.example")
@example("a@BÜCHER。example")
@example("a@1.xn--4dbc")
def test_all_spellings_that_the_email_validator_accepts_have_one_canonical_form(text: str) -> None:
    try:
        address = validate_email(text, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        return
    assert canonical(text).rpartition("@")[2] == address.ascii_domain
    assert canonical(address.normalized) == canonical(text)
    assert canonical(f"{address.local_part}@{address.ascii_domain}") == canonical(text)


@given(st.text(st.characters(codec="utf-8"), max_size=254))
@example("\ufdfa" * 254)
@example("\U0001d15f" * 254)
def test_a_key_fits_into_an_index(text: str) -> None:
    """A btree of a key and a UUID holds less than 2,704 bytes."""
    assert len(canonical(text).encode()) <= BTREE_BYTES - 40


def test_the_longest_identifier_of_any_character_fits_into_an_index() -> None:
    longer = (c for c in EVERY_CHARACTER if len(unicodedata.normalize("NFKC", c).casefold()) > 1)
    names = (unicodedata.normalize("NFC", character * 254)[:254] for character in longer)
    assert max(len(canonical(name).encode()) for name in names) <= BTREE_BYTES - 40


def test_long_identifiers_that_differ_at_the_end_have_different_keys() -> None:
    assert canonical("\ufdfa" * 253 + "a") != canonical("\ufdfa" * 253 + "b")
