"""schemathesis checks the API against its OpenAPI document."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.http.parsing import SESSION_COOKIE
from tests.support.secured_app import PASSWORD, SAME_ORIGIN
from tests.support.service_process import ROOT, Service

HERE = Path(__file__).parent
MAX_EXAMPLES = "30"
SEED = os.environ.get("TEST_SEED", "1")
"""Fixed, so that a run says something about the change at hand; another one finds more."""
ADMIN = {"email": "root@example.org", "password": PASSWORD}


@pytest.mark.timeout(300)
def test_the_service_keeps_every_promise_of_its_openapi(
    serve: Callable[..., Service], new_database: str, tmp_path: Path
) -> None:
    """With an administrator's token, because the contract is that of a secured service."""
    admin = {f"ADMIN_{name.upper()}": value for name, value in ADMIN.items()}
    service = serve(DATABASE_URL=new_database, LOG_LEVEL="warning", WORKERS="1", WRITE_RATE_PER_MINUTE="0", **admin)
    token = token_of(service)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"http://127.0.0.1:{service.port}/api/openapi.json"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--header", f"Authorization: Bearer {token['token']}"),
            *("--max-examples", MAX_EXAMPLES, "--seed", SEED, "--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": f"{HERE}:{ROOT}",
            "TEST_TOKEN_ID": token["id"],
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "27 selected / 27 total" in run.stdout
    assert [event for event in service.events if event["level"] == "error"] == []
    # It was let in to the end.
    assert service.get("/api/me", headers={"Authorization": f"Bearer {token['token']}"}).status == 200


def token_of(service: Service) -> dict[str, str]:
    """A new token of the administrator."""
    cookie = service.post("/api/session", ADMIN).headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith(SESSION_COOKIE)
    origin = SAME_ORIGIN["Origin"] + f":{service.port}"
    body = {"name": "schemathesis", "role": "admin"}
    headers = {"Cookie": cookie, "Origin": origin, "Host": origin.removeprefix("http://")}
    return service.post("/api/tokens", body, headers=headers).json
