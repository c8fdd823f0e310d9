"""The service beside its model: sends requests, judges answers, and compares the tables with the model."""

import itertools
from collections.abc import Callable
from typing import Any

import psycopg
from hypothesis.stateful import RuleBasedStateMachine, invariant
from werkzeug.test import TestResponse

from tests.attack.fuzz_users import NEW_IDS, Pick
from tests.attack.model import FIELDS, KEPT, ROLES, Credential, Model, User, identifiers, ordered, same
from tests.support.secured_app import PASSWORD, SAME_ORIGIN, SecuredApp, UserClient

RECORD_ACTIONS = {"created", "changed", "deleted", "restored", "purged"}
LISTED_EVERY = 5
"""Steps. The tables are compared after each step."""
_ADDRESSES = itertools.count(1)


class Beside(RuleBasedStateMachine):
    """A new service with an administrator, and a viewer who only looks on."""

    start: Callable[[], SecuredApp]
    """Empties the service, and creates an administrator."""
    sql: psycopg.Connection[Any]

    def __init__(self) -> None:
        super().__init__()
        self.site, self.model = type(self).start(), Model()
        self.client = UserClient(self.site.app, {}, {})
        self.ids, self.steps = list(NEW_IDS), 0
        self.replies: dict[tuple[str, str | None], tuple[dict[str, Any], User]] = {}
        nobody = {"Authorization": f"Bearer fsa_{'0' * 49}"}
        self.model.credentials += [Credential(), Credential(headers=nobody)]
        root, first = self.site.admin.get("/me").json, Credential("session", self.site.admin.headers, "")
        first.user_id = root["id"]
        self.model.credentials.insert(0, first)
        self._know(root, first, PASSWORD)
        self.model.history[root["id"]] = [("created", 1, None)]
        self.ids.append(root["id"])
        self.observer = self._observer(first)
        self._begin(first)

    def _observer(self, root: Credential) -> UserClient:
        viewer = self.site.create_user("viewer", username="observer")
        self._know(viewer, root, None)
        self.observer_id = viewer["id"]
        return self.site.token_client(viewer)

    def _begin(self, root: Credential) -> None:
        """A user of each role and a second editor, each with a session and a token of each role up to its own."""
        for number, role in enumerate([*ROLES, "editor"]):
            # Without a password, so the first administrator is the last one who can sign in.
            password = None if role == "admin" else PASSWORD
            user = self.site.create_user(role, username=f"{role}-{number}", password=password)
            self._know(user, root, password)
            self.ids.append(user["id"])
            self.add_session(user["id"], self.site.session_cookie(user))
            for lower in ROLES[: ROLES.index(role) + 1]:
                self.add_token(self.site.token(user, lower))

    def _know(self, user: User, by: Credential, password: str | None) -> None:
        self.model.live[user["id"]], self.model.passwords[user["id"]] = user, password
        self.model.history[user["id"]] = [("created", 1, by.label)]

    def add_session(self, user_id: str, cookie: str, *, is_recent: bool = True) -> None:
        headers = {"Cookie": f"fsa_session={cookie}", **SAME_ORIGIN}
        self.model.credentials.append(Credential("session", headers, user_id, is_recent=is_recent))

    def add_token(self, made: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {made['token']}"}
        self.model.credentials.append(Credential("token", headers, made["user_id"], made["role"], made["id"]))

    def who(self, pick: Pick) -> Credential:
        """A credential: of an administrator, a valid one, or any. If there is none of the kind, any."""
        (kind, number), known = pick, self.model.credentials
        roles = [self.model.role_of(one) for one in known]
        chosen = [one for one, role in zip(known, roles, strict=True) if role == kind or (kind == "valid" and role)]
        chosen = chosen or known
        return chosen[number % len(chosen)]

    def whom(self, pick: Pick) -> str:
        """The id of a user: active, in the trash, or any id."""
        kind, number = pick
        part = {"live": self.model.live, "trash": self.model.trash}.get(kind, {})
        chosen = [user_id for user_id in self.ids if user_id in part] or self.ids
        return chosen[number % len(chosen)]

    def send(
        self, method: str, path: str, who: Credential, body: Any = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        """Send a request from an address of its own, so that no limit of sign-ins counts."""
        number = next(_ADDRESSES)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        own = {**who.headers, **(headers or {})}
        response = self.client(method, path, json=body, headers=own, environ_base={"REMOTE_ADDR": address})
        assert response.status_code < 500, response.text
        return response

    def judge(self, response: TestResponse, refusals: set[int], success: int) -> bool:
        """Whether the request succeeded. It must, unless the model has a reason to refuse it."""
        expected = refusals or {success}
        assert response.status_code in expected, (response.status_code, expected, response.text)
        return not refusals

    def written(
        self, response: TestResponse, whole: User, action: str, who: Credential, password: str | None = KEPT
    ) -> str:
        """Compare an answer that holds a user with what it must be, and take over what the service chose."""
        shown = response.json
        version = self.model.next_version(shown["id"])
        for name, value in whole.items():
            assert same(shown[name], value), name
        assert shown["version"] == version
        assert response.headers["ETag"] == f'"{version}"'
        assert shown.keys() == {"id", "version", "created_at", "updated_at", *FIELDS}
        self.model.store(shown, action, who, password)
        if shown["id"] not in self.ids:
            self.ids.append(shown["id"])
        return str(shown["id"])

    def known_history(self, user_id: str) -> None:
        """The history of a user is what the model recorded."""
        answer = self.observer.get(f"/users/{user_id}/history?limit=200")
        recorded = self.model.history.get(user_id)
        if recorded is None:
            assert answer.status_code == 404
            return
        shown = [entry for entry in answer.json if entry["action"] in RECORD_ACTIONS]
        assert [(entry["action"], entry["version"], entry["actor"]) for entry in shown] == recorded[::-1]
        if recorded[-1][0] == "purged":
            assert all(entry["changes"] == [] for entry in answer.json)
            assert all(entry["address"] is entry["agent"] is None for entry in answer.json[1:])

    @invariant()
    def lists_agree_now_and_then(self) -> None:
        self.steps += 1
        if self.steps % LISTED_EVERY == 0:
            self.lists_agree()

    def lists_agree(self) -> None:
        model = self.model
        assert same(self.observer.walk(limit=200), ordered(list(model.live.values()), "created_at"))
        trash = self.observer.walk(limit=200, deleted="true")
        assert {user["id"]: user["version"] for user in trash} == {k: u["version"] for k, u in model.trash.items()}

    @invariant()
    def tables_agree(self) -> None:
        model = self.model
        rows = self.sql.execute("SELECT id::text, version, deleted_at IS NOT NULL FROM users").fetchall()
        known = [(key, user["version"], in_trash) for part, in_trash in ((model.live, False), (model.trash, True))
                 for key, user in part.items()]  # fmt: skip
        assert sorted(rows) == sorted(known)
        names = [name for user in model.live.values() for name in identifiers(user)]
        assert len(names) == len(set(names))
        counted = self.sql.execute(
            "SELECT user_id::text, count(*) FROM history WHERE action = ANY(%s) GROUP BY user_id",
            [list(RECORD_ACTIONS)],
        ).fetchall()
        assert dict(counted) == {key: len(entries) for key, entries in model.history.items()}

    def teardown(self) -> None:
        self.lists_agree()
        for user_id in self.model.history:
            self.known_history(user_id)
