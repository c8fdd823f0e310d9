"""Strict JSON (RFC 8259): no duplicate names, no U+0000, no lone surrogates, finite numbers only."""

import json
import math
import re
from typing import Any

from app.errors import N_, BadRequest, Message
from app.validation import library_text

_BODY = N_("The body")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_DEPTH = 64


def parse_json(body: bytes, subject: Message = _BODY) -> Any:
    """Parse `body`. subject: the name of the body in error messages. Raises: BadRequest, with line and column"""
    try:
        text = body.decode("utf-8")
        if "\x00" in text:
            raise BadRequest(N_("%(subject)s must not contain U+0000.", subject=subject))
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise BadRequest(
            N_("%(subject)s is not UTF-8: byte %(byte)s is wrong.", subject=subject, byte=error.start)
        ) from None
    except json.JSONDecodeError as error:
        raise BadRequest(_syntax_error(error, subject)) from None
    except RecursionError:
        raise BadRequest(N_("%(subject)s is nested too deeply.", subject=subject)) from None
    except ValueError:
        raise BadRequest(N_("%(subject)s contains a number with too many digits.", subject=subject)) from None
    # Only escapes can contain U+0000 and surrogates, and most bodies have none.
    if "\\u" in text or text.count("[") + text.count("{") > _MAX_DEPTH:
        _check_depth_and_texts(document, subject)
    return document


def _syntax_error(error: json.JSONDecodeError, subject: Message) -> Message:
    return N_(
        "%(subject)s is not JSON: %(reason)s at line %(line)s, column %(column)s.",
        subject=subject,
        reason=library_text(error.msg.removesuffix(" at")),
        line=error.lineno,
        column=error.colno,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadRequest(N_("The name %(name)s occurs twice in a JSON object.", name=repr(twice[:50])))
    return document


def _no_constant(name: str) -> None:
    raise BadRequest(N_("%(name)s is not JSON.", name=name))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest(N_("The number %(number)s is too large.", number=text[:50]))
    return number


def _check_depth_and_texts(document: Any, subject: Message) -> None:
    depth, level = 0, [document]
    while level:
        depth += 1
        # Deeper than any rule allows, and far below the recursion limit.
        if depth > _MAX_DEPTH:
            raise BadRequest(N_("%(subject)s is nested too deeply.", subject=subject))
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item, subject)
            elif isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
        level = inner


def _check_text(text: str, subject: Message) -> None:
    if "\x00" in text:
        raise BadRequest(N_("%(subject)s must not contain U+0000.", subject=subject))
    if _SURROGATE.search(text):
        raise BadRequest(N_("%(subject)s must not contain a lone surrogate.", subject=subject))
