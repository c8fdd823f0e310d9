"""How a request is read: strictly, so that nothing is guessed and nothing slips through."""

import difflib
import json
import math
import re
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.errors import Fault, Invalid, Malformed, NotFound
from app.schemas import READ_ONLY, UserDraft, UserPatch, UserReplacement

JSON_TYPES = ("application/json",)
PATCH_TYPES = ("application/merge-patch+json", "application/json")

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_DEPTH = 64
_ANY_LENGTH = 2**62
_SHOWN_CHARACTERS = 50
_ATTRIBUTE = "attributes."
_DEEP_OBJECT = "attributes["
"""How OpenAPI's style deepObject spells it: attributes[plan]=pro."""
Model = TypeVar("Model", bound=BaseModel)


def read_body(request: Request, model: type[Model]) -> Model:
    """The body as `model`. Raises: Malformed, Invalid, UnsupportedMediaType, RequestEntityTooLarge"""
    return as_model(read_json(request, PATCH_TYPES if request.method == "PATCH" else JSON_TYPES), model)


def as_model(document: Any, model: type[Model]) -> Model:
    """A body as `model`. Raises: Invalid"""
    if not isinstance(document, dict):
        raise Invalid([Fault("body", "must be a JSON object")])
    return validated(model, {key: value for key, value in document.items() if key not in _ignored(model)})


def read_json(request: Request, media_types: Iterable[str]) -> Any:
    """The body as strict JSON (RFC 8259, no duplicate names, no U+0000, no lone surrogates, finite numbers)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not taken. Send it without Content-Encoding.")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in media_types or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(media_types)}, in UTF-8.")
    return parse_json(_read(request, request.max_content_length or _ANY_LENGTH))


def _read(request: Request, most_bytes: int) -> bytes:
    """The body, unread when it says that it is too large. Raises: RequestEntityTooLarge"""
    if (request.content_length or 0) > most_bytes:
        raise RequestEntityTooLarge
    # A body without Content-Length (chunked) werkzeug silently cuts at the limit: one byte more shows it.
    request.max_content_length = most_bytes + 1
    body = request.get_data(cache=False)
    if len(body) > most_bytes:
        raise RequestEntityTooLarge
    return body


def parse_json(body: bytes) -> Any:
    """`body` as strict JSON. Raises: Malformed, with the place of the fault."""
    try:
        text = body.decode("utf-8")
        if "\x00" in text:
            raise Malformed("The body must not hold U+0000.")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: byte {error.start} is wrong.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None
    except ValueError:
        raise Malformed("The body holds a number of too many digits.") from None
    # Far deeper than any rule allows, and far from the end of any stack.
    if text.count("[") + text.count("{") > _MAX_DEPTH and _depth(document) > _MAX_DEPTH:
        raise Malformed("The body is nested too deeply.")
    # Only an escape can bring these in, and most bodies have none.
    if "\\u" in text:
        _check_escapes(document)
    return document


def read_query(request: Request, model: type[Model]) -> Model:
    """The query string as `model`. Raises: Malformed (unknown or repeated names, bad encoding), Invalid"""
    return read_pairs(query_pairs(request.query_string), model)


def read_pairs(pairs: Iterable[tuple[str, str]], model: type[Model]) -> Model:
    """Names and values of a query string as `model`. Raises: Malformed (unknown or repeated names), Invalid"""
    known = [f"{_ATTRIBUTE}<key>" if name == "attributes" else name for name in model.model_fields]
    takes_attributes = "attributes" in model.model_fields
    values: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(_DEEP_OBJECT) and name.endswith("]"):
            name = f"{_ATTRIBUTE}{name[len(_DEEP_OBJECT) : -1]}"  # noqa: PLW2901 - the other spelling of the same
        target, key = values, name
        if takes_attributes and name.startswith(_ATTRIBUTE) and len(name) > len(_ATTRIBUTE):
            target, key = attributes, name.removeprefix(_ATTRIBUTE)
        elif name not in known:
            raise Malformed(_unknown(name, known), name)
        if key in target:
            raise Malformed(f"The query parameter {_shown(name)!r} is given twice.", name)
        target[key] = value
    return validated(model, {**values, "attributes": attributes} if attributes else values)


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """A query string in order, as application/x-www-form-urlencoded. Raises: Malformed"""
    pairs = []
    for part in filter(None, query.split(b"&")):
        name, _, value = part.partition(b"=")
        try:
            pair = tuple(unquote_to_bytes(piece.replace(b"+", b" ")).decode("utf-8") for piece in (name, value))
        except UnicodeDecodeError:
            raise Malformed("The query string is not UTF-8.") from None
        if "\x00" in pair[0] or "\x00" in pair[1]:
            raise Malformed("The query string must not hold U+0000.")
        pairs.append((pair[0], pair[1]))
    return pairs


def user_id_of(text: str) -> uuid.UUID:
    """The id of a user in its canonical form. Raises: NotFound, since nothing else can be the id of anybody"""
    return _id_of(text, "There is no such user.")


def token_id_of(text: str) -> uuid.UUID:
    """The same of a token. Raises: NotFound"""
    return _id_of(text, "There is no such token.")


def _id_of(text: str, sentence: str) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise NotFound(sentence) from None
    if str(found) != text.lower():
        raise NotFound(sentence)
    return found


def validated(model: type[Model], values: object) -> Model:
    """`values` as `model`. Raises: Invalid, with every bad field at once."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Invalid(
            [
                Fault(".".join(str(part) for part in fault["loc"]) or "body", _message(fault["type"], fault["msg"]))
                for fault in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from None


def _ignored(model: type[BaseModel]) -> frozenset[str]:
    """What GET gave and PUT does not take."""
    return frozenset(READ_ONLY) if model in (UserDraft, UserReplacement, UserPatch) else frozenset()


def _message(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "is not a known field"
    return message[:1].lower() + message[1:]


def _unknown(name: str, known: list[str]) -> str:
    shown = _shown(name)
    close = difflib.get_close_matches(shown, known, n=1, cutoff=0.5)
    if close:
        hint = f" Did you mean {close[0]!r}?"
    else:
        hint = f" Known are: {', '.join(known)}." if known else " There are none here."
    return f"The query parameter {shown!r} is not known.{hint}"


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"The name {twice[:50]!r} stands twice in one JSON object.")
    return document


def _no_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed(f"The number {text[:50]} is too large.")
    return number


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level:
        depth += 1
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
    return depth


def _check_escapes(document: Any) -> None:
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise Malformed("The body must not hold U+0000.")
    if _SURROGATE.search(text):
        raise Malformed("The body must not hold half of a surrogate pair.")
