"""Two hosts of two processes each, asked and changed at random: no read is older than the promise.

Memory promises (docs/api.md, "What a read sees"): a read that begins after a write was answered sees that write or a
later one, at once on the host that answered it, 100 ms later on others. A run lasts for COHERENCE_S seconds (default
12; a release is held to 60: `COHERENCE_S=60 pytest tests/fault/test_coherence.py -rP`).

Nothing is allowed for measuring, since it only errs to one side: an answer was given before its client has read it,
and a read begins before the server hears of it; all clients and servers are on one clock.

Not tested, since it is the known exception: a host that alone can't reach Redis can't tell the others.
"""

import bisect
import contextlib
import http.client
import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from running import Service

from app.infra.courier import LEASE_S
from app.infra.memory import Memory
from app.infra.shared import SharedState, slot_of
from embedded import Redis

FOR_S = float(os.environ.get("COHERENCE_S", "12"))
PEOPLE = 10
READERS = 4
PASSWORD = "correct horse battery"
CHANCE = random.Random()  # noqa: S311 - nothing here is secret
LONGEST_S = 5.0
"""No answer takes longer than this, whatever Redis does; far above the promise, for a busy machine."""


@dataclass(frozen=True, slots=True)
class Write:
    """A thing got its `version` by a host: it was sent and answered then."""

    sent: float
    answered: float
    host: int
    thing: str
    version: int


@dataclass(frozen=True, slots=True)
class Read:
    """A host showed a thing; `shown` is its version, or whether it is as it was at first (even versions)."""

    began: float
    ended: float
    host: int
    thing: str
    shown: int | bool


@dataclass
class Record:
    """All that was seen. Appending to a list is safe for threads."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lags(self) -> Iterator[tuple[float, Read]]:
        """How long before each read began a write that it missed was answered elsewhere; on its own host: infinite."""
        histories = {thing: _History(self.writes, thing) for thing in {read.thing for read in self.reads}}
        for read in self.reads:
            yield histories[read.thing].lag(read), read


class _History:
    """The writes of one thing."""

    def __init__(self, writes: list[Write], thing: str) -> None:
        mine = sorted((one for one in writes if one.thing == thing), key=attrgetter("answered"))
        self._sent = sorted((one.sent, one.version) for one in mine)
        self._hosts = [_Answered([one for one in mine if one.host == host]) for host in (0, 1)]

    def lag(self, read: Read) -> float:
        version = self._latest_of(read) if isinstance(read.shown, bool) else read.shown
        own, other = self._hosts[read.host], self._hosts[1 - read.host]
        if own.missed(version, read.began) > 0:
            return float("inf")
        return other.missed(version, read.began)

    def _latest_of(self, read: Read) -> int:
        """The latest version that can have looked as it was shown."""
        sent = self._sent[: bisect.bisect_left(self._sent, (read.ended,))]
        latest = max((version for _, version in sent), default=0)
        return latest if (latest % 2 == 0) == read.shown else latest - 1


class _Answered:
    """What one host answered, in time."""

    def __init__(self, writes: list[Write]) -> None:
        self._times = [one.answered for one in writes]
        self._versions = list(itertools.accumulate((one.version for one in writes), max))

    def missed(self, version: int, began: float) -> float:
        """For how long a later version was answered when a read of `version` began; 0: there was none."""
        first = bisect.bisect_right(self._versions, version)
        return max(0.0, began - self._times[first]) if first < len(self._times) else 0.0


class Client:
    """One program with connections to both hosts, some to each, so that it meets all workers."""

    def __init__(self, house: "House", record: Record) -> None:
        self._house, self._record = house, record
        self._open = [
            [http.client.HTTPConnection("127.0.0.1", service.port, timeout=15) for _ in range(3)]
            for service in house.services
        ]

    def ask(self, host: int, method: str, path: str, token: str, body: Any = None) -> tuple[int, bytes, float, float]:
        """Status, body, and when it was sent and answered."""
        connection = CHANCE.choice(self._open[host])
        headers = {"Authorization": f"Bearer {token}"}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        sent = time.monotonic()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        answer = response.read()
        answered = time.monotonic()
        if answered - sent > LONGEST_S:
            self._record.faults.append(f"{method} {path} took {answered - sent:.1f} s")
        return response.status, answer, sent, answered

    def read(self, host: int, path: str, token: str) -> tuple[int, Any, float, float]:
        status, answer, began, ended = self.ask(host, "GET", path, token)
        return status, orjson.loads(answer), began, ended

    def write(self, host: int, method: str, path: str, body: Any = None) -> tuple[Any, float, float]:
        """What must be done, as administrator."""
        status, answer, sent, answered = self.ask(host, method, path, self._house.root, body)
        if status >= 300:
            self._record.faults.append(f"{method} {path} was answered with {status}: {answer.decode()}")
        return orjson.loads(answer) if answer else None, sent, answered

    def close(self) -> None:
        for one in itertools.chain(*self._open):
            one.close()


@dataclass
class House:
    """A closed service on two hosts: the token of an administrator, people, and a token of each."""

    services: list[Service]
    root: str = ""
    people: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def found(self) -> None:
        """While the service is open, everybody may be made; the administrator's password closes it."""
        first = self.services[0]
        root = first.post("/api/users", {"username": "root", "role": "admin"}).json
        self.root = self._token(root["id"], "admin")
        for number in range(PEOPLE):
            self.people.append(first.post("/api/users", {"username": f"person{number}", "name": "Person"}).json["id"])
            self.tokens.append(self._token(self.people[-1], "member"))
        assert first("PATCH", f"/api/users/{root['id']}", {"password": PASSWORD}).status == 200
        for service in self.services:
            service.wait_for(lambda service=service: service.get("/api/users").status == 401)

    def _token(self, user_id: str, role: str) -> str:
        body = {"name": "test", "user_id": user_id, "role": role}
        return self.services[0].post("/api/tokens", body).json["token"]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def found(
    serve: Callable[..., Service],
    own_redis: Redis,
    empty: Callable[[], None],  # noqa: ARG001 - it is called for its effect
) -> Callable[..., House]:
    """Start two services, so two hosts: the state of each has a file of its own."""

    def start(**env: str) -> House:
        own = {"WORKERS": "2", "REDIS_URL": own_redis.url, "WRITE_LIMIT": "0", "LOG_LEVEL": "warning", **env}
        made = House([serve(**own) for _ in range(2)])
        made.found()
        return made

    return start


@pytest.fixture
def quick_turns() -> Iterator[None]:
    """Threads that take turns often: what a client notes late hides what is old."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(usual)


def run(house: House, seconds: float, meanwhile: Callable[[float], None] = time.sleep) -> Record:
    """Read and write at random for so long."""
    record, stop = Record(), threading.Event()
    works = [_change, _change, _end_tokens, _lower, *[_read] * READERS]

    def work(do: Callable[[House, Client, Record, threading.Event], None]) -> None:
        with contextlib.closing(Client(house, record)) as client:
            try:
                do(house, client, record, stop)
            # The edge of a thread: whatever it was fails the test.
            except Exception as error:  # noqa: BLE001
                record.faults.append(f"{do.__name__}: {error!r}")

    threads = [threading.Thread(target=work, args=(do,)) for do in works]
    for thread in threads:
        thread.start()
    meanwhile(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return record


def _change(house: House, client: Client, record: Record, stop: threading.Event) -> None:
    """Change people: two threads, so that they meet."""
    for number in itertools.count():
        host, person = _host(), CHANCE.choice(house.people)
        # Some by one statement, some under a lock.
        body = {"attributes": {"n": number}} if CHANCE.random() < 0.7 else {"active": True, "name": f"Person {number}"}
        made, sent, answered = client.write(host, "PATCH", f"/api/users/{person}", body)
        record.writes.append(Write(sent, answered, host, person, made["version"]))
        if stop.wait(CHANCE.expovariate(30)):
            return


def _read(house: House, client: Client, record: Record, stop: threading.Event) -> None:
    """Read one of them, oneself, or a page."""
    while not stop.is_set():
        host, chance, number = _host(), CHANCE.random(), CHANCE.randrange(PEOPLE)
        if chance < 0.5:
            status, found, began, ended = client.read(host, f"/api/users/{house.people[number]}", house.root)
        elif chance < 0.8:
            status, found, began, ended = client.read(host, "/api/me", house.tokens[number])
        else:
            query = "sort=username" if chance < 0.9 else "q=person&limit=30"
            status, found, began, ended = client.read(host, f"/api/users?{query}", house.root)
        if status != 200:
            record.faults.append(f"a read was answered with {status}: {found}")
            continue
        for user in found if isinstance(found, list) else [found]:
            if user["id"] in house.people:
                record.reads.append(Read(began, ended, host, user["id"], user["version"]))


def _end_tokens(_: House, client: Client, record: Record, stop: threading.Event) -> None:
    """Make a token, use it, end it in one way or another, and see for how long it is still good."""
    guest = client.write(0, "POST", "/api/users", {"username": "guest"})[0]["id"]
    path = f"/api/users/{guest}"
    for number in itertools.count():
        thing, host = f"token {number}", _host()
        body = {"name": "short", "user_id": guest, "role": "member"}
        made = client.write(_host(), "POST", "/api/tokens", body)[0]
        for _ in range(12):
            if not _try_token(client, record, made["token"], thing):
                record.faults.append(f"{thing} is not good")
        _, by_standing, by_trash = ways = [
            ("DELETE", f"/api/tokens/{made['id']}", None),
            ("PATCH", path, {"active": False}),
            ("DELETE", path, None),
        ]
        way = CHANCE.choice(ways)
        _, sent, answered = client.write(host, *way)
        record.writes.append(Write(sent, answered, host, thing, 1))
        while time.monotonic() < answered + 2 * LEASE_S:
            _try_token(client, record, made["token"], thing)
        if way is by_standing:
            client.write(_host(), "PATCH", path, {"active": True})
        elif way is by_trash:
            client.write(_host(), "POST", f"{path}/restore")
        if stop.is_set():
            return


def _try_token(client: Client, record: Record, token: str, thing: str) -> bool:
    host = _host()
    status, found, began, ended = client.read(host, "/api/me", token)
    if status not in (200, 401):
        record.faults.append(f"{thing} was answered with {status}: {found}")
    record.reads.append(Read(began, ended, host, thing, 0 if status == 200 else 1))
    return status == 200


def _lower(house: House, client: Client, record: Record, stop: threading.Event) -> None:
    """Take a viewer's role away and give it back, and see for how long a token has the old one."""
    viewer = client.write(0, "POST", "/api/users", {"username": "viewer", "role": "viewer"})[0]["id"]
    body = {"name": "looks on", "user_id": viewer, "role": "viewer"}
    token = client.write(0, "POST", "/api/tokens", body)[0]["token"]
    for version in itertools.count(1):
        host = _host()
        role = "member" if version % 2 else "viewer"
        _, sent, answered = client.write(host, "PATCH", f"/api/users/{viewer}", {"role": role})
        record.writes.append(Write(sent, answered, host, "role", version))
        # Far longer than any lag, or one version could be taken for the next but one.
        until = answered + 0.5 + CHANCE.random() / 5
        while time.monotonic() < until:
            host = _host()
            status, found, began, ended = client.read(host, f"/api/users/{house.people[0]}", token)
            if status not in (200, 403):
                record.faults.append(f"the viewer was answered with {status}: {found}")
            record.reads.append(Read(began, ended, host, "role", status == 200))
        if stop.is_set():
            return


def _host() -> int:
    return CHANCE.randrange(2)


def require_coherent(record: Record, kind: str) -> None:
    """Nothing is older than the promise."""
    lags = list(record.lags())
    longest = max((lag for lag, _ in lags), default=0.0)
    print(  # noqa: T201 - shown by -rP
        f"{kind}: {len(record.reads)} reads, {len(record.writes)} writes,"
        f" the longest lag of another host {1000 * longest:.1f} ms, {sum(lag > 0 for lag, _ in lags)} reads lagged"
    )
    assert record.faults == []
    stale = [(round(1000 * lag, 1), read) for lag, read in lags if lag > LEASE_S]
    assert stale == [], f"{len(stale)} reads were too old"
    assert len(record.writes) > 5 * FOR_S


def transactions(database: psycopg.Connection[Any]) -> int:
    """All that there ever were in this database, of processes that ended or said so."""
    database.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return database.execute(sql).fetchone()[0]


def test_a_lease_that_is_given_while_somebody_looks_lends_nothing_old(tmp_path: Path) -> None:
    """It was over, and is given anew with what was heard meanwhile, between two steps of a reader."""

    class Courier:
        def __getitem__(self, _: int) -> int:
            state.touch([slot_of("k")])
            return 1 << 62

    with contextlib.closing(SharedState(tmp_path / "state")) as state:
        state.lease[0] = 1 << 62
        memory = Memory(state, 2**20, 60)
        memory.through("k", slot_of("k"), lambda: b"old")
        assert memory.recall("k") == b"old"
        memory._lease = Courier()
        assert memory.recall("k") is None


@pytest.mark.timeout(FOR_S + 120)
@pytest.mark.usefixtures("quick_turns")
def test_no_read_of_two_hosts_is_older_than_promised(
    found: Callable[..., House], database: psycopg.Connection[Any]
) -> None:
    # A machine that is busy with all of this is no reason to lose Redis: only one host would.
    house = found(REDIS_TIMEOUT_MS="500")
    before = transactions(database)
    record = run(house, FOR_S)
    for service in house.services:
        # A process tells its numbers when it ends.
        assert service.end() == 0
    asked, answered = transactions(database) - before, len({(read.began, read.host) for read in record.reads})
    print(f"{answered / FOR_S:.0f} answers to reads a second, {asked} transactions")  # noqa: T201 - shown by -rP
    require_coherent(record, "healthy")
    assert [event for service in house.services for event in service.events if event["event"] == "lost"] == []
    assert asked < answered / 2, "memory was hardly used"


@pytest.mark.timeout(FOR_S + 120)
@pytest.mark.usefixtures("quick_turns")
def test_no_read_is_older_than_promised_while_redis_is_killed_hangs_and_comes_back(
    found: Callable[..., House], own_redis: Redis
) -> None:
    def break_and_mend(seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        for kind in itertools.cycle(["killed", "hung"]):
            (own_redis.kill if kind == "killed" else own_redis.pause)()
            # Also so short that some lose it and others do not.
            time.sleep(CHANCE.uniform(0.03, 0.6))
            (own_redis.start if kind == "killed" else own_redis.resume)()
            # Sometimes it breaks again before everybody is back, sometimes memory is in use by then.
            time.sleep(CHANCE.choice([0.1, 0.5, 2.5]))
            if time.monotonic() > ends_at:
                return

    require_coherent(run(found(), FOR_S, break_and_mend), "Redis comes and goes")
