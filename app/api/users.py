"""/api/users: list, create, get, replace, update, delete, restore, history."""

from urllib.parse import quote, urlencode

from flask import Response, request, url_for
from pydantic import BaseModel, Field, RootModel

from app.api.declarations import (
    JSON,
    ReadHeader,
    StrictBlueprint,
    UserPath,
    WriteHeader,
    problems,
    user_response,
)
from app.cache.generations import USERS_KEY, user_key
from app.errors import N_, BadRequest
from app.http.access import audit_context
from app.http.parsing import query_pairs
from app.http.response_cache import cacheable
from app.http.services import services
from app.schemas import DeleteQuery, HistoryEntry, HistoryQuery, ListQuery, User, UserDraft, UserPatch, UserReplacement
from app.search.pages import Page

_KEY_CHARACTERS = 255


class UserList(RootModel[list[User]]):
    """A page of users."""


class HistoryList(RootModel[list[HistoryEntry]]):
    """A page of the history, newest first."""


class ListHeader(BaseModel):
    """Headers of a list."""

    prefer: str | None = Field(default=None, alias="Prefer", description="count=exact or count=estimated")


class CreateHeader(BaseModel):
    """Headers of POST."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        description="a repeated request with the same key creates no second user",
        json_schema_extra={"minLength": 1, "maxLength": _KEY_CHARACTERS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    )


_ONE = problems(404)
_BODY = problems(413, 415, 422)
_WRITE = problems(409, 412)
blueprint = StrictBlueprint(
    "users",
    "Create, get, search, update, delete and restore users; the history of each user.",
    problems(400, 401, 403, 429, 503),
)


@blueprint.get("/users", operation_id="listUsers", responses={200: UserList, **problems(422)})
def list_users(query: ListQuery, header: ListHeader) -> Response:
    """List, search and filter users

    Keyset pages: follow `Link: <...>; rel="next"` until it is missing. A page may have fewer users than `limit`
    and still have a next page. Each additional parameter `attributes.<key>=<text>` is an exact filter.
    """
    response = _page_response(services().user_pages.page(query))
    preferred = _count_preference(header.prefer)
    if preferred:
        user_pages = services().user_pages
        total = user_pages.count(query) if preferred == "exact" else user_pages.estimate(query)
        response.headers["X-Total-Count"] = str(total)
        response.headers["Preference-Applied"] = f"count={preferred}"
    return cacheable(response, USERS_KEY)


@blueprint.post("/users", operation_id="createUser", responses={201: User, **_BODY, **_WRITE})
def create(body: UserDraft, header: CreateHeader) -> Response:
    """Create a user

    `email` or `username` is required. Other fields have defaults.
    """
    key = header.idempotency_key
    if key is not None and not (0 < len(key) <= _KEY_CHARACTERS and key.isascii() and key.isprintable()):
        raise BadRequest(N_("Idempotency-Key must be 1 to 255 printable ASCII characters."), "Idempotency-Key")
    document, user_id, is_replayed = services().users.create(body, audit_context(), key)
    response = user_response(document, 201)
    response.headers["Location"] = f"{_path().rstrip('/')}/{user_id}"
    if is_replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@blueprint.get("/users/<user_id>", operation_id="getUser", responses={200: User, 304: None, **_ONE})
def get(path: UserPath, header: ReadHeader) -> Response:
    """Get a user

    The ETag is the version of the user.
    """
    response = user_response(services().user_reads.get(path.user_id), header=header)
    return cacheable(response, user_key(path.user_id))


@blueprint.put(
    "/users/<user_id>", operation_id="replaceUser", responses={200: User, 201: User, **_ONE, **_BODY, **_WRITE}
)
def replace(path: UserPath, body: UserReplacement, header: WriteHeader) -> Response:
    """Replace a user, or create a user with this id

    Full replacement: missing fields get their defaults. Without a password the password stays.
    """
    document, is_new = services().users.replace(path.user_id, body, header.allows, audit_context())
    response = user_response(document, 201 if is_new else 200)
    if is_new:
        response.headers["Location"] = url_for(".get", user_id=path.user_id)
    return response


@blueprint.patch("/users/<user_id>", operation_id="updateUser", responses={200: User, **_ONE, **_BODY, **_WRITE})
def update(path: UserPath, body: UserPatch, header: WriteHeader) -> Response:
    """Update fields of a user

    JSON merge patch (RFC 7396): missing fields stay, null sets the default.
    """
    return user_response(services().users.update(path.user_id, body, header.allows, audit_context()))


@blueprint.delete(
    "/users/<user_id>", operation_id="deleteUser", responses={204: None, **_ONE, **_WRITE, **problems(422)}
)
def delete(path: UserPath, query: DeleteQuery, header: WriteHeader) -> Response:
    """Delete a user

    Moves the user to the trash. `purge=true` deletes an active or deleted user permanently.
    """
    users = services().users
    command = users.purge if query.purge else users.delete
    command(path.user_id, header.allows, audit_context())
    return Response(status=204)


@blueprint.post("/users/<user_id>/restore", operation_id="restoreUser", responses={200: User, **_ONE, **_WRITE})
def restore(path: UserPath, header: WriteHeader) -> Response:
    """Restore a user from the trash

    409 if another user has its username or email now.
    """
    return user_response(services().users.restore(path.user_id, header.allows, audit_context()))


@blueprint.get(
    "/users/<user_id>/history", operation_id="getUserHistory", responses={200: HistoryList, **_ONE, **problems(422)}
)
def list_history(path: UserPath, query: HistoryQuery) -> Response:
    """List the history of a user

    Newest first. Deleted users have a history, too. The history of a purged user has no values. If the service has
    HISTORY_DAYS, older entries are deleted: the oldest entry is then not `created`.
    """
    return _page_response(services().history.page(path.user_id, query.limit, query.cursor))


def _page_response(page: Page) -> Response:
    """A page with links to the first, the previous and the next page (RFC 8288)."""
    response = Response(page.body, content_type=JSON)
    response.headers["Cache-Control"] = "private, no-cache"
    url = f"{request.scheme}://{request.host}{_path()}"
    others = [pair for pair in query_pairs(request.query_string) if pair[0] != "cursor"]
    # An empty cursor stands for the first page.
    for relation, cursor in (("first", ""), ("prev", page.previous_cursor), ("next", page.next_cursor)):
        if cursor is not None:
            query = urlencode([*others, ("cursor", cursor)] if cursor else others)
            response.headers.add("Link", f'<{url}{"?" if query else ""}{query}>; rel="{relation}"')
    return response


def _path() -> str:
    """The path of the request. Cheaper than `url_for`, and than `request.base_url`, which decodes it again."""
    return quote(request.root_path + request.path)


def _count_preference(prefer: str | None) -> str | None:
    """`exact` or `estimated`, from Prefer (RFC 7240). Other preferences are ignored, as the RFC requires."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        if name.strip().lower() == "count" and value.strip().strip('"') in ("exact", "estimated"):
            return value.strip().strip('"')
    return None
