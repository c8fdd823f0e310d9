"""Rate limits: repeated failures are slowed down and lock an account."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from embedded import Stack
from embedded.ports import free_port
from tests.support.api_client import ApiClient
from tests.support.console_client import version_fields
from tests.support.secured_app import PASSWORD, SecuredApp

ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
WRONG = {"username": "ada", "password": "a wrong guess"}
RIGHT = {"username": "ada", "password": PASSWORD}
HERE, THERE = "198.51.100.1", "203.0.113.2"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


pytestmark = pytest.mark.usefixtures("without_refusal_delay")


@pytest.fixture
def end_windows(servers: Stack) -> Callable[[int], None]:
    """Let the windows of this length end now."""

    def end(window_s: int) -> None:
        with redis.Redis.from_url(servers.redis.url) as client:
            found = list(client.scan_iter(f"fsa:limit:*:{window_s}", count=1000))
            assert found
            client.delete(*found)

    return end


def test_delays_grow_and_the_response_has_the_time_to_wait(
    secured_app: SecuredApp, end_windows: Callable[[int], None]
) -> None:
    secured_app.create_user(**ADA)

    def guess_five_times() -> None:
        assert [secured_app.sign_in(WRONG, HERE).status_code for _ in range(5)] == [401] * 5

    def wait_s() -> int:
        response = secured_app.sign_in(RIGHT, HERE)
        assert response.status_code == 429
        return int(response.headers["Retry-After"])

    guess_five_times()
    assert 0 < wait_s() <= MINUTE_S
    end_windows(MINUTE_S)
    guess_five_times()
    end_windows(MINUTE_S)
    assert MINUTE_S < wait_s() <= 10 * MINUTE_S
    for _ in range(2):
        end_windows(MINUTE_S)
        end_windows(10 * MINUTE_S)
        guess_five_times()
    end_windows(MINUTE_S)
    end_windows(10 * MINUTE_S)
    assert 10 * MINUTE_S < wait_s() <= HOUR_S


def test_fifty_failed_sign_ins_lock_for_a_day(secured_app: SecuredApp, end_windows: Callable[[int], None]) -> None:
    user = secured_app.create_user(**ADA)
    refusals = []
    for number in range(60):
        if number % 5 == 0 and number:
            for window_s in (MINUTE_S, 10 * MINUTE_S, HOUR_S):
                end_windows(window_s)
        refusals.append(secured_app.sign_in(WRONG, HERE))
    assert [response.status_code for response in refusals] == [401] * 50 + [429] * 10
    assert HOUR_S < int(refusals[-1].headers["Retry-After"]) <= DAY_S
    # Other users are not locked.
    assert secured_app.sign_in(RIGHT, THERE).status_code == 201
    assert secured_app.sign_in({"username": "root", "password": PASSWORD}, HERE).status_code in (201, 429)
    assert secured_app.admin.post(f"/users/{user['id']}/unlock").status_code == 204
    assert secured_app.sign_in(RIGHT, HERE).status_code == 201


def test_a_lock_says_what_the_limit_is(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    response = [secured_app.sign_in(WRONG, HERE) for _ in range(6)][-1]
    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= MINUTE_S
    assert response.headers["RateLimit-Policy"] == '"sign-in";q=5;w=60'
    assert response.headers["RateLimit"] == f'"sign-in";r=0;t={response.headers["Retry-After"]}'
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("form", ["sign-in", "own record"])
def test_the_page_of_a_form_says_how_long_the_lock_lasts_as_well(secured_app: SecuredApp, form: str) -> None:
    client = secured_app.session_client(secured_app.create_user(**ADA), HOUR_S)
    browser, path, fields, status = secured_app.app.test_client(use_cookies=False), "/sign-in", WRONG, 401
    if form == "own record":
        path, status = f"/people/{client.id}", 403
        page = browser.get(path, headers=client.headers).text
        fields = {"email": "new@example.org", "current_password": WRONG["password"], **version_fields(page)}
    responses = [browser.post(path, data=fields, headers=client.headers) for _ in range(6)]
    assert [response.status_code for response in responses] == [status] * 5 + [429]
    assert 1 <= int(responses[-1].headers["Retry-After"]) <= MINUTE_S


def test_a_lock_does_not_reveal_whether_the_user_exists(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)

    def seen(username: str) -> list[Any]:
        found = []
        for _ in range(7):
            response = secured_app.sign_in({**WRONG, "username": username}, HERE)
            body = {**response.json, "instance": ""}
            found.append((response.status_code, body, sorted(name for name, _ in response.headers)))
        return found

    assert seen("ada") == seen("nobody")


def test_failed_sign_ins_from_one_address_lock_out_no_other_address(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    for _ in range(30):
        secured_app.sign_in(WRONG, HERE)
    assert secured_app.sign_in(RIGHT, HERE).status_code == 429
    assert secured_app.sign_in(RIGHT, THERE).status_code == 201


def test_a_correct_password_resets_the_failures(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    for _ in range(3):
        assert [secured_app.sign_in(WRONG, HERE).status_code for _ in range(4)] == [401] * 4
        assert secured_app.sign_in(RIGHT, HERE).status_code == 201


def test_many_addresses_that_guess_one_password_are_slowed_down_together(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    addresses = itertools.cycle([f"192.0.2.{number}" for number in range(1, 41)])
    statuses = [secured_app.sign_in(WRONG, next(addresses)).status_code for _ in range(104)]
    assert statuses == [401] * 100 + [429] * 4


def test_one_address_that_tries_many_names_is_slowed_down(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    statuses = [secured_app.sign_in({**WRONG, "username": f"user{n}"}, HERE).status_code for n in range(62)]
    assert statuses == [401] * 60 + [429] * 2
    assert secured_app.sign_in(RIGHT, THERE).status_code == 201


@pytest.mark.parametrize("login", [{"username": "ada"}, {"username": "ADA@example.org"}, {"email": "ada@EXAMPLE.org"}])
def test_an_administrator_unlocks_a_user_for_all_spellings_of_the_name(
    secured_app: SecuredApp, login: dict[str, str]
) -> None:
    user = secured_app.create_user(**ADA)
    for _ in range(6):
        secured_app.sign_in({**login, "password": "wrong"}, HERE)
    right = {**login, "password": PASSWORD}
    assert secured_app.sign_in(right, HERE).status_code == 429
    assert secured_app.session_client(user).post(f"/users/{user['id']}/unlock").status_code == 403
    assert (
        secured_app.session_client(secured_app.create_user("editor")).post(f"/users/{user['id']}/unlock").status_code
        == 403
    )
    assert secured_app.sign_in(right, HERE).status_code == 429
    assert secured_app.admin.post(f"/users/{user['id']}/unlock").status_code == 204
    assert secured_app.sign_in(right, HERE).status_code == 201


def test_a_name_is_the_same_account_in_any_case(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    names = itertools.cycle(["ada", "ADA", "Ada", "aDa"])
    statuses = [secured_app.sign_in({**WRONG, "username": next(names)}, HERE).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


def test_limits_are_counted_for_all_processes_together(make_app: Callable[..., Flask], secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    clients = itertools.cycle([ApiClient(secured_app.app), ApiClient(make_app())])
    base = {"environ_base": {"REMOTE_ADDR": HERE}}
    statuses = [next(clients).post("/session", WRONG, **base).status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3


def test_redis_keys_of_limits_contain_no_names_and_addresses(secured_app: SecuredApp, servers: Stack) -> None:
    secured_app.sign_in({"username": "kassandra", "password": "wrong"}, HERE)
    with redis.Redis.from_url(servers.redis.url) as client:
        keys = b" ".join(client.scan_iter(count=1000))
    assert b"fsa:limit" in keys
    assert b"kassandra" not in keys
    assert HERE.encode() not in keys


def test_an_attempt_refused_by_a_short_window_does_not_count_in_longer_ones(
    secured_app: SecuredApp, servers: Stack
) -> None:
    """Otherwise a client that guesses for a minute would be locked for a day."""
    secured_app.create_user(**ADA)
    for _ in range(12):
        secured_app.sign_in(WRONG, HERE)
    with redis.Redis.from_url(servers.redis.url) as client:
        keys = [key.decode() for key in client.scan_iter("fsa:limit:a*")]
        ends = {key: client.zscore("fsa:limit-ends", key) - time.time() for key in keys}
        assert all(0 < left_s <= int(key.rpartition(":")[2]) for key, left_s in ends.items())
        counted = {(key.count(":"), key.split(":")[2], int(key.split(":")[-1])): int(client.get(key)) for key in keys}
    one, two = 4, 5
    assert counted == {
        (one, "address", MINUTE_S): 12,
        (one, "address", HOUR_S): 12,
        (two, "account", MINUTE_S): 12,
        (two, "account", 10 * MINUTE_S): 5,
        (two, "account", HOUR_S): 5,
        (two, "account", DAY_S): 5,
        (one, "account", HOUR_S): 5,
        (one, "account", DAY_S): 5,
    }


def test_without_redis_a_process_counts_by_itself(make_app: Callable[..., Flask], secured_app: SecuredApp) -> None:
    """Sign-in is unavailable without Redis. Tokens can write, but cannot change a password."""
    user = secured_app.create_user(**ADA)
    headers = secured_app.token_client(user).headers
    app = make_app(redis_url=f"redis://127.0.0.1:{free_port()}/0", write_rate_per_minute=20, log_level="error")
    program = ApiClient(app)
    guess = {"current_password": "wrong", "new_password": "another horse battery"}
    assert [program.put("/me/password", guess, headers=headers).status_code for _ in range(7)] == [403] * 7
    statuses = Counter(program.patch("/me", {"name": f"N {n}"}, headers=headers).status_code for n in range(20))
    assert statuses == {200: 13, 429: 7}
    assert program.get("/me", headers=headers).status_code == 200
