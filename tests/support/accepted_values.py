"""Random values that the API accepts and that forms may damage. The seed is fixed."""

# ruff: noqa: RUF001, S311 - look-alikes are the purpose, and nothing here is secret

import json
import random
from typing import Any

from pydantic import BaseModel, ValidationError

from app.auth.schemas import TokenDraft
from app.schemas import UserDraft

SEED = 16
MANY = 100
"""Values of each kind."""

# Scripts, what browsers, keyboards and normal forms treat apart, and what HTML, JSON or an address would read.
_LETTERS = (
    "leni josé grüße Ωmega Łódź naïve ñandú İstanbul ſtraße ﬁancé Ａｂｃ",
    "فاطمة الزهراء שלום עולם ދިވެހި",
    "欧阳小明 さくら 한국어 日本語テスト ภาษาไทย हिन्दी",
    "e\u0301a\u0308o\u0302\u0323 q\u0323\u0307 \u1e9b\u0323",
    "👩‍👩‍👧‍👦 🇫🇷 🏳️‍🌈 👍🏽 𝕿𝖊𝖘𝖙 𐍈",
    "\u200d\u200b\u200e\u200f\u202a\u202c\u2066\u2069\ufeff\u00ad\u061c",
    "\u00a0\u2003\u3000\u202f",
    "<b>&amp;\"'`%20+;=#?/\\{{x}}[]|^~$!@*(),.:_-",
    "ABC abc xyz 0123456789",
    "\ufffd\uffff\ufdd0\U0010ffff",
)
_DOMAINS = (
    "größe.example", "bücher.example", "correo.example", "例え.example", "пример.example", "xn--bcher-kva.example",
    "EXAMPLE.org", "sub.domain.example", "faß.example", "مثال.example", "a-b.example", "उदाहरण.example",
)  # fmt: skip
_LOCALS = (
    "josé", "leni", "用户", "δοκιμή", "o'brien", "a+b", "x_y-z", "UPPER.Case", "квіточка", "राम", "e\u0301lan",
    "!#$%&'*+/=?^_`{|}~-", "1", "naïve.ﬁ", "مستخدم",
)  # fmt: skip


def names(count: int = MANY) -> list[str]:
    """Names of users and tokens: with blanks at the ends, of 200 characters, with combining marks, without letters."""
    fixed = [
        " leading",
        "trailing \t",
        "\u00a0both\u3000",
        "a  b",
        "W" * 200,
        "👩" * 200,
        "&lt;b&gt;",
        "null",
        "0",
        "a\u00a0b",
    ]
    return _accepted(UserDraft, "name", fixed, lambda chance: _text(chance, 1, 200), count, username="u")


def usernames(count: int = MANY) -> list[str]:
    """Usernames whose canonical forms differ."""
    fixed = ["-u254-" + "x" * 240, "<img>", "a&b;", "%00", "ÉCOLE", "e\u0301cole2", "👩‍👩‍👧‍👦"]
    return _distinct(_accepted(UserDraft, "username", fixed, lambda chance: _text(chance, 1, 60), count * 3), count)


def emails(count: int = MANY) -> list[str]:
    """Long email addresses, IDN domains, non-ASCII local parts (RFC 6531). Their canonical forms differ."""

    def one(chance: random.Random) -> str:
        number = chance.randrange(10**9)
        long = "x" * chance.choice((0, 0, 0, 40))
        return f"{chance.choice(_LOCALS)}{number}{long}@{chance.choice(_DOMAINS)}"

    return _accepted(UserDraft, "email", ["leni@größe.example", "josé@correo.example"], one, count)


def attributes(count: int = MANY) -> list[dict[str, Any]]:
    """JSON objects with line ends and tabs in strings, null, extreme numbers, deep nesting, or unusual keys."""
    fixed: list[dict[str, Any]] = [
        {},
        {"note": "one\ntwo\r\nthree\rfour\u2028five\u0085six\ttab\x7f"},
        {"": "", "null": None, "list": [None, True, 1, 1.0, -0.5, 1e300, 5e-324, 2**63 - 1, -(2**63)]},
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {}}}}}}}},
        {"</textarea><script>": "</textarea>", "\n": "\n"},
        {"long": "x" * 16_000},
        {"blank": "  both  ", "1": 1, "01": "1", "z": 1, "Z": 2},
    ]
    return _accepted(UserDraft, "attributes", fixed, lambda chance: _object(chance, 1), count, username="u")


def passwords(count: int = MANY) -> list[str]:
    """Passwords without line ends, because a password field cannot contain any."""
    fixed = [
        " " * 12,
        "\tleading and trailing\t ",
        "ﷺ" * 7,
        "👩" * 128,
        "e\u0301" * 30,
        "\u00a0" * 10,
        "&lt;&#39;&quot;",
    ]
    return _accepted(UserDraft, "password", fixed, lambda chance: _text(chance, 5, 128), count, username="u")


def token_names(count: int = MANY) -> list[str]:
    """Names of tokens."""
    return _accepted(TokenDraft, "name", [], lambda chance: _text(chance, 1, 200), count, role="viewer")


def searches(count: int = MANY) -> list[str]:
    """Search queries: up to 200 characters of any kind."""
    chance = random.Random(SEED)
    return [" ", "👩" * 200, *(_text(chance, 1, 200) for _ in range(count - 2))]


def _accepted(model: type[BaseModel], field: str, fixed: list[Any], make: Any, count: int, **rest: str) -> list[Any]:
    chance, found = random.Random(f"{SEED} {field}"), []
    candidates = iter(fixed)
    while len(found) < count:
        value = next(candidates, None)
        value = make(chance) if value is None else value
        try:
            model.model_validate({**rest, field: value})
        except ValidationError:
            continue
        found.append(value)
    return found


def _distinct(values: list[str], count: int) -> list[str]:
    """The first `count` values, cut to an accepted length, each with a unique number at its end."""
    return [f"{value[:240]}-u{number}" for number, value in enumerate(values[:count])]


def _text(chance: random.Random, least: int, most: int) -> str:
    letters = "".join(chance.sample(_LETTERS, chance.randint(1, 3)))
    length = chance.choice((least, chance.randint(least, 12 + least), chance.randint(least, most), most))
    return "".join(chance.choice(letters) for _ in range(length))


def _object(chance: random.Random, depth: int) -> dict[str, Any]:
    return {
        _text(chance, 0, 12) + chance.choice(("", "\n", "\t")): _value(chance, depth)
        for _ in range(chance.randint(1, 4))
    }


def _value(chance: random.Random, depth: int) -> Any:
    plain = (None, True, False, 0, -1, 1.0, 1e30, 2**53 + 1, chance.random(), _text(chance, 0, 40), "a\nb\r\nc\r\td")
    if depth < 5 and chance.random() < 0.3:
        return chance.choice(([_value(chance, depth + 1)], _object(chance, depth + 1)))
    return chance.choice(plain)


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON documents are identical: 1 differs from 1.0 and true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
