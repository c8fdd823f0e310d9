"""Parses request bodies and query strings strictly: unknown and repeated names are errors."""

import difflib
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.errors import N_, BadRequest, FieldError, Message, NotFound, ValidationFailed
from app.http.strict_json import parse_json
from app.schemas import READ_ONLY, UserDraft, UserPatch, UserReplacement
from app.validation_messages import message_of

JSON_TYPES = ("application/json",)
PATCH_TYPES = ("application/merge-patch+json", "application/json")

_ANY_LENGTH = 2**62
_NO_SUCH_USER, _NO_SUCH_TOKEN = N_("There is no such user."), N_("There is no such token.")
_SHOWN_CHARACTERS = 50
_ATTRIBUTE = "attributes."
_DEEP_OBJECT = "attributes["
"""OpenAPI's style deepObject: attributes[plan]=pro."""
Model = TypeVar("Model", bound=BaseModel)


def read_body(request: Request, model: type[Model]) -> Model:
    """The body as `model`. Raises: BadRequest, ValidationFailed, UnsupportedMediaType, RequestEntityTooLarge"""
    return as_model(read_json(request, PATCH_TYPES if request.method == "PATCH" else JSON_TYPES), model)


def as_model(document: Any, model: type[Model]) -> Model:
    """A body as `model`. Raises: ValidationFailed"""
    if not isinstance(document, dict):
        raise ValidationFailed([FieldError("body", N_("must be a JSON object"))])
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
    """The body. A body whose Content-Length is too large is not read. Raises: RequestEntityTooLarge"""
    if (request.content_length or 0) > most_bytes:
        raise RequestEntityTooLarge
    # Werkzeug silently cuts a body without Content-Length at the limit: one byte more reveals that.
    request.max_content_length = most_bytes + 1
    body = request.get_data(cache=False)
    if len(body) > most_bytes:
        raise RequestEntityTooLarge
    return body


def read_query(request: Request, model: type[Model]) -> Model:
    """The query string as `model`. Raises: BadRequest (unknown or repeated names, bad encoding), ValidationFailed"""
    return read_pairs(query_pairs(request.query_string), model)


def read_pairs(pairs: Iterable[tuple[str, str]], model: type[Model]) -> Model:
    """Names and values of a query string as `model`.

    Raises: BadRequest (unknown or repeated names), ValidationFailed
    """
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
            raise BadRequest(_unknown(name, known), name)
        if key in target:
            raise BadRequest(N_("The query parameter %(name)s is given twice.", name=repr(_shown(name))), name)
        target[key] = value
    return validated(model, {**values, "attributes": attributes} if attributes else values)


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """A query string in order, as application/x-www-form-urlencoded. Raises: BadRequest"""
    pairs = []
    for part in filter(None, query.split(b"&")):
        name, _, value = part.partition(b"=")
        try:
            pair = tuple(unquote_to_bytes(piece.replace(b"+", b" ")).decode("utf-8") for piece in (name, value))
        except UnicodeDecodeError:
            raise BadRequest(N_("The query string is not UTF-8.")) from None
        if "\x00" in pair[0] or "\x00" in pair[1]:
            raise BadRequest(N_("The query string must not contain U+0000."))
        pairs.append((pair[0], pair[1]))
    return pairs


def user_id_of(text: str) -> uuid.UUID:
    """A user id in canonical form. Raises: NotFound, if it is malformed"""
    return _id_of(text, _NO_SUCH_USER)


def token_id_of(text: str) -> uuid.UUID:
    """A token id in canonical form. Raises: NotFound, if it is malformed"""
    return _id_of(text, _NO_SUCH_TOKEN)


def _id_of(text: str, message: Message) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        raise NotFound(message) from None
    if str(found) != text.lower():
        raise NotFound(message)
    return found


def validated(model: type[Model], values: object) -> Model:
    """`values` as `model`. Raises: ValidationFailed, with every bad field at once."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValidationFailed(
            [
                FieldError(".".join(str(part) for part in field_error["loc"]) or "body", message_of(field_error))
                for field_error in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _ignored(model: type[BaseModel]) -> frozenset[str]:
    """Fields that GET returns and writes ignore."""
    return frozenset(READ_ONLY) if model in (UserDraft, UserReplacement, UserPatch) else frozenset()


def _unknown(name: str, known: list[str]) -> Message:
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
