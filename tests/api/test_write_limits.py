"""The limit of writes: counted in reserved quotas, exact for all processes together."""

from collections import Counter
from collections.abc import Callable

import pytest
from flask import Flask

from tests.support.api_client import ApiClient
from tests.support.secured_app import SecuredApp, UserClient

pytestmark = pytest.mark.usefixtures("without_refusal_delay")


def test_a_fiftieth_of_the_write_limit_is_reserved_in_one_round_trip(
    secured_app: SecuredApp, commands: list[str]
) -> None:
    program = secured_app.token_client(secured_app.create_user())
    asked = []
    for number in range(25):
        commands.clear()
        response = program.patch("/me", {"name": f"Ada {number}"})
        assert response.headers["RateLimit"].startswith(f'"writes";r={599 - number};')
        asked.append(commands[:])
    assert asked == [["EVAL"], *[[]] * 11] * 2 + [["EVAL"]]


def test_processes_with_reserved_quotas_admit_exactly_the_write_limit(
    make_app: Callable[..., Flask], secured_app: SecuredApp
) -> None:
    headers = secured_app.token_client(secured_app.create_user()).headers
    clients = [ApiClient(make_app(write_rate_per_minute=100, log_level="error")) for _ in range(2)]
    statuses = Counter(
        clients[number % 3 == 0].patch("/me", {"name": f"N {number}"}, headers=headers).status_code
        for number in range(160)
    )
    assert statuses == {200: 100, 429: 60}


def test_zero_is_no_limit_for_writes(make_app: Callable[..., Flask], secured_app: SecuredApp) -> None:
    headers, client = (
        secured_app.token_client(secured_app.create_user()).headers,
        ApiClient(make_app(write_rate_per_minute=0)),
    )
    for number in range(30):
        response = client.patch("/me", {"name": f"N {number}"}, headers=headers)
        assert response.status_code == 200
        assert "RateLimit" not in response.headers


def test_writes_of_a_credential_are_limited_and_say_so(make_app: Callable[..., Flask], secured_app: SecuredApp) -> None:
    app = make_app(write_rate_per_minute=3)
    user = secured_app.create_user()
    one, other = (UserClient(app, secured_app.token_client(user).headers, user) for _ in range(2))
    left = []
    for number in range(5):
        response = one.patch("/me", {"name": f"Name {number}"})
        left.append((response.status_code, response.headers["RateLimit"].partition(";t=")[0]))
        assert response.headers["RateLimit-Policy"] == '"writes";q=3;w=60'
    counts = [(200, 2), (200, 1), (200, 0), (429, 0), (429, 0)]
    assert left == [(status, f'"writes";r={rest}') for status, rest in counts]
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert one.get("/me").status_code == 200
    assert other.patch("/me", {"name": "Other"}).status_code == 200
