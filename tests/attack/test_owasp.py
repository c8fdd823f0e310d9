"""The OWASP API Security Top 10 of 2023: an attack for each item. Other tests go deeper, see docs/reliability.md."""

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
from flask import Flask

from app.cache.generations import USERS_KEY
from app.config import Settings
from app.http.services import services_of
from embedded import Stack
from tests.attack.authorization import routes
from tests.support.api_client import ApiClient, links
from tests.support.concurrency import at_once
from tests.support.pollers import polling
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient, cookie_of
from tests.support.waiting import wait_until

SECRET_FIELDS = ("password", "hash", "secret", "_key", "epoch", "vector", "argon2")

FORGOTTEN = (
    *("/v1/users", "/api/v1/users", "/api/v2/users", "/api/internal/users", "/beta/users", "/api/test", "/graphql"),
    *("/swagger.json", "/actuator/env", "/metrics", "/admin", "/debug", "/server-status", "/static/../app/config.py"),
)


@pytest.fixture
def ada(secured_app: SecuredApp) -> UserClient:
    """A member with a session, the victim."""
    return secured_app.session_client(secured_app.create_user(username="ada", email="ada@example.org", name="Ada"))


@pytest.fixture
def bob(secured_app: SecuredApp) -> UserClient:
    """A member with a session, the attacker."""
    return secured_app.session_client(secured_app.create_user(username="bob", password=PASSWORD))


def test_api1_broken_object_level_authorization(secured_app: SecuredApp, ada: UserClient, bob: UserClient) -> None:
    """API1: ids of another user, in each place that takes one, give a member nothing."""
    (session,) = ada.get("/me/sessions").json
    history = secured_app.admin.get(f"/users/{ada.id}/history?limit=1")
    secured_app.admin.patch(f"/users/{ada.id}", {"name": "Ada King"})
    cursor = links(secured_app.admin.get(f"/users/{ada.id}/history?limit=1"))["next"].partition("cursor=")[2]
    assert history.status_code == 200
    refused = [
        bob.get(f"/users/{ada.id}"),
        bob.patch(f"/users/{ada.id}", {"name": "Bob"}),
        bob.get(f"/users/{ada.id}/history"),
        bob.delete(f"/me/sessions/{session['id']}"),
        bob.delete(f"/users/{bob.id}/sessions/{session['id']}"),
        secured_app.admin.get(f"/users/{bob.id}/history?cursor={cursor}"),
    ]
    assert [response.status_code for response in refused] == [403, 403, 403, 404, 404, 400]
    assert not [response for response in refused if "ada@example.org" in response.text]
    assert ada.get("/me").json["name"] == "Ada King"
    # The key of another user does not give the response that the other user received.
    key = {"Idempotency-Key": "shared"}
    first = secured_app.admin.post("/users", {"username": "hidden", "role": "admin"}, headers=key)
    editor = secured_app.session_client(secured_app.create_user("editor"))
    second = editor.post("/users", {"username": "hidden", "role": "admin"}, headers=key)
    assert (first.status_code, second.status_code) == (201, 403)


def test_api2_broken_authentication(secured_app: SecuredApp, bob: UserClient, without_refusal_delay: None) -> None:  # noqa: ARG001 - it is called for its effect
    """API2: passwords cannot be guessed, and only the secret of a session or token authenticates."""
    token = secured_app.token(bob.user)
    (session,) = bob.get("/me/sessions").json
    stolen = [
        {"Authorization": token["token"]},
        {"Authorization": f"Basic {token['token']}"},
        {"Authorization": f"Bearer {token['id']}"},
        {"Authorization": f"Bearer {token['token'].upper()}"},
        {"Cookie": f"fsa_session={token['token']}"},
        {"Cookie": f"fsa_session={session['id']}.{bob.id.replace('-', '')}"},
        {"X-API-Key": token["token"], "X-Original-User": "root", "X-Remote-User": "root", "Remote-User": "root"},
    ]
    assert {UserClient(secured_app.app, headers, {}).get("/me").status_code for headers in stolen} == {401}
    assert secured_app.anonymous.get(f"/me?access_token={token['token']}").status_code == 401
    # A cookie that was set before the sign-in is not the one of the session.
    fixed = "fixed" * 9 + f".{bob.id.replace('-', '')}"
    body = {"username": "bob", "password": PASSWORD}
    assert fixed not in cookie_of(secured_app.sign_in(body, Cookie=f"fsa_session={fixed}"))
    wrong = {"username": "bob", "password": "not the password"}
    assert [secured_app.sign_in(wrong).status_code for _ in range(7)] == [401] * 5 + [429] * 2
    assert secured_app.sign_in(body).status_code == 429


def test_api3_broken_object_property_level_authorization(secured_app: SecuredApp, bob: UserClient) -> None:
    """API3: no property is written that the user may not write, and none is shown that no user may read."""
    before = bob.get("/me").json
    for field, value in {"role": "admin", "active": False, "attributes": {"plan": "pro"}, "username": "root2"}.items():
        assert bob.patch("/me", {field: value, "name": "B"}).status_code in (200, 403)
    for field in ("password_hash", "session_epoch", "username_key", "search_vector", "isAdmin", "__proto__"):
        assert bob.patch("/me", {field: "x"}).status_code == 422
    assert bob.patch("/me", {"id": "x", "version": 99, "deleted_at": None, "created_at": None}).status_code == 200
    after = bob.get("/me").json
    changed = {name for name in before if before[name] != after[name]} - {"version", "updated_at"}
    assert changed <= {"username"}, "who signed in just now may change the own username"
    shown = [
        bob.get("/me"),
        secured_app.admin.get("/users"),
        secured_app.admin.get(f"/users/{bob.id}/history"),
        secured_app.admin.get("/tokens"),
        bob.get("/session"),
    ]
    names = {name for response in shown for name in names_of(response.json)}
    assert not [name for name in names if any(word in name for word in SECRET_FIELDS)]
    assert "argon2" not in "".join(response.text for response in shown)
    for query in ("password_hash=x", "sort=password_hash", "session_epoch=1", "fields=password_hash"):
        assert secured_app.admin.get(f"/users?{query}").status_code in (400, 422)


def names_of(document: Any) -> set[str]:
    """All names of objects in a JSON document."""
    if isinstance(document, list):
        return {name for one in document for name in names_of(one)}
    if isinstance(document, dict):
        return set(document).union(*map(names_of, document.values()))
    return set()


def test_api4_unrestricted_resource_consumption(secured_app: SecuredApp) -> None:
    """API4: what costs more than a bounded amount is refused before it is done."""
    filters = "&".join(f"attributes.k{number}=x" for number in range(11))
    deep = b'{"username": "deep", "attributes": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
    for query, status in (
        ("limit=1000000", 422),
        (f"q={'a ' * 300}", 422),
        (filters, 422),
        ("cursor=" + "A" * 9000, 422),
    ):
        assert secured_app.admin.get(f"/users?{query}").status_code == status, query
    assert secured_app.admin.get("/users?q=" + "a" * 20_000).status_code in (414, 422)
    assert secured_app.admin.post("/users", deep).status_code in (400, 422)
    assert secured_app.admin.post("/users", b" " * (2**20 + 1)).status_code == 413
    assert secured_app.admin.post("/users", {"username": "long", "password": "x" * 10**5}).status_code == 422
    assert secured_app.admin.post("/users", {"username": "x" * 10**5}).status_code == 422
    assert secured_app.admin.post("/users", {"username": "many", "attributes": {"a": "x" * 17_000}}).status_code == 422
    assert secured_app.admin.post(
        "/users", b'{"username": "n", "attributes": {"a": ' + b"9" * 5000 + b"}}"
    ).status_code in (400, 422)


def test_api5_broken_function_level_authorization(secured_app: SecuredApp, bob: UserClient) -> None:
    """API5: no spelling of a path or method leads a member to the functions of an administrator."""
    override = {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE"}
    rewrite = {"X-Original-URL": "/api/tokens", "X-Rewrite-URL": "/api/tokens", "X-Forwarded-Prefix": "/api/tokens"}
    paths = (
        "/tokens/",
        "/TOKENS",
        "/%74okens",
        "//tokens",
        "/users/../tokens",
        "/tokens%00",
        "/tokens;x=1",
        "/me/..;/tokens",
    )
    before = secured_app.admin.get("/users").json
    for path in paths:
        assert bob.get(path).status_code in (400, 403, 404), path
    assert bob.get("/me", headers=rewrite).json["username"] == "bob"
    for response in (
        bob.post(f"/users/{secured_app.admin.id}", {"_method": "DELETE"}, headers=override),
        bob.post(f"/users/{secured_app.admin.id}?_method=DELETE", {}, headers=override),
        bob("PROPFIND", "/users"),
        bob("get", "/users"),
    ):
        assert response.status_code in (400, 403, 405), response.text
    assert bob.get("/me", headers=override).status_code == 200
    assert secured_app.admin.get("/users").json == before


def test_api6_unrestricted_access_to_sensitive_business_flows(api: ApiClient, make_app: Callable[..., Flask]) -> None:
    """API6: of many first administrators at once there is one, and a script may only write so often."""
    clients = [ApiClient(api.app) for _ in range(8)]
    bodies = [{"username": f"first{number}", "role": "admin", "password": PASSWORD} for number in range(8)]
    made = at_once([partial(client.post, "/users", body) for client, body in zip(clients, bodies, strict=True)])
    assert {response.status_code for response in made} <= {201, 401, 409}
    (first,) = [response.json["username"] for response in made if response.status_code == 201]
    limited = make_app(write_rate_per_minute=3)
    cookie = cookie_of(ApiClient(limited).post("/session", {"username": first, "password": PASSWORD}))
    client = UserClient(limited, {"Cookie": f"fsa_session={cookie}", "Origin": "http://localhost"}, {})
    found = [client.post("/users", {"username": f"script{number}"}) for number in range(5)]
    assert [response.status_code for response in found] == [201] * 3 + [429] * 2
    assert int(found[-1].headers["Retry-After"]) >= 1


def test_api7_server_side_request_forgery(secured_app: SecuredApp, bob: UserClient) -> None:
    """API7: no URL in any input makes the service connect to it, and no header puts its host into a link."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/latest/meta-data"
        names = (
            "Referer",
            "Origin",
            "X-Forwarded-Host",
            "X-Forwarded-For",
            "Forwarded",
            "HX-Current-URL",
            "Destination",
        )
        headers = {**dict.fromkeys(names, url), "X-Forwarded-Proto": "https"}
        listed = secured_app.token_client(secured_app.admin.user).get("/users", headers=headers)
        assert listed.status_code == 200
        assert all(link.startswith("http://localhost/") for link in links(listed).values())
        fields = {"avatar": url, "webhook": url, "@import": url, "xml": f'<!DOCTYPE a SYSTEM "{url}">'}
        user = secured_app.admin.create_user(username="url", name=url, attributes=fields)
        for path in (
            f"/users/{user['id']}",
            f"/users/{user['id']}/history",
            f"/users?q={url}",
            f"/users?attributes.avatar={url}",
        ):
            secured_app.admin.get(path)
        xml = {"Content-Type": "application/xml"}
        assert secured_app.admin.post("/users", fields["xml"].encode(), headers=xml).status_code in (400, 415)
        for path in (f"/?next={url}", f"/sign-in?next={url}", f"/people/{user['id']}", f"/people?q={url}"):
            page = bob.flask_client.get(path, headers={**secured_app.admin.headers, "Referer": url})
            assert not page.headers.get("Location", "").startswith(url)
        with contextlib.suppress(BlockingIOError):
            pytest.fail(f"a connection came from {listener.accept()[1]}")


def test_api8_security_misconfiguration(secured_app: SecuredApp) -> None:
    """API8: no other origin may read, errors tell nothing, and there is no debugger."""
    client, evil = secured_app.anonymous.flask_client, {"Origin": "https://evil.example"}
    preflight = {**evil, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    for response in (
        client.options("/api/users", headers=preflight),
        client.get("/api/users", headers={**secured_app.admin.headers, **evil}),
        client.get("/sign-in", headers=evil),
        client.get("/api/nowhere?__debugger__=yes&cmd=resource&f=style.css"),
        client.get("/console"),
        client.get("/.git/config"),
        client.get("/.env"),
        client.open("/api/users", method="TRACE", headers={"Cookie": "a=secret"}),
    ):
        assert not [name for name, _ in response.headers if name.lower().startswith("access-control-")]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert not [word for word in ("Traceback", "werkzeug", "Werkzeug", "secret", "[core]") if word in response.text]
    assert not secured_app.app.debug
    secured_app.create_user(username="vic", password=PASSWORD)
    cookie = secured_app.sign_in({"username": "vic", "password": PASSWORD}).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}


def test_api9_improper_inventory_management(secured_app: SecuredApp) -> None:
    """API9: there is no other version or forgotten route, and the routes at the root need the same credentials."""
    for path in FORGOTTEN:
        assert secured_app.admin.flask_client.get(path, headers=secured_app.admin.headers).status_code == 404, path
    document = secured_app.anonymous.get("/openapi.json").json
    described = {
        (method.upper(), path if path.startswith("/api") else f"/api{path}")
        for path, methods in document["paths"].items()
        for method in methods
    }
    undescribed = {
        (method, path) for method, path in routes(api=True) if path.startswith("/api/") and method != "HEAD"
    } - described
    assert {path for _, path in undescribed} == {"/api/docs", "/api/docs/{name}", "/api/openapi.json"}
    for method, path in routes(api=True):
        if not path.startswith("/api/"):
            concrete = path.replace("{user_id}", secured_app.admin.id).replace("{", "").replace("}", "")
            alone = secured_app.anonymous.flask_client.open(concrete, method=method, json={})
            below = secured_app.anonymous.flask_client.open(f"/api{concrete}", method=method, json={})
            assert alone.status_code == below.status_code, (method, path)


def test_api10_unsafe_consumption_of_apis(secured_app: SecuredApp, servers: Stack, bob: UserClient) -> None:
    """API10: values from Redis and headers of proxies are not trusted: they cannot run code or forge an address."""
    hostile = b"cos\nsystem\n(S'false'\ntR."
    search = "/users?q=bob&sort=name"
    with polling(secured_app.app), redis.Redis.from_url(servers.redis.url) as client:
        # Answers are only kept once the poller knows all changes.
        known_changes = services_of(secured_app.app).known_changes
        wait_until(lambda: known_changes.last_poll([USERS_KEY]))
        expected = secured_app.admin.get(search).json
        answers = list(client.scan_iter("fsa:answer:*"))
        assert answers
        for key in answers:
            client.set(key, hostile)
        # The same list by another URL, which the response cache does not know.
        assert secured_app.admin.get(f"{search}&limit=50").json == expected
    forged = {"X-Forwarded-For": "203.0.113.66", "Forwarded": "for=203.0.113.66", "X-Real-IP": "203.0.113.66"}
    assert bob.patch("/me", {"name": "Bob"}, headers=forged).status_code == 200
    newest = secured_app.admin.get(f"/users/{bob.id}/history").json[0]
    assert newest["address"] == "127.0.0.1"
    assert Settings.model_fields["trusted_proxies"].default in ("", None, ())
