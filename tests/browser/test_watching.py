"""The watch over the pages itself: what a test could not see by its own steps is noted, and nothing else."""

import pytest
from playwright.sync_api import Error
from visiting import Visitors

from tests.support.api_client import ApiClient
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("console.error('an error')", "console error: an error"),
        ("console.warn('a warning')", "console warning: a warning"),
        ("alert('an alert')", "alert: an alert"),
        ("setTimeout(() => { throw new Error('thrown') })", "uncaught: "),
        ("Promise.reject(new Error('rejected'))", "uncaught: "),
        ("document.body.setAttribute('style', 'color: red')", "console error: Applying inline style violates"),
        ("document.body.append(Object.assign(new Image(), {src: '/nothing.png'}))", "status of 404"),
    ],
)
@pytest.mark.usefixtures("opened")
def test_what_goes_wrong_on_a_page_is_noted(visit: Visitors, script: str, fault: str) -> None:
    page = visit()
    page.goto("/people")
    assert visit.faults() == []
    page.evaluate(f"() => {{ {script} }}")
    wait_until(visit.faults)
    page.wait_for_load_state("networkidle")
    (noted,) = visit.faults()
    assert fault in noted
    visit.allow(fault)
    assert visit.faults() == []


@pytest.mark.usefixtures("opened")
def test_asking_another_host_is_noted_and_reaches_nobody(visit: Visitors) -> None:
    page = visit()
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://www.example.com/")
    assert visit.faults() == ["request to another host: http://www.example.com/"]
    visit.allow("www.example.com")


def test_a_page_that_refuses_what_was_sent_is_no_fault(visit: Visitors, opened: ApiClient) -> None:
    page = visit()
    assert page.goto(f"/people/{opened.make()['id']}").status == 200
    assert page.goto("/people?role=king").status == 422
    assert visit.faults() == []


@pytest.mark.usefixtures("opened")
def test_the_page_to_try_the_api_on_has_nothing_to_complain_of(visit: Visitors) -> None:
    page = visit()
    page.goto("/api/docs")
    page.get_by_role("heading", name="fullstack-app").wait_for()
    page.wait_for_load_state("networkidle")
    assert visit.faults() == []
