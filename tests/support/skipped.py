"""The reasons for which tests are skipped on this machine. Each test run prints them."""

import os
import shutil

from embedded import chromium
from tests.attack import proxy
from tests.overload import control_group


def reasons() -> list[str]:
    """One sentence for each group of skipped tests."""
    found = []
    if chromium.program() is None:
        found.append(f"tests/browser: {chromium.MISSING}")
    if os.geteuid() != 0:
        found.append("tests of another user's files and servers: only root can be another user")
    if shutil.which("npx") is None:
        found.append("the linter of the OpenAPI document: it needs Node.js (npx)")
    if shutil.which("curl") is None:
        found.append("the commands of the README: they are typed with curl")
    if proxy.program() is None:
        found.append(f"tests/attack behind Caddy: {proxy.MISSING}")
    if not control_group.is_possible():
        found.append(f"tests/overload: {control_group.MISSING}")
    return found
