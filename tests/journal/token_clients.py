"""Writers and readers of users by API token."""

from typing import Any

from tests.journal.cluster import Cluster
from tests.journal.http_client import Answer, HttpClient, RepeatingClient, shown_users
from tests.journal.operations import Journal, Operation

SUBJECTS = 8


def create_subjects(cluster: Cluster) -> list[str]:
    """Create the users that all writers change. Returns their ids."""
    bodies = [{"username": f"subject{number}", "name": "first"} for number in range(SUBJECTS)]
    return [cluster.request("POST", "/api/users", body)["id"] for body in bodies]


class Writer(RepeatingClient):
    """Creates users, and changes the subjects. Some answers get lost on their way."""

    hang_up_share = 0.05
    was_repeated = False
    """Whether the last creation was sent more than once."""

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str, subjects: list[str]) -> None:
        super().__init__(name, cluster, journal, seed)
        self.subjects = subjects

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.15:
            self.create()
        elif chance < 0.25:
            self.replace()
        else:
            # A change of `active` or `role` takes a lock.
            self.update({"active": True} if chance < 0.4 else {})

    def create(self) -> str:
        """Create a user, and return its id, or ""."""
        operation = self.operation("create")
        answer = self.settled(operation, {"username": operation.marker})
        user_id = answer.json["id"] if answer.status == 201 else ""
        self.record(operation, answer, target=user_id, shown=shown_users(answer))
        return user_id

    def settled(self, operation: Operation, body: Any) -> Answer:
        """Create a user. Without an answer, repeat the request with its Idempotency-Key until there is one."""
        headers = {"Idempotency-Key": operation.request_id}
        answer = self.send(operation, "POST", "/api/users", body, headers)
        self.was_repeated = answer.outcome == "unknown"
        while answer.outcome == "unknown" and not self.stop.wait(0.1):
            answer = self.send(operation, "POST", "/api/users", body, headers)
        return answer

    def update(self, body: dict[str, Any]) -> None:
        operation = self.operation("update", self.random.choice(self.subjects))
        self.write(operation, "PATCH", f"/api/users/{operation.target}", {"name": operation.marker, **body})

    def replace(self) -> None:
        index = self.random.randrange(len(self.subjects))
        operation = self.operation("update", self.subjects[index])
        body = {"username": f"subject{index}", "name": operation.marker, "attributes": {"n": operation.number}}
        self.write(operation, "PUT", f"/api/users/{operation.target}", body)


class Creator(Writer):
    """Creates users, and loses many answers, so that it repeats its requests."""

    rate = 8.0
    hang_up_share = 0.3

    def step(self) -> None:
        self.create()


class TrashWriter(Writer):
    """Creates users, and deletes, restores and purges them. Reads them after each step."""

    rate = 10.0

    def step(self) -> None:
        user_id = self.create()
        if not user_id:
            return
        path = f"/api/users/{user_id}"
        steps = [("delete", "DELETE", path), ("restore", "POST", f"{path}/restore"), ("delete", "DELETE", path)]
        if self.random.random() < 0.5:
            steps.append(("purge", "DELETE", f"{path}?purge=true"))
        for kind, method, url in steps[: self.random.randint(1, 4)]:
            if self.write(self.operation(kind, user_id), method, url).outcome != "ok":
                return
            read_user(self, user_id)


class Reader(RepeatingClient):
    """Reads one subject, finds it by its username, or reads a page of them."""

    rate = 100.0

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str, subjects: list[str]) -> None:
        super().__init__(name, cluster, journal, seed)
        self.subjects = subjects

    def step(self) -> None:
        chance, index = self.random.random(), self.random.randrange(len(self.subjects))
        if chance < 0.6:
            read_user(self, self.subjects[index])
        elif chance < 0.8:
            self.find(f"username=subject{index}", [self.subjects[index]])
        else:
            self.find("q=subject&sort=username&limit=50", self.subjects)

    def find(self, query: str, expected: list[str]) -> None:
        """Read a page that has to contain these users."""
        operation = self.operation("read")
        answer = self.send(operation, "GET", f"/api/users?{query}")
        missing = dict.fromkeys(expected) if answer.status == 200 else {}
        self.record(operation, answer, shown=missing | shown_users(answer))


def read_user(client: HttpClient, user_id: str) -> Answer:
    """Read a user on a random host."""
    operation = client.operation("read", user_id)
    answer = client.send(operation, "GET", f"/api/users/{user_id}")
    client.record(operation, answer, shown={user_id: None} if answer.status == 404 else shown_users(answer))
    return answer
