"""Fault 33: /api/docs lacked the policy and nosniff that pages have. Every kind of answer has headers of safety now."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.console_client import OWN
from tests.support.secured_app import SecuredApp

SWAGGER = "/api/docs/js/swagger-ui-bundle.js"
ANSWERS = [
    ("a page", "GET", "/people", 200, "text/html"),
    ("a refused page", "GET", "/people?role=king", 422, "text/html"),
    ("a redirect", "GET", "/profile", 302, "text/html"),
    ("the API's page", "GET", "/api/docs", 200, "text/html"),
    ("its script", "GET", SWAGGER, 200, "text/javascript"),
    ("its own script", "GET", "/api/docs/start.js", 200, "text/javascript"),
    ("its style", "GET", "/api/docs/css/swagger-ui.css", 200, "text/css"),
    ("its picture", "GET", "/api/docs/images/swagger.svg", 200, "image/svg+xml"),
    ("no file of it", "GET", "/api/docs/nothing.js", 404, "application/problem+json"),
    ("the contract", "GET", "/api/openapi.json", 200, "application/json"),
    ("an asset", "GET", "/assets/000000000000/console.css", 200, "text/css"),
    ("a picture", "GET", "/assets/000000000000/icon.svg", 200, "image/svg+xml"),
    ("JSON", "GET", "/api/users", 200, "application/json"),
    ("one user", "GET", "/api/me", 200, "application/json"),
    ("without a body", "DELETE", "/api/me/sessions", 204, ""),
    ("options", "OPTIONS", "/api/users", 200, ""),
    ("a head", "HEAD", "/people", 200, "text/html"),
    ("a problem", "GET", "/api/users?limit=0", 422, "application/problem+json"),
    ("not found", "GET", "/nowhere", 404, "application/problem+json"),
    ("a method", "PUT", "/api/health", 405, "application/problem+json"),
    ("health", "GET", "/api/health", 200, "application/json"),
]


def require_safe(answer: TestResponse) -> None:
    """Exactly one of each header, and a policy that starts by allowing nothing."""
    (policy,) = answer.headers.getlist("Content-Security-Policy")
    rules = [rule.strip() for rule in policy.split(";")]
    assert rules[0] == "default-src 'none'"
    assert {"frame-ancestors 'none'", "base-uri 'none'"} < set(rules)
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.getlist("Referrer-Policy") == ["same-origin"]
    if "html" not in answer.headers.get("Content-Type", ""):
        assert not [rule for rule in rules if rule.startswith(("script-src", "style-src", "img-src", "connect-src"))]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"), [one[1:] for one in ANSWERS], ids=[one[0] for one in ANSWERS]
)
@pytest.mark.parametrize("by", ["session", "token"])
def test_every_kind_of_answer_has_them(
    house: SecuredApp, by: str, method: str, path: str, status: int, kind: str
) -> None:
    user = house.make("admin")
    who = house.by_session(user) if by == "session" else house.by_token(user)
    for _ in range(3):
        # Known by then, to whatever answers from memory.
        answer = who.flask_client.open(path, method=method, headers={**who.headers, **OWN})
        answer.close()
    expected = 401 if (by, method) == ("session", "DELETE") else status
    assert answer.status_code == expected
    assert answer.headers.get("Content-Type", "").partition(";")[0] == (
        "application/problem+json" if expected == 401 else kind
    )
    require_safe(answer)


@pytest.mark.parametrize("path", ["/api/users", "/people", "/sign-in", "/api/docs", SWAGGER, "/nowhere", "/first"])
def test_nobody_has_them_too(house: SecuredApp, path: str) -> None:
    for kind in ("text/html", "application/json"):
        answer = house.nobody.flask_client.get(path, headers={"Accept": kind})
        require_safe(answer)
        answer.close()


def test_an_error_that_nobody_foresaw_has_them(house: SecuredApp, make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = app.test_client(use_cookies=False).get("/broken", headers=house.admin.headers)
    require_safe(answer)


@pytest.mark.parametrize("path", ["/api/docs", SWAGGER, "/api/users", "/sign-in", "/profile", "/nowhere"])
def test_by_https_browsers_are_told_to_stay_there(house: SecuredApp, path: str) -> None:
    for scheme, expected in (("https", ["max-age=31536000"]), ("http", [])):
        answer = house.admin.flask_client.get(path, headers=house.admin.headers, base_url=f"{scheme}://localhost")
        assert answer.headers.getlist("Strict-Transport-Security") == expected
        answer.close()


def test_a_trusted_proxy_says_that_it_is_https(make_app: Callable[..., Flask], house: SecuredApp) -> None:
    client = make_app(trusted_proxies="127.0.0.1").test_client(use_cookies=False)
    answer = client.get("/api/users", headers={**house.admin.headers, "X-Forwarded-Proto": "https"})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
