"""Text normalization: sort keys of names, and the lexemes that searches and filters look up."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from app.models import SEARCHABLE_FIELDS, TAGGED_FIELDS

# Letters that Unicode does not decompose, as PostgreSQL's unaccent maps them.
_UNDECOMPOSED = str.maketrans("øłđħıŧðŋ", "oldhitdn") | str.maketrans({"æ": "ae", "œ": "oe", "þ": "th"})

# Ranges of the scripts that are written without spaces between words. Source:
# https://www.unicode.org/Public/UNIDATA/Scripts.txt
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Tibetan, Myanmar
    r"\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"  # Khmer, Tai
    r"\u2e80-\u312f\u31a0-\u31bf\u31f0-\u31ff\U0001b000-\U0001b16f"  # radicals, kana, Bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
# PostgreSQL allows 2,704 bytes for a key of a btree index, and 2,046 bytes for a lexeme of a tsvector.
_MAX_SORT_KEY_CHARACTERS = 200
_MAX_LEXEME_CHARACTERS = 500

_WORD = re.compile(rf"(?!\W)[{_UNSPACED}]|[^\W_{_UNSPACED}]{{1,{_MAX_LEXEME_CHARACTERS}}}")

# For a prefix PostgreSQL reads and merges the posting lists of all lexemes: 79 ms for one letter and a million users.
# A short prefix is a lexeme itself, so it has one posting list. Longer prefixes match few lexemes.
MAX_SHORT_PREFIX_CHARACTERS = 3

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
    return _WORD.findall(fold(value))


def lexemes(user: Mapping[str, Any]) -> list[str]:
    """The lexemes of a user, sorted: words of searchable fields, their short prefixes, a tag for each filter value.

    `user` has the fields of USER_FIELDS. Attributes that are objects or arrays have no tag.
    """
    found = set()
    for name in TAGGED_FIELDS:
        if user[name] is not None:
            found.add(field_tag(name, user[name]))
    for name in SEARCHABLE_FIELDS:
        for word in tokenize(user[name] or ""):
            found.add(word)
            for length in range(1, MAX_SHORT_PREFIX_CHARACTERS + 1):
                found.add(word[:length])
    for key, value in user["attributes"].items():
        if not isinstance(value, (dict, list)):
            found.add(attribute_tag(key, value if isinstance(value, str) else orjson.dumps(value).decode()))
    return sorted(found)


def field_tag(name: str, value: str | bool) -> str:
    """The tag of a value of one of TAGGED_FIELDS. The text of a value has no quotes and no backslashes."""
    return f"={name}:{str(value).lower()}"


def attribute_tag(key: str, text: str) -> str:
    """The tag of a top-level attribute. text: the string itself, or the JSON of a number, boolean or null."""
    return "@" + hashlib.blake2b(orjson.dumps([key, text]), digest_size=16).hexdigest()


class Term(NamedTuple):
    """One operand of a tsquery: a lexeme, or a prefix of lexemes."""

    lexeme: str
    is_prefix: bool = False


def tsquery(terms: Iterable[Term], *, deleted: bool | None) -> str:
    """The text of a tsquery that matches users who have every term: active users, deleted users, or both (None)."""
    operands = [f"'{lexeme}':*" if is_prefix else f"'{lexeme}'" for lexeme, is_prefix in terms]
    if deleted is not None:
        operands.append(f"'{DELETED_TAG}'" if deleted else f"!'{DELETED_TAG}'")
    return " & ".join(operands)
