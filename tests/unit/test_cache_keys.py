"""Cache keys: different queries never share a key."""

from hypothesis import given
from hypothesis import strategies as st

from app.schemas import ListQuery
from app.search.pages import PAGE_PARAMETERS, digest

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
QUERIES = st.builds(
    ListQuery,
    limit=st.integers(1, 200),
    sort=st.sampled_from(["name", "-name", "created_at"]),
    q=TEXT,
    role=st.none() | st.sampled_from(["admin", "member"]),
    active=st.none() | st.booleans(),
    deleted=st.booleans(),
    attributes=st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(QUERIES, QUERIES)
def test_only_equal_list_queries_share_a_page_key(one: ListQuery, other: ListQuery) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@given(QUERIES, QUERIES)
def test_only_queries_with_equal_filters_share_a_count_key(one: ListQuery, other: ListQuery) -> None:
    whole = {"limit": 50, "sort": "created_at", "cursor": None}
    same = one.model_copy(update=whole) == other.model_copy(update=whole)
    assert (digest(one, ignored=PAGE_PARAMETERS) == digest(other, ignored=PAGE_PARAMETERS)) == same


@given(QUERIES)
def test_the_order_of_attribute_filters_does_not_change_the_key(query: ListQuery) -> None:
    turned = query.model_copy(update={"attributes": dict(reversed(query.attributes.items()))})
    assert digest(turned) == digest(query)
