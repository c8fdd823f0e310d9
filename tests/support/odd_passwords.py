"""Passwords with characters that URLs, .env files or shells treat specially."""

import random
from collections.abc import Iterator

_PARTS = [*"$'\"`#@/?&=:[]%\\ ~!*;|{}éß漢😀aZ7", "$$", "${HOME}", "$HOME", " #", "://", "%zz", "%40", "\\n", "--"]
FIXED = (
    *("p@ss/w#rd", "p?a[b]", "%zz", "100%", " outer blanks ", "it's", 'say "hi"', "$HOME$$x${Y}", "#first", "a #b"),
    *("pässwörd", "пароль", "漢字😀", "--requirepass", "a:b@c:1/d?e=f#g", "a\\'b", "x" * 64),
)


def odd_passwords(count: int, seed: int = 21) -> Iterator[str]:
    """FIXED, then `count` random passwords of up to 64 characters. None ends in a backslash (see .env.example)."""
    yield from FIXED
    chance = random.Random(seed)  # noqa: S311 - they protect nothing
    for _ in range(count):
        text = "".join(chance.choices(_PARTS, k=chance.randint(4, 64)))[:64]
        yield text.rstrip("\\") or "x"
