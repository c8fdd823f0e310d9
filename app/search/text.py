"""How text is compared: the keys that names are sorted by, and the words that a search finds."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

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

# First and last letters of the scripts that are written without spaces between words:
# Thai and Lao, Tibetan, Myanmar, Khmer, kana and Bopomofo, Han. After https://www.unicode.org/Public/UNIDATA/Scripts.txt
_UNSPACED = (
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

# A btree holds keys of 2,704 bytes and a tsvector words of 2,046.
_NAME_KEY_CHARACTERS = 200
_WORD_BYTES = 2000

_ASCII_WORD = re.compile("[0-9a-z]+")

_SHORT = 3

# Marks begin with what no word has, so that no search meets them.
TRASH_MARK = "=trash"


def name_key(value: str) -> str:
    """What names are sorted by: neither case nor accents count."""
    return fold(value)[:_NAME_KEY_CHARACTERS]


def fold(value: str) -> str:
    """`value` without case, accents and compatibility forms. Folding twice changes nothing."""
    if value.isascii():
        return value.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", value).casefold())
    return "".join(c for c in decomposed if unicodedata.category(c)[0] != "M").translate(_UNDECOMPOSED)


def split(value: str) -> list[str]:
    """The folded words of `value`, in order: runs of letters and digits, or one character of an unspaced script."""
    folded = fold(value)
    if folded.isascii():
        # All that most text has, a tenth of the time.
        return [word[:_WORD_BYTES] for word in _ASCII_WORD.findall(folded)]
    return list(_words(folded))


def lexemes(user: Mapping[str, Any]) -> list[str]:
    """All that a user is found by: the words of its names, and one mark for each filter value.

    `user` has username, email, name, role, active and attributes.
    """
    found = {
        lexeme for field in ("name", "username", "email") for word in split(user[field] or "") for lexeme in _of(word)
    }
    found.add(role_mark(user["role"]))
    found.add(active_mark(user["active"]))
    for key, value in user["attributes"].items():
        if not isinstance(value, (dict, list)):
            found.add(attribute_mark(key, value if isinstance(value, str) else orjson.dumps(value).decode()))
    return sorted(found)


def role_mark(role: str) -> str:
    """The lexeme of a role."""
    return f"=role:{role}"


def active_mark(active: bool) -> str:
    """The lexeme of being active or not."""
    return f"=active:{'true' if active else 'false'}"


def attribute_mark(key: str, text: str) -> str:
    """The lexeme of a top-level attribute: `text` is the string itself, or how JSON spells a number, bool or null."""
    return "@" + hashlib.blake2b(orjson.dumps([key, text]), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that is searched for: a lexeme, or a prefix of lexemes."""

    lexeme: str
    is_prefix: bool = False

    def __str__(self) -> str:
        """The term in a tsquery."""
        return f"'{self.lexeme}':*" if self.is_prefix else f"'{self.lexeme}'"


def prefix_terms(text: str) -> list[Term]:
    """What a search for the words of `text` wants. Short prefixes are lexemes of their own."""
    return [Term(word, is_prefix=len(word) > _SHORT) for word in dict.fromkeys(split(text))]


def query_text(terms: Iterable[Term], *, trashed: bool) -> str:
    """A tsquery, in the syntax of its input function, that wants every term, here or in the trash."""
    return " & ".join([*map(str, terms), f"'{TRASH_MARK}'" if trashed else f"!'{TRASH_MARK}'"])


def _of(word: str) -> set[str]:
    """The lexemes of a word: its first one, two and three letters, and the word itself when it is longer.

    A prefix that matches many words makes PostgreSQL read and merge all their lists,
    79 ms for one letter at a million users; as a lexeme it is one list, cheaply
    intersected with others. Longer prefixes match few words.
    """
    return {word[:length] for length in range(1, _SHORT + 1)} | {word}


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
        yield "".join(run).encode()[:_WORD_BYTES].decode(errors="ignore")


def _is_unspaced(character: str) -> bool:
    code = ord(character)
    return code >= _UNSPACED[0][0] and any(first <= code <= last for first, last in _UNSPACED)
