"""Declarations that exist in several places agree."""

import re
import typing
from pathlib import Path

from app import models
from app.config import Settings
from app.models import ROLES, SORT_KEYS, user_json
from app.schemas import READ_ONLY, ListQuery, User, UserDraft, UserPatch, UserReplacement
from app.users import rows
from tests.support.api_client import SORTS

PRIVATE = {"session_epoch", "username_key", "email_key", "name_key", "password_hash", "search_vector"}
COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
WRITABLE = set(User.model_fields) - set(READ_ONLY)


def test_the_user_schema_has_every_public_column() -> None:
    columns = set(models.User.__table__.columns.keys())
    assert set(User.model_fields) == columns - PRIVATE
    assert columns >= PRIVATE


def test_the_json_of_a_user_has_every_public_column() -> None:
    trashed, living = (
        re.findall(r"u\.(\w+)", re.sub(r"to_char\(.*?\) AS ", "u.", user_json(trashed=trashed)))
        for trashed in (True, False)
    )
    assert trashed == list(User.model_fields)
    # Who lives has no moment of deletion, and it is not shown as null.
    assert living == [name for name in User.model_fields if name != "deleted_at"]


def test_writable_fields_are_the_public_fields_without_read_only_fields_and_with_the_password() -> None:
    assert set(UserDraft.model_fields) == WRITABLE | {"password"}
    proven = WRITABLE | {"password", "current_password"}
    assert set(UserReplacement.model_fields) == set(UserPatch.model_fields) == proven


def test_the_history_records_every_writable_field() -> None:
    changes = rows.diff({}, {**dict.fromkeys(WRITABLE, "new"), "attributes": {"key": "new"}})
    assert {change["field"].partition(".")[0] for change in changes} == WRITABLE


def test_the_dictionary_of_the_exercise_has_every_public_field() -> None:
    user = models.User(**dict.fromkeys(models.User.__table__.columns.keys()))
    moment = type("Moment", (), {"isoformat": lambda _: "now"})()
    user.created_at = user.updated_at = moment
    assert user.to_dict().keys() == User.model_fields.keys() - {"deleted_at"}


def test_every_sort_has_a_key_and_indexes() -> None:
    offered = typing.get_args(ListQuery.model_fields["sort"].annotation)
    assert set(offered) == set(SORTS) == {sign + sort for sign in ("", "-") for sort in SORT_KEYS}
    indexes = {index.name for index in models.User.__table__.indexes}
    assert {f"users_{half}_by_{sort}" for half in ("live", "trash") for sort in SORT_KEYS} <= indexes


def test_all_declarations_list_the_same_roles() -> None:
    assert tuple(UserDraft.model_json_schema()["$defs"]["Role"]["enum"]) == ROLES
    (check,) = [c for c in models.User.__table__.constraints if c.name == "users_role_check"]
    assert all(f"'{role}'" in str(check.sqltext) for role in ROLES)


def test_the_compose_file_passes_every_setting_that_it_does_not_set() -> None:
    decided = {"redis_url", "redis_port", "listen_address", "port"}
    web = COMPOSE.read_text().partition("\n  web:\n")[2].partition("\n  db:\n")[0]
    passed = {name.lower() for name in re.findall(r"^ {6}([A-Z_]+):", web, re.MULTILINE)}
    # The service refuses these, and names the new ones.
    old_names = {"bind_address", "start_timeout_s", "write_limit"}
    # OpenTelemetry's library reads its other variables itself.
    of_library = {name for name in passed - Settings.model_fields.keys() if name.startswith("otel_")}
    assert passed - of_library == (Settings.model_fields.keys() - decided) | old_names
