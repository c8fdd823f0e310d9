"""Finds and starts the Chromium of this machine: for tests, pictures and measurements. None is ever downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from embedded.ports import HOST

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = "Chromium is not there (Debian: apt-get install chromium fonts-noto-core); CHROMIUM=/path names another one"
# What Playwright does not pass itself. Nobody but us is looked up: at its start Chromium asks for Google's
# hosts, and on a machine without a network it waits for them.
_FLAGS = ("--disable-gpu", "--disable-quic", f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {HOST}")


def program() -> str | None:
    """Return the path of Chromium, or of what the variable CHROMIUM names; None when that is not there."""
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Run it without a screen. Raises: FileNotFoundError when it is not there."""
    path = program()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
