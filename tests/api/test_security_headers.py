"""Every kind of response has the security headers."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.console_client import SAME_ORIGIN
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


def require_safe(response: TestResponse) -> None:
    """Exactly one of each header, and a policy that starts by allowing nothing."""
    (policy,) = response.headers.getlist("Content-Security-Policy")
    rules = [rule.strip() for rule in policy.split(";")]
    assert rules[0] == "default-src 'none'"
    assert {"frame-ancestors 'none'", "base-uri 'none'"} < set(rules)
    assert "unsafe" not in policy
    assert "*" not in policy
    assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert response.headers.getlist("Referrer-Policy") == ["same-origin"]
    if "html" not in response.headers.get("Content-Type", ""):
        assert not [rule for rule in rules if rule.startswith(("script-src", "style-src", "img-src", "connect-src"))]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"), [one[1:] for one in ANSWERS], ids=[one[0] for one in ANSWERS]
)
@pytest.mark.parametrize("by", ["session", "token"])
def test_every_kind_of_response_has_security_headers(
    secured_app: SecuredApp, by: str, method: str, path: str, status: int, kind: str
) -> None:
    user = secured_app.create_user("admin")
    client = secured_app.session_client(user) if by == "session" else secured_app.token_client(user)
    for _ in range(3):
        # Known by then, to whatever answers from memory.
        response = client.flask_client.open(path, method=method, headers={**client.headers, **SAME_ORIGIN})
        response.close()
    expected = 401 if (by, method) == ("session", "DELETE") else status
    assert response.status_code == expected
    assert response.headers.get("Content-Type", "").partition(";")[0] == (
        "application/problem+json" if expected == 401 else kind
    )
    require_safe(response)


@pytest.mark.parametrize("path", ["/api/users", "/people", "/sign-in", "/api/docs", SWAGGER, "/nowhere", "/first"])
def test_anonymous_responses_have_security_headers(secured_app: SecuredApp, path: str) -> None:
    for kind in ("text/html", "application/json"):
        response = secured_app.anonymous.flask_client.get(path, headers={"Accept": kind})
        require_safe(response)
        response.close()


def test_an_unexpected_error_has_security_headers(secured_app: SecuredApp, make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    response = app.test_client(use_cookies=False).get("/broken", headers=secured_app.admin.headers)
    require_safe(response)


@pytest.mark.parametrize("path", ["/api/docs", SWAGGER, "/api/users", "/sign-in", "/profile", "/nowhere"])
def test_https_responses_have_strict_transport_security(secured_app: SecuredApp, path: str) -> None:
    for scheme, expected in (("https", ["max-age=31536000"]), ("http", [])):
        response = secured_app.admin.flask_client.get(
            path, headers=secured_app.admin.headers, base_url=f"{scheme}://localhost"
        )
        assert response.headers.getlist("Strict-Transport-Security") == expected
        response.close()


def test_a_trusted_proxy_says_that_it_is_https(make_app: Callable[..., Flask], secured_app: SecuredApp) -> None:
    client = make_app(trusted_proxies="127.0.0.1").test_client(use_cookies=False)
    response = client.get("/api/users", headers={**secured_app.admin.headers, "X-Forwarded-Proto": "https"})
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
