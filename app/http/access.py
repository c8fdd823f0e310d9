"""Authentication and authorization of requests. Default deny.

Rules that depend on the user concerned (an editor may not change an administrator) are in auth.permissions.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace

from flask import Flask, Request
from flask.globals import request_ctx

from app.auth.permissions import SETUP_ACTOR, Actor, AuditContext
from app.auth.schemas import SignIn
from app.auth.session_store import Session
from app.auth.sessions import SESSION_ENDED
from app.errors import N_, BadRequest, Forbidden, Unauthorized, Unavailable
from app.http.context import REQUEST_ERROR, context
from app.http.csrf import SAFE, check_host, check_origin, is_same_origin
from app.http.parsing import SESSION_COOKIE, cookie_values, user_id_of
from app.http.services import services
from app.ops.service_state import Phase
from app.types import ROLE_NAMES, Role

_AGENT_CHARACTERS = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_COOKIES = 8
"""Session cookies that are tried; each is read from Redis."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The condition on the actor of a route.

    min_role: the lowest role that is allowed. allow_owner: the owner of the record is allowed, too. public: no
    credential is needed. rechecked_on_write: the statement that writes checks the token again
    (auth.tokens.token_guard), so a cached authentication is enough before it. while_starting: it is allowed before the
    database is migrated.
    """

    min_role: Role | None = None
    allow_owner: bool = False
    public: bool = False
    rechecked_on_write: bool = False
    while_starting: bool = False


PUBLIC = Rule(public=True)
HEALTH = Rule(public=True, while_starting=True)
SIGNED_IN = Rule(min_role="member")
NO_RULE = Rule()
"""For routes without a rule, such as the one that the exercise adds: allowed in setup mode, then refused."""

RULES: dict[str, Rule] = {
    "health.report": HEALTH,
    "health.live": HEALTH,
    "health.ready": HEALTH,
    "docs.openapi": PUBLIC,
    "docs.page": PUBLIC,
    "docs.asset": PUBLIC,
    "console_assets.show": PUBLIC,
    "console_language.set_language": PUBLIC,
    "console_setup.show": PUBLIC,
    "console_setup.create_first_admin": PUBLIC,
    "console_account.sign_in_form": PUBLIC,
    "console_account.sign_in": PUBLIC,
    "console_account.sign_out": SIGNED_IN,
    "console_account.profile": SIGNED_IN,
    "console_account.password_form": SIGNED_IN,
    "console_account.change_password": SIGNED_IN,
    "console_dashboard.show": SIGNED_IN,
    "console_dashboard.health": PUBLIC,
    "console_tokens.index": Rule("admin"),
    "console_tokens.create": Rule("admin"),
    "console_tokens.revoke": Rule("admin"),
    "console_users.index": Rule("viewer"),
    "console_users.bulk_update": Rule("editor"),
    "console_user.new": Rule("editor"),
    "console_user.create": Rule("editor"),
    "console_user.show": Rule("viewer", allow_owner=True),
    "console_user.update": Rule("editor", allow_owner=True),
    "console_user.delete": Rule("editor"),
    "console_user.restore": Rule("editor"),
    "console_user.purge": Rule("admin"),
    "console_user.unlock": Rule("admin"),
    "console_user.end_session": Rule("admin", allow_owner=True),
    "session.create": PUBLIC,
    "session.get": SIGNED_IN,
    "session.delete": SIGNED_IN,
    "me.get": SIGNED_IN,
    "me.update": Rule("member", rechecked_on_write=True),
    "me.change_password": SIGNED_IN,
    "me.list_sessions": SIGNED_IN,
    "me.revoke_sessions": SIGNED_IN,
    "me.revoke_session": SIGNED_IN,
    "users.list_users": Rule("viewer"),
    "users.create": Rule("editor", rechecked_on_write=True),
    "users.get": Rule("viewer", allow_owner=True),
    "users.replace": Rule("editor", allow_owner=True),
    "users.update": Rule("editor", allow_owner=True, rechecked_on_write=True),
    "users.delete": Rule("editor"),
    "users.restore": Rule("editor"),
    "users.list_history": Rule("viewer"),
    "sessions.list_sessions": Rule("admin", allow_owner=True),
    "sessions.revoke_all": Rule("admin", allow_owner=True),
    "sessions.revoke": Rule("admin", allow_owner=True),
    "sessions.unlock": Rule("admin"),
    "tokens.list_tokens": Rule("admin"),
    "tokens.create": Rule("admin"),
    "tokens.revoke": Rule("admin"),
}
"""Endpoint to rule; `root_` endpoints are the same routes at the root. A route that is not listed has NO_RULE."""


def install_access(app: Flask) -> None:
    """Authenticate and authorize each request of `app` before its view runs."""
    app.before_request(_authorize)


def actor() -> Actor:
    """The actor of the current request."""
    return context().actor


def audit_context() -> AuditContext:
    """The actor of the current request, and where the request comes from."""
    environ, current = request_ctx.request.environ, context()
    agent = environ.get("HTTP_USER_AGENT")
    return AuditContext(
        actor=current.actor,
        address=environ.get("REMOTE_ADDR"),
        agent=_CONTROL.sub("", agent)[:_AGENT_CHARACTERS] if agent else None,
        request_id=current.request_id,
    )


def session() -> Session | None:
    """The session of the current request, if it came with one."""
    return context().session


def keep_cookie(secret: str) -> None:
    """Set the session cookie in the response of the current request."""
    context().cookie = secret


def sign_in(offered: SignIn) -> Session:
    """Sign in: the response of the current request sets a cookie, and the session of the request ends.

    Raises: Unauthorized, RateLimited, Unavailable
    """
    secret, begun = services().login.sign_in(offered, audit_context())
    for earlier in cookie_values(request_ctx.request.environ, SESSION_COOKIE)[:_MAX_COOKIES]:
        services().sessions.discard(earlier)
    keep_cookie(secret)
    return begun


def drop_cookie() -> None:
    """Delete the session cookie in the response of the current request."""
    context().cookie = ""


def _authorize() -> None:
    """Check the current request before its view: phase, host, credential, origin, role and rate limit, in this order.

    Raises: Unavailable, Unauthorized, Forbidden, NotFound, RateLimited, and errors that were found before Flask
    """
    request, current = request_ctx.request, context()
    state = services().state
    current.route = request.url_rule.rule if request.url_rule is not None else None
    if REQUEST_ERROR in request.environ:
        raise request.environ[REQUEST_ERROR]
    if not request.host:
        raise BadRequest(N_("The Host header is malformed."))
    host: str = request.environ.get("HTTP_HOST", "")
    rule = RULES.get((request.endpoint or "").removeprefix("root_"), NO_RULE)
    if state.phase == Phase.STARTING and not rule.while_starting:
        raise Unavailable(N_("The service is starting. Try again shortly."))
    is_public = request.url_rule is None or request.method == "OPTIONS" or rule.public
    # Health checks work without PostgreSQL: a public route only uses what is known already.
    in_setup_mode = not state.is_secured and (is_public or not services().admins.is_secured())
    if in_setup_mode:
        current.actor = SETUP_ACTOR
        check_host(host, services().settings.allowed_hosts)
    if not is_public:
        _authenticate(request, rule, in_setup_mode=in_setup_mode)
    is_unsafe = request.method not in SAFE
    # A browser adds other credentials, such as Basic, to requests of any page. It never adds a token.
    if is_unsafe and current.actor.kind != "token":
        _require_own_origin(request, host)
    if not is_public:
        _require(request, rule)
        if is_unsafe and not current.actor.unrestricted:
            current.quota = services().rate_limits.count_write(current.actor.credential_id or "")


def _authenticate(request: Request, rule: Rule, *, in_setup_mode: bool) -> None:
    """Set the actor of the request from its credential. Raises: Unauthorized, Unavailable"""
    current = context()
    # Other schemes than Bearer, such as Basic for a proxy, are ignored.
    scheme, _, secret = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    token = secret.strip() if scheme.lower() == "bearer" else None
    cookies = cookie_values(request.environ, SESSION_COOKIE) if "HTTP_COOKIE" in request.environ else []
    if token is not None and cookies and not in_setup_mode:
        raise Unauthorized(N_("The request has two credentials, a cookie and Authorization. Send only one."))
    if token is not None:
        # A request that may change something is authenticated by PostgreSQL, not by the cache.
        uncached = request.method not in SAFE and not rule.rechecked_on_write
        current.actor = services().tokens.authenticate(token, uncached=uncached)
    elif cookies:
        try:
            _resume_session(request, cookies)
        except (Unauthorized, Unavailable):
            if not in_setup_mode:
                raise
    elif not in_setup_mode:
        raise Unauthorized(N_("Sign in, or send an API token as `Authorization: Bearer`."))
    if in_setup_mode:
        current.actor = replace(current.actor, unrestricted=True, first_admin_only=True)


def _resume_session(request: Request, cookies: list[str]) -> None:
    """Set the session from the first valid cookie: other hosts of the same site can set cookies of this name as well.

    Raises: Unauthorized (there is none), Unavailable
    """
    current, uncached = context(), request.method not in SAFE
    audit = audit_context()
    for cookie in list(dict.fromkeys(cookies))[:_MAX_COOKIES]:
        with suppress(Unauthorized):
            current.session, current.cookie = services().sessions.resume(cookie, audit, uncached=uncached)
            current.actor = current.session.actor
            return
    drop_cookie()
    raise Unauthorized(SESSION_ENDED)


def _require_own_origin(request: Request, host: str) -> None:
    """Require that no page of another site sends the request, and that a session proves it. Raises: Forbidden"""
    check_origin(request.scheme, host, request.headers)
    if context().session is not None and not is_same_origin(request.scheme, host, request.headers):
        raise Forbidden(N_("A write with a session cookie requires the header Sec-Fetch-Site or Origin."))


def _require(request: Request, rule: Rule) -> None:
    """Raises: Forbidden, NotFound (the id is malformed)"""
    current = context()
    if current.actor.unrestricted or (rule.min_role is not None and current.actor.may(rule.min_role)):
        return
    if rule.allow_owner and current.actor.owns(user_id_of((request.view_args or {})["user_id"])):
        current.is_owner = True
        return
    if rule.min_role is None:
        raise Forbidden(N_("This operation is not allowed."))
    min_role = ROLE_NAMES[rule.min_role]
    if rule.allow_owner:
        raise Forbidden(N_("This requires the role %(role)s, or that the record is your own.", role=min_role))
    raise Forbidden(N_("This requires the role %(role)s.", role=min_role))
