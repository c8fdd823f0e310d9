"""Visitors: each has a browser context of its own, and all that goes wrong in it is noted."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    Request,
    Response,
    expect,
)

from app.http.auth import COOKIE

NARROW = 360
"""The width of a small telephone, in CSS pixels."""

_WIDE, _NARROW = {"width": 1280, "height": 800}, {"width": NARROW, "height": 740}
# Of what this machine does at once, nobody is to be blamed.
_PATIENCE_MS = 10_000
_STATUS_REMARK = "Failed to load resource: the server responded with a status of 4"
# Asked for once in the life of a browser, by whichever test is first: test_every_page says what is to be said of it.
_ICON = "/favicon.ico"

expect.set_options(timeout=_PATIENCE_MS)


class Visitors:
    """Opens pages on the service at `url`, and in the end says what went wrong on any of them."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self._browser, self._url, self._folder = browser, url, folder
        self._contexts: list[BrowserContext] = []
        self._faults: list[str] = []
        self._refused: set[str] = set()
        self._allowed: list[str] = []
        self.dialogs: list[str] = []
        """The kinds of dialogs so far."""
        self.stays = False
        """Whether dialogs are answered with no."""

    def __call__(
        self,
        cookie: str | None = None,
        *,
        dark: bool = False,
        narrow: bool = False,
        scripts: bool = True,
        locale: str = "en-GB",
        timezone: str = "Europe/Paris",
    ) -> Page:
        """A page of a new visitor, who is signed in when there is the cookie of a session (`SecuredApp.secret`)."""
        context = self._browser.new_context(
            base_url=self._url,
            color_scheme="dark" if dark else "light",
            viewport=_NARROW if narrow else _WIDE,
            java_script_enabled=scripts,
            locale=locale,
            timezone_id=timezone,
        )
        context.set_default_timeout(_PATIENCE_MS)
        if cookie is not None:
            context.add_cookies([{"name": COOKIE, "value": cookie, "url": self._url, "httpOnly": True}])
        self._contexts.append(context)
        self._watch(context)
        return context.new_page()

    def allow(self, pattern: str) -> None:
        """Something that would be a fault is expected here: whatever matches this regular expression."""
        self._allowed.append(pattern)

    def faults(self) -> list[str]:
        """What went wrong so far and was not expected."""
        for page in self._pages():
            # What the page has said by now has arrived once it has answered; on the way to another one it does not.
            try:
                _answer(page)
            except Error as error:
                self._faults.append(f"{page.url} does not answer: {error}")
        return [fault for fault in self._faults if not any(re.search(pattern, fault) for pattern in self._allowed)]

    def keep_pictures(self) -> list[Path]:
        """Keep a picture of every open page. Returns where they are."""
        kept = []
        for number, page in enumerate(self._pages(), 1):
            path = self._folder / f"page-{number}.png"
            with suppress(Error):
                page.screenshot(path=path, full_page=True)
                kept.append(path)
        return kept

    def leave(self) -> None:
        """Close everything."""
        for context in self._contexts:
            context.close()

    def _pages(self) -> list[Page]:
        return [page for context in self._contexts for page in context.pages]

    def _watch(self, context: BrowserContext) -> None:
        context.on("console", self._note_console)
        context.on("dialog", self._note_dialog)
        context.on("weberror", lambda error: self._faults.append(f"uncaught: {error.error}"))
        context.on("request", self._note_request)
        context.on("response", self._note_response)

    def _note_console(self, message: ConsoleMessage) -> None:
        # Chromium remarks on each page that answers 401 or 422: tests ask for those on purpose, and see them.
        url = message.location["url"]
        is_known = url in self._refused or urlsplit(url).path == _ICON
        is_remark = message.text.startswith(_STATUS_REMARK) and is_known
        if message.type in ("error", "warning") and not is_remark:
            self._faults.append(f"console {message.type}: {message.text} ({_place(message.location)})")

    def _note_dialog(self, dialog: Dialog) -> None:
        # The pages alert nobody; what they ask is answered with yes.
        if dialog.type == "alert":
            self._faults.append(f"alert: {dialog.message}")
        self.dialogs.append(dialog.type)
        if self.stays:
            dialog.dismiss()
        else:
            dialog.accept()

    def _note_request(self, request: Request) -> None:
        if request.url.startswith(("http:", "https:", "ws:", "wss:")) and not request.url.startswith(f"{self._url}/"):
            self._faults.append(f"request to another host: {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 500:
            self._faults.append(f"status {response.status} of {response.url}")
        elif response.status >= 400 and response.request.is_navigation_request():
            self._refused.add(response.url)


def _place(location: Mapping[str, object]) -> str:
    return f"{urlsplit(str(location['url'])).path}:{location['lineNumber']}"


def _answer(page: Page) -> None:
    """Return when the page has answered, or the next one when it is just being left. Raises: Error"""
    with suppress(Error):
        page.wait_for_load_state()
        page.evaluate("0")
        return
    page.wait_for_load_state()
    page.evaluate("0")
