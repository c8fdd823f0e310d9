"""Fixtures of the browser tests: one Chromium, one service, and monitored pages."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from live_site import Site, site
from playwright.sync_api import Browser, Page
from visitors import Visitors

from embedded import Stack, chromium
from tests.support.api_client import ApiClient
from tests.support.secured_app import SecuredApp

_SKIPPED = f"The browser tests were skipped. {chromium.MISSING}."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save screenshots of a failed test. Skipped tests share one line of the summary."""
    report = yield
    visit = getattr(item, "funcargs", {}).get("visit")
    if call.when == "call" and report.failed and visit is not None:
        report.sections.append(("Screenshots", "\n".join(map(str, visit.save_screenshots()))))
    if report.skipped and chromium.program() is None:
        report.longrepr = (__file__, 1, _SKIPPED)
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The installed Chromium. Without one the tests are skipped, or fail where CI=true."""
    if chromium.program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(_SKIPPED, pytrace=False)
        pytest.skip(_SKIPPED)
    with chromium.launched() as running:
        yield running


@pytest.fixture(scope="session")
def live_site(browser: Browser, servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:  # noqa: ARG001
    """The service under test. It is not started when there is no browser."""
    with site(servers, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def setup_mode(live_site: Site) -> ApiClient:
    """The service in setup mode, with empty tables."""
    return live_site.reset()


@pytest.fixture
def secured(live_site: Site) -> SecuredApp:
    """The service with one user, an administrator."""
    return live_site.reset_secured(name="Ada Lovelace", email="ada@example.org")


@pytest.fixture
def visit(browser: Browser, live_site: Site, tmp_path: Path) -> Iterator[Visitors]:
    """Opens pages. A page that logs an error or a warning, throws, or requests another host fails the test."""
    visitors = Visitors(browser, live_site.url, tmp_path)
    yield visitors
    problems = visitors.problems()
    screenshots = visitors.save_screenshots() if problems else []
    visitors.close()
    assert problems == [], f"screenshots: {[str(path) for path in screenshots]}"


@pytest.fixture
def page(secured: SecuredApp, visit: Visitors) -> Page:
    """A blank page in which the administrator is signed in."""
    return visit(secured.session_cookie(secured.admin.user))
