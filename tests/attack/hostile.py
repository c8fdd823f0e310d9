"""Hostile values: valid values that are damaged, bytes, and texts that HTML, SQL, templates or headers would read."""

from typing import Any
from urllib.parse import quote_plus

import hypothesis.strategies as st

MARK = "zqx"
"""A name that no page uses, so a page that contains it as markup was injected."""
ADDRESSES = [
    f"javascript:{MARK}()",
    f"JaVaScRiPt:{MARK}()//",
    f"data:text/html,<{MARK}>",
    f"//{MARK}.example/",
    f"/\\{MARK}.example",
    f"https://{MARK}.example",
]
"""Addresses that no page may lead to."""
MARKUP = f"'\"></textarea></title></script></style><{MARK}/on{MARK}=1><script>{MARK}()</script>"
"""Becomes markup wherever a page does not escape it, also in a username, which has no spaces."""
LONG = "W" * 5000
TEXTS = [
    f"<{MARK}>",
    MARKUP,
    f'" on{MARK}="1" autofocus onfocus="{MARK}()" x="',
    f"' on{MARK}='1' x='",
    *ADDRESSES,
    "{{987659*876551}}", "${987659*876551}", "<%= 987659*876551 %>", "#{987659*876551}", "%(name)s %s %d {0} {name}",
    "' OR '1'='1' --", "'; DROP TABLE users; --", "\\'; SELECT pg_sleep(9) --", "%' AND 1=1 --", "$1 :x ?",
    f"x\r\nX-{MARK}: 1\r\n\r\n<{MARK}>", f"x%0d%0aX-{MARK}:%201", f"x\nSet-Cookie: {MARK}=1",
    "\u202e\u2066evil\u2069\u202c", "\u200b\u200d\ufeff", "\x01\x1f\x7f\x85\u2028", "\ufffd\uffff\U0010ffff",
    "👩‍👩‍👧‍👦🏳️‍🌈", "\U0001d57f\U0001d58a", "e\u0301" * 40, "a" + "\u0335" * 60, "ﷺ" * 50, LONG, "x " * 3000,
    "0", "-1", "1e999",
    "9" * 400, "null", "true", "[]", "{}", "[[[[[[[[[[", '{"a":' * 50,
    "\\u0000", "\\ud800", "../../etc/passwd", "%00", "%",
    "&amp;&lt;", "a=b&c=d;e", "0x7f", "NaN", "٣", "1 ", " ", "", ",", ";", "=", "*",
]  # fmt: skip
LATIN = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
"""Characters of headers, one for each byte."""
_PIECES = st.sampled_from(
    ['"', "'", ",", ";", "=", "&", "%", "%00", "%ff", "\\", "*", ".", "/", "[", "]", "{", "}", ":", " "]
)


def damaged(valid: st.SearchStrategy[str], letters: st.SearchStrategy[str] = LATIN) -> st.SearchStrategy[str]:
    """Valid values, of which most have parts that are replaced, doubled or left out."""
    cut = st.tuples(st.integers(0, 60), st.integers(0, 8), _PIECES | st.text(letters, max_size=3) | st.none())
    return st.builds(_damage, valid, st.lists(cut, max_size=3))


def _damage(text: str, cuts: list[tuple[int, int, str | None]]) -> str:
    for start, length, piece in cuts:
        at = start % (len(text) + 1)
        part = text[at : at + length]
        text = text[:at] + (part * 2 if piece is None else piece) + text[at + length :]
    return text


def header(valid: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Values of a header, without the white space around them, which servers remove."""
    texts = (
        damaged(valid) | st.text(LATIN, max_size=40) | st.sampled_from([text for text in TEXTS if text.isprintable()])
    )
    return texts.map(lambda text: text.encode("latin-1", "replace").strip(b" \t\xa0") or b"x")


def mostly(often: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of `often`, and one in five of `seldom`."""
    return st.integers(0, 4).flatmap(lambda number: often if number < 4 else seldom)


ANY_TEXT = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def encoded(text: str) -> bytes:
    """A part of a query string."""
    return quote_plus(text, safe="[]").encode()
