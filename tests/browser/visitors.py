"""Visitors: each has its own browser context, and every problem in it is recorded."""

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

from app.http.parsing import SESSION_COOKIE

NARROW = 360
"""The width of a small phone, in CSS pixels."""

_WIDE, _NARROW = {"width": 1280, "height": 800}, {"width": NARROW, "height": 740}
_TIMEOUT_MS = 10_000
_STATUS_MESSAGE = "Failed to load resource: the server responded with a status of 4"
# Chromium requests it once per process, in whichever test is first. test_every_page tests the icons.
_ICON = "/favicon.ico"

expect.set_options(timeout=_TIMEOUT_MS)


class Visitors:
    """Opens pages of the service at `url`, and reports the problems of all of them."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self._browser, self._url, self._folder = browser, url, folder
        self._contexts: list[BrowserContext] = []
        self._problems: list[str] = []
        self._refused: set[str] = set()
        self._allowed: list[str] = []
        self.dialogs: list[str] = []
        """The types of the dialogs so far."""
        self.stays = False
        """Whether dialogs are dismissed instead of accepted."""

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
        """A page of a new visitor. `cookie`: the session (`SecuredApp.secret`) of a signed-in visitor."""
        context = self._browser.new_context(
            base_url=self._url,
            color_scheme="dark" if dark else "light",
            viewport=_NARROW if narrow else _WIDE,
            java_script_enabled=scripts,
            locale=locale,
            timezone_id=timezone,
        )
        context.set_default_timeout(_TIMEOUT_MS)
        if cookie is not None:
            context.add_cookies([{"name": SESSION_COOKIE, "value": cookie, "url": self._url, "httpOnly": True}])
        self._contexts.append(context)
        self._watch(context)
        return context.new_page()

    def allow(self, pattern: str) -> None:
        """Ignore the problems that match a regular expression."""
        self._allowed.append(pattern)

    def problems(self) -> list[str]:
        """The problems so far that are not allowed."""
        for page in self._pages():
            # Once the page answers, all its earlier messages have arrived.
            try:
                _answer(page)
            except Error as error:
                self._problems.append(f"{page.url} does not respond: {error}")
        return [text for text in self._problems if not any(re.search(pattern, text) for pattern in self._allowed)]

    def save_screenshots(self) -> list[Path]:
        """Save a screenshot of every open page. Returns the paths."""
        saved = []
        for number, page in enumerate(self._pages(), 1):
            path = self._folder / f"page-{number}.png"
            with suppress(Error):
                page.screenshot(path=path, full_page=True)
                saved.append(path)
        return saved

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()

    def _pages(self) -> list[Page]:
        return [page for context in self._contexts for page in context.pages]

    def _watch(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("dialog", self._on_dialog)
        context.on("weberror", lambda error: self._problems.append(f"uncaught: {error.error}"))
        context.on("request", self._on_request)
        context.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs every page with status 401 or 422. Tests request those on purpose.
        url = message.location["url"]
        is_known = url in self._refused or urlsplit(url).path == _ICON
        is_expected = message.text.startswith(_STATUS_MESSAGE) and is_known
        if message.type in ("error", "warning") and not is_expected:
            self._problems.append(f"console {message.type}: {message.text} ({_place(message.location)})")

    def _on_dialog(self, dialog: Dialog) -> None:
        # No page may show an alert. Other dialogs are accepted by default.
        if dialog.type == "alert":
            self._problems.append(f"alert: {dialog.message}")
        self.dialogs.append(dialog.type)
        if self.stays:
            dialog.dismiss()
        else:
            dialog.accept()

    def _on_request(self, request: Request) -> None:
        if request.url.startswith(("http:", "https:", "ws:", "wss:")) and not request.url.startswith(f"{self._url}/"):
            self._problems.append(f"request to another host: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 500:
            self._problems.append(f"status {response.status} of {response.url}")
        elif response.status >= 400 and response.request.is_navigation_request():
            self._refused.add(response.url)


def _place(location: Mapping[str, object]) -> str:
    return f"{urlsplit(str(location['url'])).path}:{location['lineNumber']}"


def _answer(page: Page) -> None:
    """Wait until the page answers, or the next page during a navigation. Raises: Error"""
    with suppress(Error):
        page.wait_for_load_state()
        page.evaluate("0")
        return
    page.wait_for_load_state()
    page.evaluate("0")
