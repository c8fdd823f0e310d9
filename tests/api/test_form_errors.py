"""Each form of the console answers each error with the status and the headers of the API."""

from typing import Any

import pytest
from flask import Flask

from app import errors
from app.errors import Message, Quota
from app.http.problems import STATUSES
from app.http.services import services_of
from tests.support.api_client import ApiClient
from tests.support.console_client import PASSWORD
from tests.support.secured_app import SAME_ORIGIN, SecuredApp

_SENTENCE = Message("A test refuses this.")
_QUOTA = Quota("attempts", 5, 60, 0, 42)
_ERRORS = {
    errors.BadRequest(_SENTENCE): 400,
    errors.Unauthorized(_SENTENCE): 401,
    errors.Forbidden(_SENTENCE): 403,
    errors.PasswordRequired(): 403,
    errors.NotFound(_SENTENCE): 404,
    errors.AlreadyTaken("email"): 409,
    errors.Conflict(_SENTENCE): 409,
    errors.VersionConflict(_SENTENCE): 412,
    errors.ValidationFailed([errors.FieldError("name", _SENTENCE)]): 422,
    errors.IdempotencyKeyReused(_SENTENCE): 422,
    errors.RateLimited(_SENTENCE, _QUOTA): 429,
    errors.Unavailable(_SENTENCE): 503,
    errors.Busy(_SENTENCE): 503,
}
_RETRY_AFTER = {errors.RateLimited: "42", errors.Unavailable: "1", errors.Busy: "1"}

_USER = {"name": "Ada", "username": "ada", "role": "member", "active": "on", "attributes": "{}", "version": "1"}
_FORMS: dict[str, tuple[dict[str, str], str, str]] = {
    "/sign-in": ({"username": "ada", "password": PASSWORD}, "login", "sign_in"),
    "/password": ({"current_password": PASSWORD, "new_password": "another horse"}, "users", "set_own_password"),
    "/people/new": (_USER, "users", "create"),
    "/people/{id}": (_USER, "users", "replace"),
    "/people/{id}/delete": ({}, "users", "delete"),
    "/people/{deleted_id}/restore": ({}, "users", "restore"),
    "/people/{id}/purge": ({"confirmed": "1"}, "users", "purge"),
    "/people/{id}/unlock": ({}, "login", "unlock"),
    "/people/{id}/sessions/1/end": ({}, "sessions", "revoke"),
    "/people/bulk": ({"action": "delete", "all": "1", "expected": "1"}, "bulk", "apply"),
    "/api-tokens": ({"name": "a program", "role": "viewer", "days": "90"}, "tokens", "create"),
    "/api-tokens/{id}/revoke": ({}, "tokens", "revoke"),
}
"""By path: the fields of a form, and the service and its command that the form runs."""
_OTHER_STATUSES = {
    # The page shows both values of each field.
    ("/people/{id}", errors.VersionConflict): 409,
    # The form may have been sent twice.
    ("/people/{id}/delete", errors.NotFound): 303,
}


def _raising(error: Exception) -> Any:
    def command(*_: object, **__: object) -> None:
        raise error

    return command


def test_each_error_of_the_domain_is_tried() -> None:
    assert {type(error) for error in _ERRORS} == STATUSES.keys()


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("path", _FORMS)
def test_a_form_has_the_status_and_the_headers_of_its_error(
    secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch, path: str, error: errors.DomainError
) -> None:
    fields, service, command = _FORMS[path]
    client, deleted_id = secured_app.admin, secured_app.create_user()["id"]
    client.delete(f"/users/{deleted_id}")
    monkeypatch.setattr(getattr(services_of(secured_app.app), service), command, _raising(error))
    headers = SAME_ORIGIN if path == "/sign-in" else client.headers
    response = client.flask_client.post(path.format(id=client.id, deleted_id=deleted_id), data=fields, headers=headers)
    assert response.status_code == _OTHER_STATUSES.get((path, type(error)), _ERRORS[error])
    assert response.headers.get("Retry-After") == _RETRY_AFTER.get(type(error))


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
def test_the_form_of_the_first_administrator_has_them_too(
    app: Flask, api: ApiClient, monkeypatch: pytest.MonkeyPatch, error: errors.DomainError
) -> None:
    assert api.get("/users").json == []
    monkeypatch.setattr(services_of(app).bootstrap_admin, "create", _raising(error))
    form = {"email": "ada@example.org", "password": PASSWORD}
    response = app.test_client().post("/first", data=form, headers=SAME_ORIGIN)
    # After a conflict there is an administrator, and the page leads to the sign-in.
    assert response.status_code == (303 if type(error) is errors.Conflict else _ERRORS[error])
    assert response.headers.get("Retry-After") == _RETRY_AFTER.get(type(error))
