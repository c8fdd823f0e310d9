"""Finds and starts the Chromium of this machine for tests, screenshots and benchmarks. It is never downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from embedded.ports import HOST

# The headless shell has no window: a page takes an eighth of the CPU time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = (
    "Chromium is not there (Debian: apt-get install chromium-headless-shell fonts-noto-core);"
    " CHROMIUM=/path names another one"
)
# Arguments that Playwright does not pass. Only local names are resolved: at its start Chromium looks up hosts of
# Google, and on a machine without a network it waits for them.
_FLAGS = ("--disable-gpu", "--disable-quic", f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {HOST}")


def program() -> str | None:
    """Return the path of Chromium, or the variable CHROMIUM. None: there is no such file."""
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Run Chromium without a screen. Raises: FileNotFoundError"""
    path = program()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
