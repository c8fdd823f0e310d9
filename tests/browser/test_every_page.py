"""Every page in every state is accessible in light and dark, and fits 360 px."""

from functools import partial

import pytest
from accessibility import (
    require_no_overflow,
    require_no_violations,
    require_spacing,
    require_unaltered_input,
    violations,
)
from page_states import SECURED, SETUP, Look
from playwright.sync_api import Page
from visitors import Visitors

SCHEMES = ("light", "dark")


@pytest.fixture(params=[*SECURED, *SETUP])
def arrive(request: pytest.FixtureRequest) -> Look:
    """Opens one of the pages."""
    name = request.param
    if name in SECURED:
        return partial(SECURED[name], request.getfixturevalue("secured"))
    request.getfixturevalue("setup_mode")
    return SETUP[name]


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
    require_no_overflow(page)
    require_spacing(page)
    require_unaltered_input(page)
    require_no_violations(page)


@pytest.mark.parametrize("arrive", ["sign-in", "users", "forbidden", "setup"], indirect=True)
def test_a_page_has_an_icon(visit: Visitors, arrive: Look) -> None:
    page = arrive(visit)
    icons = page.locator("link[rel~=icon]")
    assert icons.count(), "browsers then ask for /favicon.ico, and log that it is not there"
    for icon in icons.all():
        answer = page.request.get(icon.get_attribute("href") or "")
        assert (answer.status, answer.headers["content-type"].partition("/")[0]) == (200, "image")
