"""What browser tests share: one Chromium, one service, and visitors who are watched."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from serving import Site, site
from visiting import Visitors

from embedded import Stack, chromium
from tests.support.api_client import ApiClient
from tests.support.secured_app import SecuredApp

_LEFT_OUT = f"The pages were not tried in a browser. {chromium.MISSING}."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep pictures of what a test that fails saw; and let tests without a browser be one line of the summary."""
    report = yield
    visit = getattr(item, "funcargs", {}).get("visit")
    if call.when == "call" and report.failed and visit is not None:
        report.sections.append(("Pictures", "\n".join(map(str, visit.keep_pictures()))))
    if report.skipped and chromium.program() is None:
        report.longrepr = (__file__, 1, _LEFT_OUT)
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine. Without one the tests are left out, but not where CI=true."""
    if chromium.program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(_LEFT_OUT, pytrace=False)
        pytest.skip(_LEFT_OUT)
    with chromium.launched() as running:
        yield running


@pytest.fixture(scope="session")
def place(browser: Browser, servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:  # noqa: ARG001
    """The service that all these tests visit; nothing is started when there is no browser."""
    with site(servers, tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def opened(place: Site) -> ApiClient:
    """The service on empty tables: nobody has to sign in."""
    return place.opened()


@pytest.fixture
def closed(place: Site) -> SecuredApp:
    """The service with one person, its administrator: all others have to sign in."""
    return place.closed(name="Ada Lovelace", email="ada@example.org")


@pytest.fixture
def visit(browser: Browser, place: Site, tmp_path: Path) -> Iterator[Visitors]:
    """Let people visit. A page that logs an error or a warning, throws, or asks another host fails the test."""
    visitors = Visitors(browser, place.url, tmp_path)
    yield visitors
    faults = visitors.faults()
    pictures = visitors.keep_pictures() if faults else []
    visitors.leave()
    assert faults == [], f"pictures: {[str(path) for path in pictures]}"


@pytest.fixture
def page(closed: SecuredApp, visit: Visitors) -> Page:
    """A page of the administrator, who is signed in; nothing is open in it yet."""
    return visit(closed.secret(closed.admin.user))
