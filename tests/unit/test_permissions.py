"""Permissions, without HTTP."""

import time
import uuid

import pytest

from app.auth.permissions import OWN_FIELDS, SETUP_ACTOR, SIGNED_OUT_ACTOR, Actor, system_actor
from app.errors import Forbidden
from app.models import ROLES

SELF, OTHER = uuid.uuid4(), uuid.uuid4()
FIELDS = ("username", "email", "name", "role", "active", "attributes.a", "password")


def signed_in(role: str) -> Actor:
    return Actor("session", SELF, role, authenticated_at=time.time())


def may(call, *args) -> bool:
    try:
        call(*args)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_all_permissions_of_lower_roles(role: str) -> None:
    assert [least for least in ROLES if signed_in(role).may(least)] == list(ROLES[: ROLES.index(role) + 1])


@pytest.mark.parametrize(
    ("role", "below"), [("member", ()), ("viewer", ()), ("editor", ("member", "viewer")), ("admin", ROLES)]
)
def test_an_actor_creates_and_changes_only_users_of_lower_roles(role: str, below: tuple[str, ...]) -> None:
    actor = signed_in(role)
    assert tuple(other for other in ROLES if may(actor.require_create, other)) == below
    if role in ("editor", "admin"):
        assert tuple(other for other in ROLES if may(actor.require_role_above, other)) == below


def test_only_administrators_and_unrestricted_actors_may_purge() -> None:
    actors = [*map(signed_in, ROLES), SIGNED_OUT_ACTOR, SETUP_ACTOR, system_actor("command")]
    allowed = [False, False, False, True, False, True, True]
    assert [actor.may_purge for actor in actors] == [may(actor.require_purge) for actor in actors] == allowed


@pytest.mark.parametrize("role", ROLES)
def test_a_user_changes_only_the_own_fields_of_the_own_record(role: str) -> None:
    changed = {field for field in FIELDS if may(signed_in(role).require_change, SELF, role, [field])}
    assert changed == (set(FIELDS) if role == "admin" else OWN_FIELDS)
    assert {"name", "email", "password"} == OWN_FIELDS


@pytest.mark.parametrize("role", ROLES)
def test_a_user_changes_only_own_attributes_named_in_the_settings(role: str) -> None:
    """Regression: members could change all of their own attributes."""
    named = ("city", "a.b")
    fields = (
        "attributes.city",
        "attributes.a.b",
        "attributes.a",
        "attributes.plan",
        "attributes.city.x",
        "attributes.",
    )
    changed = {field for field in fields if may(signed_in(role).require_change, SELF, role, [field], named)}
    assert changed == (set(fields) if role == "admin" else {"attributes.city", "attributes.a.b"})


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("age_s", [0, 290, 300, 3600])
def test_a_session_changes_sign_in_fields_only_soon_after_sign_in(role: str, age_s: int) -> None:
    """Regression: a session was enough, without the password."""
    actor = Actor("session", SELF, role, authenticated_at=time.time() - age_s)
    for field in ("email", "password", *(["username"] if role == "admin" else [])):
        assert may(actor.require_change, SELF, role, ["name", field]) == (age_s < 300), field
    assert may(actor.require_change, SELF, role, ["name"])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("full_scope", [True, False])
def test_a_token_does_not_change_how_its_user_signs_in(role: str, *, full_scope: bool) -> None:
    token = Actor("token", SELF, role, "t", full_scope=full_scope, authenticated_at=time.time())
    assert not any(may(token.require_change, SELF, role, [field]) for field in ("username", "email", "password"))
    assert may(token.require_change, OTHER, "member", ["email", "password"]) == (role in ("editor", "admin"))


@pytest.mark.parametrize(
    ("role", "other", "changed"),
    [
        ("member", "member", ()),
        ("viewer", "member", ()),
        ("editor", "member", set(FIELDS) - {"role"}),
        ("editor", "viewer", set(FIELDS) - {"role"}),
        ("editor", "editor", ()),
        ("editor", "admin", ()),
        ("admin", "admin", FIELDS),
    ],
)
def test_other_users_are_changed_only_by_higher_roles(role: str, other: str, changed: tuple[str, ...]) -> None:
    actor = signed_in(role)
    assert {field for field in FIELDS if may(actor.require_change, OTHER, other, [field])} == set(changed)
    assert may(actor.require_change, OTHER, other, []) == bool(changed)


def test_a_refusal_names_every_refused_field() -> None:
    with pytest.raises(Forbidden, match="active, role, username"):
        signed_in("member").require_change(SELF, "member", ["name", "role", "username", "active"])


@pytest.mark.parametrize("role", ROLES)
def test_a_token_of_a_lower_role_does_not_act_as_its_user(role: str) -> None:
    token = Actor("token", SELF, role, "t", full_scope=False)
    assert not token.owns(SELF)
    assert not may(token.require_change, SELF, "admin", ["name"]) or role == "admin"
    assert Actor("token", SELF, role, "t").owns(SELF)


def test_in_setup_mode_no_actor_owns_a_record() -> None:
    assert not SETUP_ACTOR.owns(SELF)
    assert not Actor("session", None, "member").owns(SELF)


@pytest.mark.parametrize("actor", [SETUP_ACTOR, system_actor("flask users create")])
def test_setup_mode_and_commands_are_not_restricted(actor: Actor) -> None:
    assert all(actor.may(role) for role in ROLES)
    assert all(may(actor.require_create, role) for role in ROLES)
    assert all(may(actor.require_change, OTHER, role, FIELDS) for role in ROLES)


def test_the_history_identifies_an_actor_only_by_ids() -> None:
    assert SETUP_ACTOR.label is None
    assert system_actor("flask users create").label == "flask users create"
    assert Actor("session", SELF, "member", "digest-of-a-cookie").label == f"user:{SELF}"
    assert Actor("token", SELF, "member", "token-id").label == f"token:token-id user:{SELF}"
