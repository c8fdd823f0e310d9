"""The ASGI adapter admits a bounded number of requests, and refuses others without Flask."""

import asyncio
import json
import threading
import time
from collections import Counter
from typing import Any

import pytest
from werkzeug.wrappers import Response

from app.http.granian_adapter import AsgiApp
from tests.support.api_client import check_problem
from tests.support.asgi import exchange_async, run, scope_of
from tests.unit.test_granian_adapter import PLAIN, serving

MANY = 500
SOON_S = 1.0
LONG_S = 20.0
BURST, PAUSE_S = 50, 0.3
CROWD, CALM_S = 120, 2.5


class Waiting:
    """A WSGI application that answers health checks at once, and other requests when the test ends."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if "health" not in environ["PATH_INFO"]:
            self.goes_on.wait(20)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]


class Metered:
    """A WSGI application that answers as many requests as the test permits."""

    def __init__(self) -> None:
        self.permits, self._answered = threading.Semaphore(0), 0

    def __call__(self, _: dict[str, Any], start_response: Any) -> list[bytes]:
        self.permits.acquire(timeout=20)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    async def answer(self, total: int, tasks: list["asyncio.Task[Response]"]) -> None:
        """Answer requests until `total` of the tasks have an answer of this application."""
        self.permits.release(total - self._answered)
        self._answered, until = total, time.monotonic() + LONG_S
        while sum(task.done() and task.result().status_code == 200 for task in tasks) < total:
            assert time.monotonic() < until
            await asyncio.sleep(0)


class Clock:
    """The time of the running event loop, which only the test changes."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        loop.time = lambda: self.now  # type: ignore[method-assign]


async def settled() -> None:
    """Let all tasks run until they wait for a thread."""
    for _ in range(20):
        await asyncio.sleep(0)


async def get(adapter: AsgiApp, path: str, **headers: str) -> Response:
    response = await exchange_async(adapter, scope_of("GET", path, {**PLAIN, **headers}))
    assert response is not None
    return response


async def flood(adapter: AsgiApp) -> list["asyncio.Task[Response]"]:
    """More requests at the same time than are admitted. Returns when some are refused."""
    tasks = [asyncio.create_task(get(adapter, "/users")) for _ in range(MANY)]
    until = time.monotonic() + SOON_S
    while not any(task.done() for task in tasks):
        assert time.monotonic() < until, "nothing is refused"
        await asyncio.sleep(0.01)
    return tasks


def test_requests_above_the_limit_are_refused_at_once() -> None:
    app = Waiting()
    adapter = serving(app)

    async def main() -> None:
        tasks = await flood(adapter)
        refused = [task.result() for task in tasks if task.done()]
        assert 0 < len(refused) < MANY
        for response in refused:
            assert response.status_code == 503
            check_problem(503, response.headers, response.data)
            assert (response.headers["Retry-After"], response.headers["Cache-Control"]) == ("1", "no-store")
        app.goes_on.set()
        admitted = [response for response in await asyncio.gather(*tasks) if response.status_code == 200]
        assert len(admitted) == MANY - len(refused)
        assert (await get(adapter, "/users")).status_code == 200

    run(main())


def test_one_pause_refuses_no_burst() -> None:
    app = Waiting()
    adapter = serving(app)

    async def main() -> None:
        clock = Clock()
        tasks = [asyncio.create_task(get(adapter, "/users")) for _ in range(BURST)]
        await settled()
        clock.now += PAUSE_S
        tasks += [asyncio.create_task(get(adapter, "/users")) for _ in range(BURST)]
        await settled()
        app.goes_on.set()
        assert {response.status_code for response in await asyncio.gather(*tasks)} == {200}

    run(main())


def test_a_second_pause_is_overload() -> None:
    app = Waiting()
    adapter = serving(app)

    async def main() -> None:
        clock = Clock()
        tasks = [asyncio.create_task(get(adapter, "/users")) for _ in range(BURST)]
        for _ in range(2):
            await settled()
            clock.now += PAUSE_S
            tasks.append(asyncio.create_task(get(adapter, "/users")))
        assert (await tasks[-1]).status_code == 503
        app.goes_on.set()
        assert [response.status_code for response in await asyncio.gather(*tasks)] == [200] * (BURST + 1) + [503]

    run(main())


def test_after_an_overload_the_limit_grows_step_by_step() -> None:
    app = Metered()
    adapter = serving(app)

    async def statuses() -> Counter[int]:
        responses = await asyncio.gather(*[get(adapter, "/users") for _ in range(CROWD)])
        return Counter(response.status_code for response in responses)

    async def main() -> None:
        clock = Clock()
        tasks = [asyncio.create_task(get(adapter, "/users")) for _ in range(BURST)]
        await settled()
        for total in (1, 21, 41):
            await app.answer(total, tasks)
            clock.now += PAUSE_S
            tasks.append(asyncio.create_task(get(adapter, "/users")))
            await settled()
        app.permits.release(3 * CROWD)
        assert 503 in {response.status_code for response in await asyncio.gather(*tasks)}
        clock.now += PAUSE_S
        assert 0 < (await statuses())[503] < CROWD
        clock.now += PAUSE_S
        assert (await get(adapter, "/users")).status_code == 200
        clock.now += CALM_S
        assert await statuses() == {200: CROWD}

    run(main())


@pytest.mark.parametrize("path", ["/api/health/live", "/health/ready", "/api/health"])
def test_health_checks_are_answered_while_requests_are_refused(path: str) -> None:
    app = Waiting()
    adapter = serving(app)

    async def main() -> None:
        tasks = await flood(adapter)
        assert (await get(adapter, path)).status_code == 200
        # What is cached needs no thread.
        assert (await get(adapter, "/known")).data == b"found"
        app.goes_on.set()
        await asyncio.gather(*tasks)

    run(main())


@pytest.mark.parametrize(("path", "is_page"), [("/people", True), ("/api/users", False)])
def test_a_refused_browser_gets_a_page(path: str, is_page: bool) -> None:
    app = Waiting()
    adapter = serving(app)

    async def main() -> None:
        tasks = await flood(adapter)
        response = await get(adapter, path, **{"Accept": "text/html", "X-Request-ID": "request-1"})
        assert (response.status_code, response.mimetype == "text/html") == (503, is_page)
        assert response.headers["X-Request-ID"] == "request-1"
        assert "request-1" in response.get_data(as_text=True)
        if not is_page:
            assert json.loads(response.data)["instance"] == "request-1"
        app.goes_on.set()
        await asyncio.gather(*tasks)

    run(main())
