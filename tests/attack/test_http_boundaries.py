"""Malformed and unusual HTTP, against the service alone and behind Caddy: both find the same boundaries of messages."""

import itertools
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.attack import proxy
from tests.attack.connection import Answer, exchange
from tests.attack.http_corpus import CASES, REFUSED, Case, get, numbered, post
from tests.attack.rounds import Rounds
from tests.support.service_process import Service
from tests.support.waiting import wait_until

SECOND, OTHER = (get(mark, "Connection: close") for mark in ("second", "other"))
_NUMBERS = itertools.cycle(range(10_000))
"""Four digits, as the marks have them: another length would not be the Content-Length."""


@dataclass(frozen=True)
class Site:
    """A service in setup mode, and the ports at which it is reached: its own and, if there is Caddy, that of Caddy."""

    service: Service
    ports: dict[str, int]

    def handled(self, suffix: str) -> set[str]:
        """The marks with this suffix that the service has logged, without the suffix."""
        ids = {str(event.get("request_id", "")) for event in self.service.events}
        return {one.removesuffix(suffix) for one in ids if one.endswith(suffix)}


@pytest.fixture(scope="module")
def site(serve_all: Callable[..., Service], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # So that health checks are logged.
    service = serve_all(WORKERS="1", LOG_LEVEL="debug")
    if proxy.program() is None:
        yield Site(service, {"alone": service.port})
    else:
        with proxy.caddy(tmp_path_factory.mktemp("caddy"), service.port) as port:
            yield Site(service, {"alone": service.port, "behind Caddy": port})
    assert '"level":"error"' not in service.text


Split = Callable[[bytes], list[bytes]]


def ask(site: Site, port: int, case: Case, split: Split) -> list[Answer]:
    """The answers to a case and a second request. Checks their marks, and that another client is served then."""
    number = next(_NUMBERS)
    suffix = f"-{number:04}"
    found = exchange(port, split(numbered(case.data + SECOND, number)), f"second{suffix}")
    # Behind a proxy, this client may get the connection on which the case was sent.
    other = exchange(port, [numbered(OTHER, number)], f"other{suffix}")
    assert other == [Answer(200, f"other{suffix}")]
    wait_until(lambda: "other" in site.handled(suffix))
    allowed = case.allowed if port == site.service.port else case.allowed + case.by_caddy
    marks = tuple(str(one.mark).removesuffix(suffix) for one in found if one.mark and one.mark.endswith(suffix))
    assert marks in allowed, f"port {port}: {found}"
    handled = site.handled(suffix) - {"other"}
    assert handled <= set().union(*allowed), f"port {port}: the service handled {handled}: {found}"
    return found


def check(site: Site, case: Case, split: Split) -> None:
    """Send the case to each port, and compare the answers."""
    seen = set()
    for port in site.ports.values():
        found = ask(site, port, case, split)
        of_caddy = () if port == site.service.port else (501, 502, 505)
        assert all(one.status < 500 or one.status in of_caddy for one in found), f"port {port}: {found}"
        if case.allowed == REFUSED:
            assert all(one.status >= 400 for one in found[:1]), f"port {port}: {found}"
        elif len(found) > 1:
            seen.add(len(found))
    assert len(seen) <= 1, f"they disagree: {seen}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_requests_end_where_rfc_9112_says(site: Site, case: Case) -> None:
    check(site, case, lambda sent: [sent])


@pytest.mark.parametrize("case", [case for case in CASES if len(case.data) < 1000], ids=lambda case: case.name)
def test_bytes_that_arrive_one_by_one_change_nothing(site: Site, case: Case) -> None:
    check(site, case, lambda sent: [sent[at : at + 1] for at in range(len(sent))])


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """The bytes in up to twelve parts."""
    cuts = sorted(chance.randrange(len(data)) for _ in range(chance.randrange(12)))
    return [data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(data)])]


def test_pipelined_requests_are_answered_in_order(site: Site, rounds: Rounds) -> None:
    valid = [case.data for case in CASES if case.is_valid and b"Expect" not in case.data]
    for _ in rounds(5):
        sent = [rounds.chance.choice(valid) for _ in range(rounds.chance.randrange(2, 12))]
        for port in site.ports.values():
            numbers = [next(_NUMBERS) for _ in sent]
            data = b"".join(numbered(one, number) for one, number in zip(sent, numbers, strict=True))
            last = numbered(SECOND, next(_NUMBERS))
            found = exchange(port, pieces(data + last, rounds.chance), "second")
            marks = [str(one.mark) for one in found]
            assert marks[:-1] == [f"first-{number:04}" for number in numbers]
            assert marks[-1].startswith("second")


def test_a_request_that_breaks_off_changes_nothing(site: Site, rounds: Rounds) -> None:
    for number in rounds(10):
        name = f"cut-{rounds.seed}-{number}"
        body = b'{"username": "%s"}' % name.encode()
        chunks = b"".join(b"1\r\n%c\r\n" % one for one in body) + b"0\r\n\r\n"
        for whole in (post(f"Content-Length: {len(body)}", body=body), post("Transfer-Encoding: chunked", body=chunks)):
            cut = whole[: rounds.chance.randrange(1, len(whole) - 1)]
            for port in site.ports.values():
                with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                    for part in pieces(cut, rounds.chance):
                        client.sendall(part)
        assert site.service.get(f"/api/users?username={name}").json == []
