"""The monitoring of pages: every problem is recorded, and nothing else."""

import pytest
from playwright.sync_api import Error
from visitors import Visitors

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
@pytest.mark.usefixtures("setup_mode")
def test_a_problem_on_a_page_is_recorded(visit: Visitors, script: str, fault: str) -> None:
    page = visit()
    page.goto("/people")
    assert visit.problems() == []
    page.evaluate(f"() => {{ {script} }}")
    wait_until(visit.problems)
    page.wait_for_load_state("networkidle")
    (problem,) = visit.problems()
    assert fault in problem
    visit.allow(fault)
    assert visit.problems() == []


@pytest.mark.usefixtures("setup_mode")
def test_a_request_to_another_host_is_recorded_and_blocked(visit: Visitors) -> None:
    page = visit()
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://www.example.com/")
    assert visit.problems() == ["request to another host: http://www.example.com/"]
    visit.allow("www.example.com")


def test_a_page_with_status_4xx_is_no_problem(visit: Visitors, setup_mode: ApiClient) -> None:
    page = visit()
    assert page.goto(f"/people/{setup_mode.create_user()['id']}").status == 200
    assert page.goto("/people?role=king").status == 422
    assert visit.problems() == []


@pytest.mark.usefixtures("setup_mode")
def test_the_api_documentation_has_no_problems(visit: Visitors) -> None:
    page = visit()
    page.goto("/api/docs")
    page.get_by_role("heading", name="fullstack-app").wait_for()
    page.wait_for_load_state("networkidle")
    assert visit.problems() == []
