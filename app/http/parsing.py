"""Parses bodies, query strings and ids strictly, and cookies. Unknown and repeated names are errors, except in cookies.

Strict JSON (RFC 8259) has no duplicate names, no U+0000, no lone surrogates and only finite numbers.
"""

import difflib
import json
import math
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from flask import Request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from app.errors import N_, BadRequest, FieldError, Message, NotFound, ValidationFailed
from app.schemas import READ_ONLY, UserBody
from app.validation import field_errors_of, library_text

Model = TypeVar("Model", bound=BaseModel)

SESSION_COOKIE = "fsa_session"

_JSON_TYPES = ("application/json",)
_PATCH_TYPES = ("application/merge-patch+json", "application/json")
_SHOWN_CHARACTERS = 50
_ATTRIBUTE = "attributes."
_DEEP_OBJECT = "attributes["
"""OpenAPI's style deepObject: attributes[plan]=pro."""
_BODY = N_("The body")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_DEPTH = 64


def read_body(request: Request, model: type[Model]) -> Model:
    """The body, strict JSON, as `model`.

    Raises: BadRequest, ValidationFailed, UnsupportedMediaType, RequestEntityTooLarge
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not taken. Send it without Content-Encoding.")
    media_types = _PATCH_TYPES if request.method == "PATCH" else _JSON_TYPES
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in media_types or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"Content-Type must be {' or '.join(media_types)}, in UTF-8.")
    document = parse_json(request.get_data(cache=False))
    if not isinstance(document, dict):
        raise ValidationFailed([FieldError("body", N_("must be a JSON object"))])
    if issubclass(model, UserBody):
        for name in READ_ONLY:
            document.pop(name, None)
    return validated(model, document)


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


def read_query(request: Request, model: type[Model]) -> Model:
    """The query string as `model`. Raises: BadRequest (unknown or repeated names, bad encoding), ValidationFailed"""
    return read_pairs(query_pairs(request.query_string), model)


def read_pairs(pairs: Iterable[tuple[str, str]], model: type[Model]) -> Model:
    """Names and values of a query string as `model`.

    Raises: BadRequest (unknown or repeated names), ValidationFailed
    """
    takes_attributes = "attributes" in model.model_fields
    values: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(_DEEP_OBJECT) and name.endswith("]"):
            name = f"{_ATTRIBUTE}{name[len(_DEEP_OBJECT) : -1]}"  # noqa: PLW2901 - the other spelling of the same
        target, key = values, name
        if takes_attributes and name.startswith(_ATTRIBUTE) and len(name) > len(_ATTRIBUTE):
            target, key = attributes, name.removeprefix(_ATTRIBUTE)
        elif name not in model.model_fields or name == "attributes":
            raise BadRequest(_unknown(name, model), name)
        if key in target:
            raise BadRequest(N_("The query parameter %(name)s is given twice.", name=repr(_shown(name))), name)
        target[key] = value
    return validated(model, {**values, "attributes": attributes} if attributes else values)


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """A query string in order, as application/x-www-form-urlencoded. Raises: BadRequest"""
    if b"%00" in query or b"\0" in query:
        raise BadRequest(N_("The query string must not contain U+0000."))
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(N_("The query string is not UTF-8.")) from None


def cookie_values(environ: Mapping[str, Any], name: str) -> list[str]:
    """All values of the cookie `name`, in order.

    A semicolon always ends a cookie (RFC 6265, section 4.2.1), also inside quotes. Werkzeug's parser reads on to the
    closing quote, and raises for bytes that are not UTF-8: another cookie could hide this one.
    """
    found: list[str] = []
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        key, _, raw = part.partition("=")
        if key.strip() == name:
            value = raw.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
            found.append(value[1:-1] if is_quoted else value)
    return found


def validated(model: type[Model], values: object) -> Model:
    """`values` as `model`. Raises: ValidationFailed, with every bad field at once."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValidationFailed(field_errors_of(error)) from None


def _id_of(text: str, not_found: Message) -> uuid.UUID:
    """An id in canonical form. Raises: NotFound, if it is malformed"""
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise NotFound(not_found) from None
    if str(found) != text.lower():
        raise NotFound(not_found)
    return found


user_id_of = partial(_id_of, not_found=N_("There is no such user."))
"""The id of a user, from a path or form. Raises: NotFound, if it is malformed"""
token_id_of = partial(_id_of, not_found=N_("There is no such token."))
"""The id of a token, from a path or form. Raises: NotFound, if it is malformed"""


def _unknown(name: str, model: type[BaseModel]) -> Message:
    known = [f"{_ATTRIBUTE}<key>" if field == "attributes" else field for field in model.model_fields]
    shown = _shown(name)
    close = difflib.get_close_matches(shown, known, n=1, cutoff=0.5)
    values = {"name": repr(shown)}
    if close:
        return N_("The query parameter %(name)s is not known. Did you mean '%(close)s'?", **values, close=close[0])
    if known:
        known_names = ", ".join(known)
        return N_("The query parameter %(name)s is not known. Known are: %(known)s.", **values, known=known_names)
    return N_("The query parameter %(name)s is not known. There are no query parameters here.", **values)


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."


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
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise BadRequest(N_("The name %(name)s occurs twice in a JSON object.", name=repr(twice[:50])))
    return document


def _no_constant(name: str) -> None:
    raise BadRequest(N_("%(name)s is not JSON.", name=name))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest(N_("The number %(number)s is too large.", number=text[:50]))
    return number


def _check_depth_and_texts(value: Any, subject: Message, depth: int = 1) -> None:
    # Deeper than any rule allows, and far below the recursion limit.
    if depth > _MAX_DEPTH:
        raise BadRequest(N_("%(subject)s is nested too deeply.", subject=subject))
    if isinstance(value, (dict, list)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_depth_and_texts(item, subject, depth + 1)
    elif isinstance(value, str) and "\x00" in value:
        raise BadRequest(N_("%(subject)s must not contain U+0000.", subject=subject))
    elif isinstance(value, str) and _SURROGATE.search(value):
        raise BadRequest(N_("%(subject)s must not contain a lone surrogate.", subject=subject))
