"""Text normalization: sort keys of names, and the lexemes that searches and filters look up."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.models import SEARCHABLE_FIELDS

# Letters that Unicode does not decompose, as PostgreSQL's unaccent maps them.
_UNDECOMPOSED = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ħ": "h",
        "\u0131": "i",
        "ŧ": "t",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ð": "d",
        "ŋ": "n",
    }
)

# Ranges of the scripts that are written without spaces between words: Thai and Lao, Tibetan, Myanmar, Khmer, kana and
# Bopomofo, Han. Source: https://www.unicode.org/Public/UNIDATA/Scripts.txt
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),
    (0x0F00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x19DF),
    (0x1A20, 0x1AAF),
    (0x2E80, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)

# PostgreSQL allows 2,704 bytes for a key of a btree index, and 2,046 bytes for a lexeme of a tsvector.
_MAX_SORT_KEY_CHARACTERS = 200
_MAX_LEXEME_BYTES = 2000

_ASCII_WORD = re.compile("[0-9a-z]+")

_MAX_SHORT_PREFIX_CHARACTERS = 3

# A tag is a lexeme for a filter value. It begins with a character that no word contains, so that no search matches it.
DELETED_TAG = "=trash"


def sort_key(value: str) -> str:
    """The key by which names are sorted, without case and accents."""
    return fold(value)[:_MAX_SORT_KEY_CHARACTERS]


def fold(value: str) -> str:
    """`value` without case, accents and compatibility forms. Idempotent."""
    if value.isascii():
        return value.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", value).casefold())
    return "".join(c for c in decomposed if unicodedata.category(c)[0] != "M").translate(_UNDECOMPOSED)


def tokenize(value: str) -> list[str]:
    """The folded words of `value`, in order: runs of letters and digits, or one character of an unspaced script."""
    folded = fold(value)
    if folded.isascii():
        # Most text is ASCII. The regular expression takes a tenth of the time.
        return [word[:_MAX_LEXEME_BYTES] for word in _ASCII_WORD.findall(folded)]
    return list(_words(folded))


def lexemes(user: Mapping[str, Any]) -> list[str]:
    """The lexemes of a user, sorted: the words of searchable fields, and one tag for each filter value.

    `user` has the fields of USER_FIELDS. Attributes that are objects or arrays have no tag.
    """
    words = (word for name in SEARCHABLE_FIELDS for word in tokenize(user[name] or ""))
    found = {lexeme for word in words for lexeme in _word_lexemes(word)}
    found.add(role_tag(user["role"]))
    found.add(active_tag(user["active"]))
    for key, value in user["attributes"].items():
        if not isinstance(value, (dict, list)):
            found.add(attribute_tag(key, value if isinstance(value, str) else orjson.dumps(value).decode()))
    return sorted(found)


def role_tag(role: str) -> str:
    """The tag of a role."""
    return f"=role:{role}"


def active_tag(active: bool) -> str:
    """The tag of active or of deactivated users."""
    return f"=active:{'true' if active else 'false'}"


def attribute_tag(key: str, text: str) -> str:
    """The tag of a top-level attribute. text: the string itself, or the JSON of a number, boolean or null."""
    return "@" + hashlib.blake2b(orjson.dumps([key, text]), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Term:
    """One operand of a tsquery: a lexeme, or a prefix of lexemes."""

    lexeme: str
    is_prefix: bool = False

    def __str__(self) -> str:
        """The term in the syntax of a tsquery."""
        return f"'{self.lexeme}':*" if self.is_prefix else f"'{self.lexeme}'"


def prefix_terms(text: str) -> list[Term]:
    """The terms of a search: each word of `text` is a prefix. Short prefixes are lexemes themselves."""
    return [Term(word, is_prefix=len(word) > _MAX_SHORT_PREFIX_CHARACTERS) for word in dict.fromkeys(tokenize(text))]


def tsquery(terms: Iterable[Term], *, deleted: bool | None) -> str:
    """The text of a tsquery that matches users who have every term: active users, deleted users, or both (None)."""
    tags = {None: [], True: [f"'{DELETED_TAG}'"], False: [f"!'{DELETED_TAG}'"]}
    return " & ".join([*map(str, terms), *tags[deleted]])


def _word_lexemes(word: str) -> set[str]:
    """The word, and its prefixes of one, two and three characters.

    For a prefix PostgreSQL reads and merges the posting lists of all lexemes: 79 ms for one letter and a million users.
    A short prefix that is a lexeme has one posting list. Longer prefixes match few lexemes.
    """
    return {word[:length] for length in range(1, _MAX_SHORT_PREFIX_CHARACTERS + 1)} | {word}


def _words(folded: str) -> Iterator[str]:
    run: list[str] = []
    for character in folded:
        if not character.isalnum():
            yield from _joined(run)
            run = []
        elif _is_unspaced(character):
            yield from _joined(run)
            run = []
            yield character
        else:
            run.append(character)
    yield from _joined(run)


def _joined(run: list[str]) -> Iterator[str]:
    if run:
        yield "".join(run).encode()[:_MAX_LEXEME_BYTES].decode(errors="ignore")


def _is_unspaced(character: str) -> bool:
    code = ord(character)
    return code >= _UNSPACED_RANGES[0][0] and any(first <= code <= last for first, last in _UNSPACED_RANGES)
