"""Errors: an HTML page for browsers, problem details for programs."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.http.services import services_of
from app.ops.service_state import Phase
from app.search.pages import UserPages
from tests.support.api_client import ApiClient
from tests.support.console_client import SAME_ORIGIN, send
from tests.support.secured_app import SecuredApp

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
FRENCH = {**BROWSER, "Accept-Language": "fr"}
UNKNOWN = ["/nowhere", "/people/x/y/z", "/%ff", "/%00", "/people//x", "/apis", "/index.php"]
RAW = [
    "problem",
    "Traceback",
    "input should",
    "Input should",
    "query parameter",
    "UTF-8",
    "pydantic",
    "URL was not found",
]


def require_page(response: TestResponse, status: int, sentence: str = "") -> None:
    """A page of ours that says something to a reader, and leads back."""
    assert response.status_code == status, response.text
    assert response.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Request-ID"]
    main = response.text.partition("<main")[2].partition("</main>")[0]
    assert "<a " in main
    assert sentence in main.replace("&#39;", "'"), main
    assert not [word for word in RAW if word in main]


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_address_is_a_page_for_a_browser(admin: FlaskClient, app: Flask, path: str) -> None:
    """With a session and without. Regression: it was JSON."""
    for browser in (admin, app.test_client()):
        require_page(browser.get(path, headers=BROWSER), 404, "This page does not exist.")
        require_page(browser.get(path, headers=FRENCH), 404, "Cette page n")
        require_page(browser.post(path, headers={**BROWSER, **SAME_ORIGIN}), 404, "This page does not exist.")
        assert browser.head(path, headers=BROWSER).data == b""


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "application/problem+json, text/html;q=0.9", "image/png"]
)
@pytest.mark.parametrize("path", UNKNOWN)
def test_a_program_gets_problem_details(api: ApiClient, path: str, accept: str | None) -> None:
    """Only a client that prefers HTML gets HTML."""
    response = api.flask_client.get(path, headers={"Accept": accept} if accept else {})
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nowhere", "/api/users/x", "/api/users?x=1", "/api/docs/nowhere"]
)
def test_below_api_errors_are_always_problem_details(admin: FlaskClient, path: str) -> None:
    """The contract has no HTML in the API."""
    response = admin.get(path, headers=BROWSER)
    assert response.status_code in (400, 404)
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("path", ["/sign-out", "/language", "/first"])
def test_an_address_of_forms_is_a_page_with_a_way_back(admin: FlaskClient, path: str) -> None:
    """A reload of the address of a form sends GET, which is 405."""
    response = admin.get(path, headers=BROWSER)
    require_page(response, 405, "This address has no page.")
    assert "POST" in response.headers["Allow"]
    require_page(admin.get(path, headers=FRENCH), 405, "a pas de page.")
    assert admin.get(path).mimetype == "application/problem+json"


def test_the_exercises_addresses_are_json_and_their_errors_pages(admin: FlaskClient, app: Flask) -> None:
    """`/users` in a browser is the list as JSON. Without a session it redirects to sign-in."""
    assert admin.get("/users", headers=BROWSER).mimetype == "application/json"
    require_page(admin.get("/users/x", headers=BROWSER), 404)
    require_page(admin.get("/users?xyzzy=1", headers=BROWSER), 400)
    require_page(admin.get("/users?limit=x", headers=BROWSER), 422)
    require_page(admin.delete("/users", headers={**BROWSER, **SAME_ORIGIN}), 405)
    anonymous = app.test_client()
    assert anonymous.get("/users?limit=3", headers=BROWSER).location == "/sign-in?next=%2Fusers%3Flimit%3D3"
    assert anonymous.get("/users").mimetype == "application/problem+json"


def test_what_the_role_does_not_allow_is_a_page(sign_in: Callable[[str], FlaskClient]) -> None:
    """403, of the console and of what is no page."""
    member = sign_in("member")
    for path in ("/people", "/api-tokens", "/users"):
        require_page(member.get(path, headers=BROWSER), 403)


def test_a_form_of_another_site_is_refused_with_a_page(admin: FlaskClient, app: Flask) -> None:
    """403 before anything is known of the address."""
    for browser in (admin, app.test_client()):
        for path in ("/sign-in", "/language", "/nowhere"):
            require_page(browser.post(path, headers={**BROWSER, "Origin": "http://evil.example"}), 403)


def test_a_host_that_is_not_local_is_refused_with_a_page(api: ApiClient) -> None:
    """403 in setup mode."""
    for path in ("/", "/people", "/nowhere"):
        require_page(api.flask_client.get(path, headers={**BROWSER, "Host": "evil.example"}), 403)


def test_an_internal_error_is_a_page_with_the_request_id(admin: FlaskClient, monkeypatch: Any) -> None:
    """500."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(UserPages, "page", fail)
    for path in ("/people", "/users"):
        response = admin.get(path, headers=BROWSER)
        require_page(response, 500, response.headers["X-Request-ID"])
        assert "secret" not in response.text
    assert admin.get("/api/users", headers=BROWSER).mimetype == "application/problem+json"


def test_a_service_that_starts_is_a_page_that_says_when_to_come_back(api: ApiClient, app: Flask) -> None:
    """503, whose pages had no Retry-After."""
    state = services_of(app).state
    earlier, state.phase = state.phase, Phase.STARTING
    try:
        for path in ("/people", "/nowhere", "/users"):
            response = api.flask_client.get(path, headers=BROWSER)
            require_page(response, 503, "The service is starting.")
            assert response.headers["Retry-After"] == "1"
    finally:
        state.phase = earlier


@pytest.mark.parametrize(
    ("query", "english", "french"),
    [
        (
            "xyzzy=1",
            "This address has invalid parameters: 'xyzzy'.",
            "paramètres non valides\u00a0: 'xyzzy'.",
        ),
        (
            "limit=x",
            "This address has invalid parameters: 'limit'.",
            "paramètres non valides\u00a0: 'limit'.",
        ),
        ("limit=0&sort=x", "'limit, sort'.", "'limit, sort'."),
        ("role=king", "'role'.", "'role'."),
        ("active=maybe", "'active'.", "'active'."),
        ("created_after=yesterday", "'created_after'.", "'created_after'."),
        ("cursor=nonsense", "'cursor'.", "'cursor'."),
        ("q=a&q=b", "'q'.", "'q'."),
        (f"q={'x' * 300}", "'q'.", "'q'."),
        ("it%27s=1", "'its'.", "'its'."),
        (f"{'x' * 300}=1", f"'{'x' * 50}'.", f"'{'x' * 50}'."),
        ("<b>=1", "'&lt;b&gt;'.", "'&lt;b&gt;'."),
        ("q=%ff", "This address is not valid.", "est pas valide."),
        ("%ff=x", "This address is not valid.", "est pas valide."),
        ("q=%00", "This address is not valid.", "est pas valide."),
    ],
)
def test_a_page_explains_an_invalid_list_query(admin: FlaskClient, query: str, english: str, french: str) -> None:
    """It was the text of a validator, and English in French pages."""
    for headers, sentence in ((BROWSER, english), (FRENCH, french)):
        require_page(admin.get(f"/people?{query}", headers=headers), 422, sentence)
    part = admin.get(f"/people?{query}", headers={**BROWSER, "HX-Request-Type": "partial"})
    assert english in part.text.replace("&#39;", "'")


def test_a_page_explains_an_invalid_history_query(admin: FlaskClient, api: ApiClient) -> None:
    """The history of a user has pages, too."""
    path = f"/people/{admin.get('/api/me').json['id']}"
    require_page(admin.get(f"{path}?before=nonsense", headers=BROWSER), 400, "This address has invalid parameters")
    for query in ("x=1", "done=%ff", "%ff=%ff", "done=" + "x" * 5000):
        assert admin.get(f"{path}?{query}", headers=BROWSER).status_code == 200
        assert api.flask_client.get(f"/sign-in?next=%ff&{query}", headers=BROWSER).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"action": "delete"},
        {"action": "nonsense"},
        {"action": "role", "role": "king", "all": "1"},
        {"action": "delete", "all": "1", "query": "limit=x"},
        {"action": "delete", "all": "1", "query": "\udcff"},
        {"action": "delete", "all": "1", "expected": "many"},
        {"action": "restore", "deleted_at": "yesterday"},
        {"action": "restore", "deleted_at": "9999-99-99T00:00:00Z"},
        {"action": "delete", "id": "x"},
    ],
    ids=json.dumps,
)
def test_a_page_explains_an_invalid_form(admin: FlaskClient, form: dict[str, str]) -> None:
    """Regression: a page showed `id: nobody is picked`, and worse."""
    form = {name: value.encode("utf-8", "surrogateescape") for name, value in form.items()}  # type: ignore[misc]
    response = send(admin, "/people/bulk", **form)
    require_page(response, response.status_code)
    assert response.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND)
    assert all(f"{name}: " not in response.text for name in form)


def test_a_page_explains_that_a_form_is_too_large(admin: FlaskClient) -> None:
    """Werkzeug's sentence stood there."""
    response = send(admin, "/people/new", name="x" * (2**20 + 1))
    require_page(response, 413, "The form is too large.")


def test_a_page_explains_the_write_limit_with_the_time_to_wait(
    make_app: Callable[..., Flask], secured_app: SecuredApp
) -> None:
    """Pages had no Retry-After."""
    app = make_app(write_rate_per_minute=1)
    client = secured_app.session_client(secured_app.create_user("admin"))
    browser = app.test_client(use_cookies=False)
    responses = [
        browser.post("/people/new", headers={**client.headers, **BROWSER}, data={"name": ""}) for _ in range(3)
    ]
    require_page(responses[-1], 429)
    assert int(responses[-1].headers["Retry-After"]) >= 1
