"""Two hosts: a session of one host survives the cached account status of the other, which is up to 100 ms old.

The lease of the other host never ends here and no change poller runs, so it keeps what it has cached.
"""

from collections.abc import Callable

import pytest
from flask import Flask

from app.http.services import services_of
from tests.support.leases import grant_lease
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient, cookie_of

NEW = "another horse battery"


@pytest.fixture
def secured_app(make_app: Callable[..., Flask], empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - called for its effect
    """The host on which users are changed."""
    return SecuredApp(make_app())


@pytest.fixture
def other_host(make_app: Callable[..., Flask], secured_app: SecuredApp) -> Callable[[UserClient], UserClient]:  # noqa: ARG001 - its administrator exists first
    """The same client on a host that hears of no change."""
    app = make_app()
    services_of(app).state.is_secured = True
    grant_lease(app)
    return lambda client: UserClient(app, client.headers, client.user)


def test_a_session_that_began_with_a_change_of_password_survives_on_the_other_host(
    secured_app: SecuredApp, other_host: Callable[[UserClient], UserClient]
) -> None:
    user = secured_app.create_user(password=PASSWORD)
    old = secured_app.session_client(user)
    assert other_host(old).get("/me").status_code == 200
    changed = old.put("/me/password", {"current_password": PASSWORD, "new_password": NEW})
    new = secured_app.cookie_client(cookie_of(changed), user)
    for client in (other_host(new), new):
        response = client.get("/me")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert client.patch("/me", {"name": "Ada"}).status_code == 200
    assert [session["current"] for session in other_host(new).get("/me/sessions").json] == [True]
    assert old.get("/me").status_code == 401


def test_a_session_with_a_new_role_keeps_it_on_the_other_host(
    secured_app: SecuredApp, other_host: Callable[[UserClient], UserClient]
) -> None:
    user = secured_app.create_user()
    old = secured_app.session_client(user)
    assert other_host(old).get("/users").status_code == 403
    assert secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"}).status_code == 200
    new = secured_app.cookie_client(cookie_of(old.get("/users")), user)
    for client in (other_host(new), new):
        response = client.get("/users")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers


def test_a_session_that_a_later_change_ended_ends_on_both_hosts(
    secured_app: SecuredApp, other_host: Callable[[UserClient], UserClient]
) -> None:
    user = secured_app.create_user(password=PASSWORD)
    old = secured_app.session_client(user)
    assert other_host(old).get("/me").status_code == 200
    changed = old.put("/me/password", {"current_password": PASSWORD, "new_password": NEW})
    new = secured_app.cookie_client(cookie_of(changed), user)
    assert secured_app.admin.patch(f"/users/{user['id']}", {"password": PASSWORD}).status_code == 200
    for client in (other_host(new), new):
        response = client.get("/me")
        assert response.status_code == 401
        assert cookie_of(response) == ""
