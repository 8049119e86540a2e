"""Dotted overrides of plain data: one place is set, and a place that is not there is named."""

from typing import Any

import pytest

from tod.base import SpecError
from tod.base.overrides import apply_override


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "list": [{"x": 1}, {"x": 2}]}),
        ("new.deep=true", {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}], "new": {"deep": True}}),
        ("list.0.x=5", {"a": {"b": 1}, "list": [{"x": 5}, {"x": 2}]}),
        ("list.1={y: 3}", {"a": {"b": 1}, "list": [{"x": 1}, {"y": 3}]}),
        ("list.2={x: 3}", {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}, {"x": 3}]}),
        ("list.1.z.w=4", {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2, "z": {"w": 4}}]}),
        ("a=null", {"a": None, "list": [{"x": 1}, {"x": 2}]}),
        ("a.b=k=v", {"a": {"b": "k=v"}, "list": [{"x": 1}, {"x": 2}]}),
    ],
)
def test_an_override_sets_one_place(override: str, expected: Any) -> None:
    data = {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}]}
    apply_override(data, override)
    assert data == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.b", "path=value"),
        ("=3", "path=value"),
        ("a.b.c=1", r"a\.b is 1, not a mapping or a list"),
        ("none.b=1", "none is empty"),
        ("list.x=1", "list of 2 and has no 'x'"),
        ("list.7.x=1", "list of 2 and has no '7'"),
        ("list.3=1", "list of 2 and has no '3'"),
        ("list.2.x=1", "list of 2 and has no '2'"),
        ("list.-1=1", "has no '-1'"),
        ("empty.0.x=1", r"`empty\.0=…` adds one"),
        ("a.b={", "not valid YAML"),
    ],
)
def test_a_place_that_is_not_there_is_named(override: str, message: str) -> None:
    data = {"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}], "none": None, "empty": []}
    with pytest.raises(SpecError, match=message):
        apply_override(data, override)


def test_the_place_that_is_no_mapping_is_named_from_the_top() -> None:
    with pytest.raises(SpecError, match=r"the recipe is 3, not a mapping"):
        apply_override(3, "a=1")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"the recipe is a list of 1 and has no 'a'"):
        apply_override([1], "a.b=1")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"a\.b is 'text', not a mapping"):
        apply_override({"a": {"b": "text"}}, "a.b.c.d=1")
