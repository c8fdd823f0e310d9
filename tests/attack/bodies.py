"""The bodies of the requests in the tables of permissions, so that a request which gets through changes something."""

from string import Template

from tests.attack.permissions import Line
from tests.support.secured_app import PASSWORD

_NEW_PASSWORD = "another horse battery"
BODIES: dict[tuple[str, str], dict[str, str | bool]] = {
    ("POST", "/api/users"): {"username": "new"},
    ("PUT", "/api/users/{user_id}"): {"username": "$username", "email": "$email", "role": "$role", "name": "New"},
    ("PATCH", "/api/users/{user_id}"): {"name": "New"},
    ("PATCH", "/api/me"): {"name": "New"},
    ("PUT", "/api/me/password"): {"current_password": PASSWORD, "new_password": _NEW_PASSWORD},
    ("POST", "/api/session"): {"username": "root", "password": PASSWORD},
    ("POST", "/api/tokens"): {"name": "new", "role": "member"},
    ("POST", "/first"): {"email": "new@example.org", "name": "New", "password": PASSWORD},
    ("POST", "/language"): {"language": "fr"},
    ("POST", "/sign-in"): {"username": "root", "password": PASSWORD},
    ("POST", "/password"): {"current_password": PASSWORD, "new_password": _NEW_PASSWORD},
    ("POST", "/api-tokens"): {"name": "new", "role": "member", "days": "30"},
    ("POST", "/people/bulk"): {"action": "delete", "id": "$user_id", "expected": "1"},
    ("POST", "/people/new"): {"username": "new", "active": "on"},
    ("POST", "/people/{user_id}"): {"name": "New", "version": "1", "original": '{"name": "$name"}'},
    ("POST", "/people/{user_id}/purge"): {"confirmed": "1"},
}
"""Method and path to fields. The names after $ are those of the target."""


def body_of(line: Line, user: dict[str, str]) -> dict[str, str | bool]:
    """The fields that the request of this line sends for this user."""
    fields = BODIES.get((line.method, line.path.partition("?")[0]), {})
    return {
        name: Template(value).substitute(user) if isinstance(value, str) else value for name, value in fields.items()
    }
