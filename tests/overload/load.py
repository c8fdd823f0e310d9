"""The clients, in a process of their own: `python -m tests.overload.load`, with a Plan in JSON as its argument.

It opens the idle and slow connections, then loads the service, and prints a Result in JSON. The idle and slow
connections stay open until its standard input ends.
"""

import asyncio
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from tests.overload.connections import Answers, Busy, Idle, Slow

TICK_S = 0.01
OPENED_AT_ONCE = 50


@dataclass(frozen=True)
class Plan:
    """What the clients do. users: a file in JSON with the id and username of each user, in random order.

    connections: of clients that send requests for `seconds`. obey_retry_after: else a refused client retries at once.
    first_user: where in `users` the requests begin. core: of this process.
    """

    port: int
    token: str
    users: str
    core: int
    connections: int
    seconds: float
    obey_retry_after: bool = True
    idle: int = 0
    slow: int = 0
    first_user: int = 0


@dataclass(frozen=True)
class Result:
    """What the clients saw. began, ended: time.monotonic(), which all processes share. Other times are in seconds.

    cpu: the share of its core that this process used. lags: how late its event loop was, at regular times.
    """

    began: float
    ended: float
    admitted: list[float]
    refused: list[float]
    wrong: dict[str, int]
    cpu: float
    lags: list[float]
    next_user: int


async def main(plan: Plan) -> None:
    """Run the plan, print the result, and wait for the end of the standard input."""
    request = f"GET /api/health/live HTTP/1.1\r\nHost: localhost:{plan.port}\r\n\r\n".encode()
    idle = [Idle(request, plan.port) for _ in range(plan.idle)]
    slow = [Slow(_slow_request(plan), number, plan.port) for number in range(plan.slow)]
    clients = [*idle, *slow]
    for index in range(0, len(clients), OPENED_AT_ONCE):
        await asyncio.gather(*(client.open() for client in clients[index : index + OPENED_AT_ONCE]))
    print(json.dumps(asdict(await _load(plan))), flush=True)  # noqa: T201 - the result for the test
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _load(plan: Plan) -> Result:
    answers, stop, lags = Answers(), asyncio.Event(), []
    numbers = itertools.count(plan.first_user)
    requests = _requests(plan, numbers)
    clients = [Busy(requests, plan.port, answers, stop, obeys=plan.obey_retry_after) for _ in range(plan.connections)]
    began, cpu_began = time.monotonic(), time.process_time()
    await asyncio.gather(*(client.open() for client in clients))
    while (now := time.monotonic()) < began + plan.seconds:
        await asyncio.sleep(TICK_S)
        lags.append(time.monotonic() - now - TICK_S)
    stop.set()
    ended, cpu = time.monotonic(), time.process_time() - cpu_began
    for client in clients:
        client.close()
    share = cpu / (ended - began)
    return Result(began, ended, answers.admitted, answers.refused, dict(answers.wrong), share, lags, next(numbers))


def _requests(plan: Plan, numbers: Iterator[int]) -> Iterator[bytes]:
    """Searches, reads and writes in turn, each of another user, so that no cache answers."""
    users = json.loads(Path(plan.users).read_text())
    shared = f"Host: localhost:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
    for number in numbers:
        user_id, username = users[number % len(users)]
        if number % 3 == 0:
            yield f"GET /api/users?q={quote(username)} HTTP/1.1\r\n{shared}\r\n".encode()
        elif number % 3 == 1:
            yield f"GET /api/users/{user_id} HTTP/1.1\r\n{shared}\r\n".encode()
        else:
            body = json.dumps({"name": f"Name {number}"})
            length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            yield f"PATCH /api/users/{user_id} HTTP/1.1\r\n{shared}{length}\r\n{body}".encode()


def _slow_request(plan: Plan) -> bytes:
    return (
        f"POST /api/users HTTP/1.1\r\nHost: localhost:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    ).encode()


if __name__ == "__main__":
    given = Plan(**json.loads(sys.argv[1]))
    os.sched_setaffinity(0, {given.core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(given))
