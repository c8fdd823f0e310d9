"""A browser on the user list of the console, signed in as an administrator: counts bytes, types searches."""

import random
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psycopg
from playwright.sync_api import Browser, BrowserContext, Error, Page, Response

from app import create_app
from app.auth.permissions import AuditContext
from app.http.parsing import SESSION_COOKIE
from app.http.services import services, services_of
from embedded.ports import HOST
from rig.subjects import Subject

PATH = "/people"
_PAUSE_S = (0.12, 0.30)
"""Pause between two keys of a fast and of a slow typist."""
_ANSWER_MS = 5_000
# A key is complete when data-q of #list equals the trimmed text of the input after that key. Callbacks of a frame run
# before the frame is painted; a message that such a callback posts arrives after.
_WATCH = """() => {
    const keys = (window.keys = []);
    const paint = new MessageChannel();
    document.addEventListener("input", (event) => {
        const text = event.target.value.trim();
        // A space at the end of a word asks for nothing new.
        if (event.target.type === "search" && keys.at(-1)?.text !== text) keys.push({ text, began: event.timeStamp });
    }, true);
    const note = () => {
        const shown = (document.getElementById("list")?.dataset.q ?? "").trim();
        const last = keys.findLastIndex((key) => key.text === shown);
        if (last < 0 || keys[last].state) return;
        for (const key of keys.slice(0, last)) key.state ??= "overtaken";
        keys[last].state = "standing";
        requestAnimationFrame(() => paint.port2.postMessage(last));
    };
    paint.port1.onmessage = ({ data }) => {
        keys[data].ms = performance.now() - keys[data].began;
        keys[data].state = "painted";
    };
    new MutationObserver(note).observe(document.body, {
        subtree: true, childList: true, attributes: true, attributeFilter: ["data-q"],
    });
}"""
_LAST_IS_PAINTED = "() => keys.at(-1).state === 'painted'"


class NotThere(RuntimeError):
    """The page does not have what this measurement needs; the message names it."""


@dataclass(frozen=True)
class Key:
    """One key of a word: the text in the input after it, and the ms until its rows were painted.

    None: the rows of a later key were painted first.
    """

    text: str
    ms: float | None


def sign_in(subject: Subject, redis_url: str) -> str:
    """End setup mode until the next start, and begin a session of an administrator. Returns its cookie.

    No administrator has a password, so the database does not have to change.
    """
    with psycopg.connect(subject.database_url) as connection:
        found = connection.execute(
            "SELECT id FROM users WHERE role = 'admin' AND active AND deleted_at IS NULL ORDER BY id LIMIT 1"
        ).fetchone()
    if found is None:
        raise NotThere("No user is an administrator: use more users.")
    app = create_app(database_url=subject.database_url, redis_url=redis_url, log_level="warning")
    held = services_of(app)
    held.state.is_secured = True
    with app.app_context():
        cookie, _ = services().sessions.create_after_reset(uuid.UUID(str(found[0])), AuditContext(agent="bench"))
    held.close()
    return cookie


def context_of(browser: Browser, subject: Subject, cookie: str) -> BrowserContext:
    """A signed-in browser without a cache."""
    url = f"http://{HOST}:{subject.port}"
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": SESSION_COOKIE, "value": cookie, "url": url, "httpOnly": True}])
    return context


def weigh(page: Page) -> dict[str, tuple[int, int]]:
    """Load the page. Returns the number of requests of each kind, and their bytes with headers."""
    network = page.context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def count(event: dict[str, Any]) -> None:
        kind = kinds.get(event["requestId"], "Other")
        found[kind] = (found[kind][0] + 1, found[kind][1] + round(event["encodedDataLength"]))

    network.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    network.on("Network.loadingFinished", count)
    network.send("Network.enable")
    page.goto(PATH, wait_until="networkidle")
    network.detach()
    return dict(found)


class Typist:
    """Types words into the search input of the user list, key by key."""

    def __init__(self, page: Page, chance: random.Random) -> None:
        """Open the page. Raises: NotThere, when it does not search while typing"""
        self._page, self._chance = page, chance
        self._refused: list[str] = []
        page.on("response", self._note)
        page.goto(PATH, wait_until="networkidle")
        self._box = page.get_by_role("searchbox")
        if not page.locator("#list").count():
            raise NotThere("The user list has no element #list for rows: it searches only on Enter.")
        page.evaluate(_WATCH)

    def type(self, word: str) -> list[Key]:
        """Type a word into the empty input, wait for its rows, and clear the input. Raises: NotThere"""
        self._box.focus()
        for letter in word:
            self._page.keyboard.type(letter)
            self._page.wait_for_timeout(1000 * self._chance.uniform(*_PAUSE_S))
        self._await(word)
        keys = self._page.evaluate("() => keys.splice(0)")
        self._box.fill("")
        self._await("")
        self._page.evaluate("() => { keys.length = 0 }")
        if self._refused:
            raise NotThere(f"{self._refused[0]}.")
        return [Key(key["text"], float(key["ms"]) if "ms" in key else None) for key in keys]

    def _await(self, text: str) -> None:
        try:
            self._page.wait_for_function(_LAST_IS_PAINTED, polling=50, timeout=_ANSWER_MS)
        except Error:
            shown = self._page.locator("#list").get_attribute("data-q")
            raise NotThere(f"{_ANSWER_MS} ms after {text!r} was typed, #list holds the rows of {shown!r}.") from None

    def _note(self, response: Response) -> None:
        if not response.ok:
            self._refused.append(f"{response.url} gave {response.status}")
