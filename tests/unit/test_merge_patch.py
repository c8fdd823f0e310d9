"""The examples of RFC 7396, appendix A, for the attributes of a user.

The five examples whose documents or patches are no objects (9 to 12 and 14) do not apply to attributes as a whole. All
fifteen apply to the value of one attribute, where the patch null removes the attribute.
"""

from typing import Any

import pytest

from app.schemas import UserPatch
from app.users.rows import apply_patch

USER = {"username": "ada", "email": None, "name": "Ada", "role": "member", "active": True}
EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""Original document, patch and result, in the order of the RFC."""
OF_OBJECTS = [example for example in EXAMPLES if all(isinstance(document, dict) for document in example)]


def patched(attributes: dict[str, Any], patch: dict[str, Any]) -> Any:
    return apply_patch({**USER, "attributes": attributes}, UserPatch(attributes=patch))["attributes"]


@pytest.mark.parametrize(("original", "patch", "result"), OF_OBJECTS)
def test_the_examples_of_objects_hold_for_all_attributes(
    original: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    assert patched(original, patch) == result


@pytest.mark.parametrize(("original", "patch", "result"), EXAMPLES)
def test_every_example_holds_for_one_attribute(original: Any, patch: Any, result: Any) -> None:
    expected = {} if patch is None else {"x": result}
    assert patched({"x": original, "other": 1}, {"x": patch}) == {**expected, "other": 1}


def test_the_original_is_not_changed() -> None:
    attributes = {"a": {"b": 1}, "c": 2}
    assert patched(attributes, {"a": {"b": 3}, "c": None}) == {"a": {"b": 3}}
    assert attributes == {"a": {"b": 1}, "c": 2}
