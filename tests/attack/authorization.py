"""Makes every request of the URL map with every credential for every target."""

import functools
import re

from app import create_app
from app.http.services import services_of
from tests.attack.bodies import body_of
from tests.attack.permissions import API, CONSOLE, MISSING, Line, read
from tests.attack.world import Agent, World

LINES = [*read(API), *read(CONSOLE)]
REFUSALS = (401, 403)
SAFE = ("GET", "HEAD", "OPTIONS")


def routes(*, api: bool) -> list[tuple[str, str]]:
    """Method and path of the routes of the API, or of all others."""
    found = _all_routes()
    paths = {path for _, path in found}
    return [route for route in found if api == (route[1].startswith("/api/") or f"/api{route[1]}" in paths)]


@functools.cache
def _all_routes() -> list[tuple[str, str]]:
    app = create_app(database_url="postgresql://nobody@localhost/x")
    found = [
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]
    services_of(app).close()
    return sorted(found, key=lambda route: (route[1], route[0]))


def lines_of(method: str, path: str) -> list[Line]:
    """The lines of the tables for this route. Those of /api also count at the root, and those of GET for HEAD."""
    method = "GET" if method == "HEAD" else method
    patterns = [(method, re.sub(r"{\w+}", "{}", prefix + path)) for prefix in ("", "/api")]
    found = [line for line in LINES if line.pattern in patterns]
    assert found, MISSING.format(method=method, path=path)
    return found


def wrong_answers(world: World, method: str, path: str) -> list[str]:
    """Make the requests of a route. Returns a sentence for each answer that is not the one of the tables."""
    return [
        f"{agent.credential.name}, for {target}: {problem}"
        for line in lines_of(method, path)
        for agent in world.agents
        for target in line.statuses
        for problem in _problems(world, line, method, path + line.query, agent, target)
    ]


def _problems(world: World, line: Line, method: str, path: str, agent: Agent, target: str) -> list[str]:
    expected, found = line.expected(agent.credential, target), []
    user = world.users_of(agent)[target]
    watches_sessions = expected in REFUSALS and re.search("session|sign|password", path) is not None
    sessions = world.sessions(user) if watches_sessions else None
    if "demoted" in agent.credential.name:
        world.reset_sessions()
    status, text = _send(world, line, method, path, agent, user)
    is_changed = world.is_changed()
    if status != expected:
        found.append(f"{status} instead of {expected}")
    if is_changed and (expected >= 400 or method in SAFE):
        found.append("a request that changes nothing changed rows")
    if watches_sessions and world.sessions(user) != sessions:
        found.append("a refused request changed the sessions")
    if agent.credential.role in (None, "member") and expected in REFUSALS and user["email"] in text:
        found.append("the refusal contains the email")
    if is_changed:
        world.reset()
    return found


def _send(world: World, line: Line, method: str, path: str, agent: Agent, user: dict[str, str]) -> tuple[int, str]:
    """Send the request. Returns status and body."""
    fields = body_of(line, user)
    body = {"data": fields} if not line.path.startswith("/api/") else {"json": fields} if fields else {}
    name = "start.js" if line.path.startswith("/api/") else "console.css"
    target = path.format_map({**user, "digest": "000000000000", "name": name})
    response = world.client.open(target, method=method, headers=agent.headers, **body)
    with response:
        return response.status_code, response.text
