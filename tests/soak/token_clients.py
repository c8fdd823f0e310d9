"""Clients of the API by token: they read and search, change, create and purge, use tokens, and are refused."""

from urllib.parse import quote

from tests.soak.client import Client

WORDS = (
    "anna",
    "bertil",
    "chiara",
    "dmitri",
    "emre",
    "fatima",
    "giorgos",
    "hana",
    "ingrid",
    "joão",
    "kenji",
    "łucja",
    "crowd",
)
_SORTS = ("created_at", "-created_at", "updated_at", "name", "-username", "email")
_FILTERS = ("", "&role=member", "&active=true", "&attributes.plan=pro", "&deleted=true", "&role=editor&active=true")


def base_user(number: int) -> dict[str, object]:
    """The body of a user that exists during the whole run."""
    words = f"{WORDS[number % len(WORDS)]} {WORDS[number // len(WORDS) % len(WORDS)]}"
    plan = {"plan": "pro" if number % 3 else "free", "n": number}
    return {"username": f"base{number}", "email": f"base{number}@example.org", "name": words, "attributes": plan}


class Reader(Client):
    """Reads users, conditionally too, lists, searches, counts, pages and histories."""

    rate = 30.0

    def step(self) -> None:
        user_id, chance = self.random.choice(self.load.base), self.random.random()
        if chance < 0.5:
            self.send("GET", f"/api/users/{user_id}")
        elif chance < 0.6:
            etag = self.send("GET", f"/api/users/{user_id}").headers["ETag"]
            self.send("GET", f"/api/users/{user_id}", expect=(200, 304), headers={"If-None-Match": etag})
        elif chance < 0.7:
            self.send("GET", f"/api/users/{user_id}/history?limit={self.random.choice((5, 50))}")
        elif chance < 0.85:
            self.search()
        elif chance < 0.98:
            self.turn_pages()
        else:
            self.send("GET", self.random.choice(("/api/health", "/api/openapi.json", "/api/tokens", "/api/session")))

    def search(self) -> None:
        """Search one or two words, as they are typed."""
        words = " ".join(self.random.sample(WORDS, self.random.randint(1, 2)))
        text = words[: self.random.randint(1, len(words))]
        filters = self.random.choice(_FILTERS)
        self.send("GET", f"/api/users?q={quote(text)}{filters}&limit=20")

    def turn_pages(self) -> None:
        """Read two pages of a list, and perhaps their number."""
        path = f"/api/users?sort={self.random.choice(_SORTS)}{self.random.choice(_FILTERS)}&limit=25"
        count = self.random.choice(({}, {"Prefer": "count=exact"}, {"Prefer": "count=estimated"}))
        link = self.send("GET", path, headers=count).headers.get("Link", "")
        following = [part for part in link.split(",") if 'rel="next"' in part]
        if following:
            # The address may be absolute.
            url = following[0].partition("<")[2].partition(">")[0]
            self.send("GET", url[url.index("/api/") :])


class Writer(Client):
    """Changes and replaces the base users."""

    rate = 10.0

    def step(self) -> None:
        index = self.random.randrange(len(self.load.base))
        # Not ever new values: the search index would keep each.
        path, number = f"/api/users/{self.load.base[index]}", self.load.next_number() % 1000
        if self.random.random() < 0.8:
            self.send("PATCH", path, {"attributes": {"n": number}})
        else:
            body = base_user(index)
            self.send("PUT", path, {**body, "name": f"{body['name']} {number % 50}"})


class Burst(Client):
    """Changes, reads and lists users as fast as possible, for some seconds."""

    def step(self) -> None:
        for _ in range(20):
            path = f"/api/users/{self.random.choice(self.load.base)}"
            self.send("PATCH", path, {"attributes": {"n": self.load.next_number() % 1000}})
            self.send("GET", path)
            self.send("GET", f"/api/users?q=crowd&role=member&sort={self.random.choice(_SORTS)}")
        self.close()


class Passing(Client):
    """Creates a user with an Idempotency-Key, repeats that, changes, deletes, restores and purges it."""

    rate = 1.2

    def step(self) -> None:
        name = self.name_of_new()
        body, key = {"username": name, "email": f"{name}@example.org", "name": "Passing By"}, {"Idempotency-Key": name}
        user_id = self.send("POST", "/api/users", body, expect=(201,), headers=key).json["id"]
        again = self.send("POST", "/api/users", body, expect=(201,), headers=key)
        assert again.headers["Idempotent-Replayed"] == "true", again
        path = f"/api/users/{user_id}"
        self.send("PATCH", path, {"name": "Passing Through"}, headers={"If-Match": '"1"'})
        self.send("PATCH", path, {"name": "Passing"}, expect=(412,), headers={"If-Match": '"1"'})
        self.send("DELETE", path, expect=(204,))
        self.send("GET", path, expect=(404,))
        self.send("POST", f"{path}/restore")
        self.send("PATCH", path, {"active": False})
        if self.random.random() < 0.5:
            self.send("DELETE", path, expect=(204,))
        self.send("DELETE", f"{path}?purge=true", expect=(204,))
        self.send("GET", f"{path}/history")


class TokenClient(Client):
    """Creates tokens of the base users, uses them, revokes them, and uses them again."""

    rate = 1.0

    def step(self) -> None:
        body = {"name": "short", "user_id": self.random.choice(self.load.base), "role": "member"}
        created = self.send("POST", "/api/tokens", body, expect=(201,)).json
        own = {"Authorization": f"Bearer {created['token']}"}
        for _ in range(3):
            self.send("GET", "/api/me", headers=own)
        self.send("DELETE", f"/api/tokens/{created['id']}", expect=(204,))
        self.send("GET", "/api/me", expect=(401,), headers=own)


class Refused(Client):
    """Sends requests that are refused: each error of docs/api.md that needs no sign-in."""

    rate = 3.0

    def step(self) -> None:
        method, path, body, status = self.random.choice(
            (
                ("GET", "/api/users/none", None, 404),
                ("GET", "/api/nothing", None, 404),
                ("GET", "/api/users?cursor=none", None, 400),
                ("GET", "/api/users?limit=0", None, 422),
                ("POST", "/api/users", {"username": ""}, 422),
                ("POST", "/api/users", b"{", 400),
                ("POST", "/api/users", {"username": "base1"}, 409),
                ("PUT", "/api/users", {}, 405),
            )
        )
        self.send(method, path, body, expect=(status,), headers={"Content-Type": "application/json"})
        unknown = {"Authorization": f"Bearer fsa_{self.random.randrange(10**9)}"}
        self.send("GET", f"/api/users/{self.random.choice(self.load.base)}", expect=(401,), headers=unknown)
