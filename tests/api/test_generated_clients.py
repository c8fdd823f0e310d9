"""Usable clients are generated from the OpenAPI document, and a linter accepts it."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from app import create_app
from tests.support.secured_app import PASSWORD
from tests.support.service_process import Service

REDOCLY = "@redocly/cli@2.77.0"
ADMIN = "root@example.org"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document in a file."""
    folder = tmp_path_factory.mktemp("openapi")
    app = create_app(log_level="error")
    path = folder / "openapi.json"
    path.write_text(app.test_client().get("/api/openapi.json").text)
    return path


@pytest.fixture(scope="module")
def client(document: Path) -> Iterator[SimpleNamespace]:
    """The client that openapi-python-client generates: its modules `api`, `models` and `client`."""
    folder = document.parent / "client"
    made = _run("openapi_python_client", "generate", "--path", document, "--meta", "none", "--output-path", folder)
    assert "Warning" not in made, made
    sys.path.insert(0, str(folder.parent))
    importlib.invalidate_caches()
    yield SimpleNamespace(
        models=import_module("client.models"),
        AuthenticatedClient=import_module("client.client").AuthenticatedClient,
        Client=import_module("client.client").Client,
        call=lambda name: import_module(f"client.api.{name}").sync_detailed,
    )
    sys.path.remove(str(folder.parent))


@pytest.fixture(scope="module")
def models(document: Path) -> ModuleType:
    """The module that datamodel-codegen generates."""
    output = document.parent / "datamodel.py"
    _run(
        "datamodel_code_generator",
        *("--input", document, "--input-file-type", "openapi", "--output", output),
        *("--output-model-type", "pydantic_v2.BaseModel"),
    )
    sys.path.insert(0, str(output.parent))
    importlib.invalidate_caches()
    try:
        return import_module("datamodel")
    finally:
        sys.path.remove(str(output.parent))


def _run(module: str, *arguments: object) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        # openapi-python-client formats what it makes with the ruff that it finds.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_a_generated_client_walks_the_first_user(
    client: SimpleNamespace, serve: Callable[..., Service], new_database: str
) -> None:
    """Sign in, make a token, then all that the README does with a first user, each call typed."""
    service = serve(DATABASE_URL=new_database, ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD)
    base, models = f"http://127.0.0.1:{service.port}", client.models
    with client.Client(base_url=base, headers={"Origin": base}) as browser:
        credentials = models.SignIn(email=ADMIN, password=PASSWORD)
        signed_in = client.call("session.sign_in")(client=browser, body=credentials)
        assert signed_in.status_code == 201
        assert signed_in.parsed.user.email == ADMIN
        token = models.TokenDraft(name="client", role=models.Role.ADMIN)
        made = client.call("tokens.create_token")(client=browser, body=token)
        assert made.status_code == 201
    with client.AuthenticatedClient(base_url=base, token=made.parsed.token) as program:
        _walk(client, program)


def _walk(client: SimpleNamespace, program: Any) -> None:
    models = client.models
    draft = models.UserDraft(
        email="ada@example.com",
        name="Ada Lovelace",
        role=models.Role.MEMBER,
        attributes=models.UserDraftAttributes.from_dict({"plan": "pro"}),
    )
    ada = client.call("users.create_user")(client=program, body=draft, idempotency_key="first")
    assert ada.status_code == 201
    assert ada.headers["Location"].endswith(str(ada.parsed.id))
    found = client.call("users.list_users")(client=program, q="ada", prefer="count=exact")
    assert [user.id for user in found.parsed] == [ada.parsed.id]
    assert found.headers["X-Total-Count"] == "1"
    one = client.call("users.get_user")(client=program, user_id=ada.parsed.id)
    assert one.parsed == ada.parsed
    patch = models.UserPatch(role=models.Role.EDITOR)
    changed = client.call("users.update_user")(
        client=program, user_id=one.parsed.id, body=patch, if_match=one.headers["ETag"]
    )
    assert changed.parsed.role is models.Role.EDITOR
    entries = client.call("users.get_user_history")(client=program, user_id=one.parsed.id).parsed
    assert [entry.action.value for entry in entries] == ["changed", "created"]
    assert client.call("users.delete_user")(client=program, user_id=one.parsed.id).status_code == 204
    assert client.call("users.restore_user")(client=program, user_id=one.parsed.id).parsed.version == 4
    refused = client.call("users.create_user")(client=program, body=models.UserDraft(email="no address"))
    assert refused.status_code == 422
    assert [error.field for error in refused.parsed.errors] == ["email"]


def test_the_body_of_a_new_user_is_one_class_with_typed_fields(client: SimpleNamespace, models: ModuleType) -> None:
    """Neither generator makes a union, and none of the fields is Any."""
    for draft in (client.models.UserDraft, models.UserDraft):
        fields = draft.__annotations__
        assert {"username", "email", "name", "role", "active", "attributes", "password"} <= fields.keys()
        assert [name for name, kind in fields.items() if kind is Any] == []
    body = models.UserDraft(email="ada@example.com", role="editor", password="a long sentence")
    assert json.loads(body.model_dump_json(exclude_unset=True)) == {
        "email": "ada@example.com",
        "role": "editor",
        "password": "a long sentence",
    }
    assert models.SignIn(email="ada@example.com", password="p").password == "p"
    assert models.User.model_fields["role"].annotation is models.Role


def test_filters_of_attributes_can_be_sent_as_a_deep_object(
    serve_all: Callable[..., Service], new_database: str
) -> None:
    """`attributes[plan]=pro`, as OpenAPI's style deepObject has it, is attributes.plan=pro."""
    service = serve_all(DATABASE_URL=new_database)
    service.post("/api/users", {"username": "a", "attributes": {"plan": "pro"}})
    service.post("/api/users", {"username": "b", "attributes": {"plan": "free"}})
    for query in ("attributes[plan]=pro", "attributes%5Bplan%5D=pro", "attributes.plan=pro"):
        response = service.get(f"/api/users?{query}")
        assert [user["username"] for user in response.json] == ["a"], query
    twice = service.get("/api/users?attributes[plan]=pro&attributes.plan=pro")
    assert twice.status == 400
    assert service.get("/api/users?attributes[]=pro").status == 400


def test_operations_have_short_names_of_their_own(document: Path) -> None:
    """They are the names of the functions of a generated client."""
    content = json.loads(document.read_text())
    ids = [one["operationId"] for path in content["paths"].values() for one in path.values()]
    assert len(set(ids)) == len(ids)
    assert all(one.isalpha() and one[0].islower() and len(one) <= 16 for one in ids), ids
    assert {"listUsers", "createUser", "getUser", "replaceUser", "updateUser", "deleteUser", "signIn"} <= set(ids)
    assert all(tag["description"] for tag in content["tags"])
    assert content["servers"] == [{"url": "/", "description": "The service that this document comes from."}]


@pytest.mark.skipif(shutil.which("npx") is None, reason="no npx: Redocly's linter needs Node.js")
@pytest.mark.timeout(300)
def test_redocly_finds_nothing_in_the_document(document: Path) -> None:
    """0 errors and 0 warnings of the recommended rules."""
    command = ["npx", "--yes", REDOCLY, "lint", "--extends=recommended", "--format=json", str(document)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=document.parent)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}
