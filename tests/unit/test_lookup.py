"""The conditions of a list query that an index look-up serves, by planner statistics."""

import math
from typing import Any

import pytest

from app.schemas import ListQuery
from app.search.planner import Lookup, Statistics, fills_a_page, plan_lookup
from app.search.query_builder import UserQuery

SHARES = {"=role:member": 0.95, "=trash": 0.02, "example": 0.5, "maria": 0.01, "mariana": 0.002, "smith": 0.0004}
LARGE = Statistics(10_000_000, tuple(SHARES), tuple(SHARES.values()))


def plan(statistics: Statistics = LARGE, **filters: Any) -> Lookup:
    return plan_lookup(UserQuery(ListQuery(**filters)), statistics)


def test_a_rare_word_is_looked_up_and_the_estimate_is_its_share_of_active_users() -> None:
    lookup = plan(q="smith")
    assert lookup.parameters["lookup_tsquery"] == "'smith':*"
    assert lookup.expected_rows == pytest.approx(10_000_000 * 0.98 * 0.0004)


def test_a_prefix_with_a_long_posting_list_is_checked_on_the_rows_of_a_rare_word() -> None:
    lookup = plan(q="maria smith")
    assert lookup.parameters["lookup_tsquery"] == "'smith':*"
    assert lookup.parameters["filter_tsquery"] == "'maria':* & !'=trash'"
    assert any(condition.endswith("IS TRUE") for condition in lookup.conditions)


def test_a_tag_with_a_long_posting_list_is_looked_up_together_with_a_rare_word() -> None:
    lookup = plan(q="smith", role="member")
    assert lookup.parameters["lookup_tsquery"] == "'smith':* & '=role:member'"


@pytest.mark.parametrize("filters", [{"q": "example"}, {"role": "member"}, {"created_after": "2020-01-01T00:00:00Z"}])
def test_without_a_short_posting_list_nothing_is_looked_up(filters: dict[str, str]) -> None:
    lookup = plan(**filters)
    assert lookup.expected_rows == math.inf
    assert all(condition.endswith("IS TRUE") for condition in lookup.conditions)


def test_deleted_users_are_looked_up_by_their_tag() -> None:
    assert plan(q="smith", deleted=True).parameters["lookup_tsquery"] == "'smith':* & '=trash'"


def test_a_unique_key_is_expected_to_have_one_user_whatever_the_other_filters_are() -> None:
    assert plan(email="ada@example.com", role="member").expected_rows == 1


def test_a_scan_is_expected_to_fill_a_page_only_if_enough_users_match() -> None:
    query = UserQuery(ListQuery(sort="name", limit=50))
    few, many = (Lookup([], {}, expected_rows) for expected_rows in (10_000, 100_000))
    assert not fills_a_page(query, LARGE, few)
    assert fills_a_page(query, LARGE, many)
