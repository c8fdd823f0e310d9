"""The secret of an API token is shown once, and is in no table, history, list or log."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import psycopg

from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service

FORM = re.compile(r"fsa_[0-9A-Za-z]{49}")


def test_a_secret_is_shown_once_and_kept_as_its_digest(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    user = secured_app.create_user("editor", username="ada")
    made = secured_app.token(user, "viewer", name="Grafana 田中")
    secret = made.pop("token")
    assert FORM.fullmatch(secret)
    assert (made["name"], made["role"], made["user_id"]) == ("Grafana 田中", "viewer", user["id"])
    assert (made["expires_at"], made["last_used_at"]) == (None, None)
    assert made == next(token for token in secured_app.admin.get("/tokens").json if token["id"] == made["id"])
    (digest,) = database.execute("SELECT digest FROM tokens WHERE id = %s", [made["id"]]).fetchone()
    assert digest == hashlib.sha256(secret.encode()).digest()
    assert secured_app.bearer_client(secret).get("/users").status_code == 200


def test_no_secret_stands_in_a_table_a_history_or_a_list(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    user = secured_app.create_user()
    secret = secured_app.token(user)["token"]
    secured_app.bearer_client(secret).get("/me")
    shown = [secured_app.admin.get(path).text for path in ("/tokens", f"/users/{user['id']}/history", "/users")]
    rows = [
        str(database.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - names of ours
        for table in ("users", "tokens", "history", "idempotency_keys")
    ]
    for text in (*shown, *rows):
        assert secret not in text
        assert secret[4:30] not in text


def test_no_secret_stands_in_a_log(serve: Callable[..., Service], new_database: str) -> None:
    service = serve(
        DATABASE_URL=new_database, LOG_LEVEL="debug", ADMIN_EMAIL="ada@example.org", ADMIN_PASSWORD="Kassandra-of-Troia"
    )
    origin = f"http://127.0.0.1:{service.port}"
    signed_in = service.post("/api/session", {"email": "ada@example.org", "password": "Kassandra-of-Troia"})
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    body = {"name": "a program", "role": "admin"}
    token = service.post("/api/tokens", body, headers={"Cookie": cookie, "Origin": origin}).json["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert service.get("/api/me", headers=bearer).status == 200
    service.get(f"/api/users/{token}", headers=bearer)
    service.get(f"/api/users?token={token}", headers=bearer)
    service.get("/api/me", headers={"Authorization": f"Bearer {token[:-1]}"})
    service.get("/api/me", headers={**bearer, "Cookie": cookie})
    service.post("/api/session", {"email": "ada@example.org", "password": "Kassandra-of-Troja"})
    service.end()
    assert "request" in service.text
    for secret in (token, token[:-1], token[4:40], cookie.partition("=")[2].partition(".")[0], "Kassandra", "ada@"):
        assert secret not in service.text
