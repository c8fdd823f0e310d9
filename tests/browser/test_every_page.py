"""What holds for every page in every state: axe finds nothing in light and dark, and 360 px are enough."""

from functools import partial

import pytest
from accessibility import axe, faithful, narrow, spaced, violations
from arrivals import CLOSED, OPENED, Look
from playwright.sync_api import Page
from visiting import Visitors

SCHEMES = ("light", "dark")


@pytest.fixture(params=[*CLOSED, *OPENED])
def arrive(request: pytest.FixtureRequest) -> Look:
    """Come to one of the pages, as `look` shows it."""
    name = request.param
    if name in CLOSED:
        return partial(CLOSED[name], request.getfixturevalue("closed"))
    request.getfixturevalue("opened")
    return OPENED[name]


def in_both_schemes(page: Page) -> list[str]:
    """The findings of axe in light, then in dark."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {line}" for line in violations(page)]
    return found


def test_axe_finds_nothing_in_light_or_dark(visit: Visitors, arrive: Look) -> None:
    found = in_both_schemes(arrive(visit))
    assert found == [], "\n".join(found)


def test_a_narrow_screen_is_enough(visit: Visitors, arrive: Look) -> None:
    page = arrive(partial(visit, narrow=True))
    narrow(page)
    spaced(page)
    faithful(page)
    axe(page)


@pytest.mark.parametrize("arrive", ["sign-in", "people", "forbidden", "first visit"], indirect=True)
def test_a_page_has_an_icon(visit: Visitors, arrive: Look) -> None:
    page = arrive(visit)
    icons = page.locator("link[rel~=icon]")
    assert icons.count(), "browsers then ask for /favicon.ico, and log that it is not there"
    for icon in icons.all():
        answer = page.request.get(icon.get_attribute("href") or "")
        assert (answer.status, answer.headers["content-type"].partition("/")[0]) == (200, "image")
