"""Clients that send conflicting writes to both hosts at the same time."""

from typing import Any

from tests.journal.cluster import ADMIN_EMAIL, PASSWORD, Cluster
from tests.journal.http_client import Answer, HttpClient, RepeatingClient, shown_users
from tests.journal.operations import Journal
from tests.journal.token_clients import Writer
from tests.support.concurrency import at_once


class Race(RepeatingClient):
    """A client that acts through two others, one for each host."""

    rivals: list[Any]

    def close(self) -> None:
        super().close()
        for rival in self.rivals:
            rival.close()


class NameRace(Race):
    """Creates two users with the same name or email at the same time. Then it deletes the one that was created."""

    rate = 3.0

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str) -> None:
        super().__init__(name, cluster, journal, seed)
        self.rivals = [Writer(f"{name}, rival {number}", cluster, journal, seed, []) for number in (0, 1)]

    def step(self) -> None:
        name = f"race{self.journal.next_number()}"
        bodies = [{"username": f"{name}@example.org"}, {"username": name, "email": f"{name.upper()}@example.org"}]
        for rival in self.rivals:
            rival.stop = self.stop
        chosen = [self.random.choice(bodies) for _ in self.rivals]
        # Deleted only when both are answered, so two users with one name would be there at the same time.
        for user_id in at_once([lambda index=index: self.create(index, chosen[index]) for index in (0, 1)]):
            if user_id:
                self.settle("delete", user_id, "DELETE", f"/api/users/{user_id}")

    def create(self, index: int, body: dict[str, Any]) -> str:
        """Create a user on this host. Returns its id, or ""."""
        operation = self.rivals[index].operation("create", host=index)
        answer = self.rivals[index].settled(operation, body)
        user_id = answer.json["id"] if answer.status == 201 else ""
        # A refusal is not stored under the key. If the name is free again, an earlier attempt may still succeed.
        is_open = answer.outcome == "refused" and self.rivals[index].was_repeated
        outcome = {"outcome": "unknown"} if is_open else {}
        self.rivals[index].record(operation, answer, target=user_id, shown=shown_users(answer), marker=None, **outcome)
        return user_id


class AdminRace(Race):
    """Removes both administrators who can sign in at the same time, on both hosts. Then it restores them."""

    rate = 2.0

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str) -> None:
        super().__init__(name, cluster, journal, seed)
        self.rivals = [HttpClient(f"{name}, rival {number}", cluster, journal, seed) for number in (0, 1)]
        (first,) = cluster.request("GET", f"/api/users?email={ADMIN_EMAIL}")
        second = {"email": "second@example.org", "role": "admin", "password": PASSWORD}
        self.admins = [first["id"], cluster.request("POST", "/api/users", second)["id"]]

    def step(self) -> None:
        for rival in self.rivals:
            rival.stop = self.stop
        order = self.random.sample((0, 1), 2)
        at_once(
            [
                lambda rival=rival, host=host: self.remove(rival, host)
                for rival, host in zip(self.rivals, order, strict=True)
            ]
        )
        for user_id in self.admins:
            self.settle("set", user_id, "POST", f"/api/users/{user_id}/restore")
            self.settle("set", user_id, "PATCH", f"/api/users/{user_id}", {"role": "admin", "active": True})

    def remove(self, rival: HttpClient, host: int) -> Answer:
        user_id = self.admins[self.rivals.index(rival)]
        path = f"/api/users/{user_id}"
        ways = [("PATCH", path, {"role": "member"}), ("PATCH", path, {"active": False}), ("DELETE", path, None)]
        return rival.write(rival.operation("set", user_id, host), *rival.random.choice(ways))
