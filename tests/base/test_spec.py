"""Complaints name the place as it was written, and the names that would have fitted there."""

import re
from typing import Annotated, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from tod.base import Spec, SpecError
from tod.base.spec import Named, concrete, tagged


class Shape(Spec):
    """A base without a kind."""

    size: float = Field(default=1.0, gt=0)


class Ring(Shape):
    """A member of the union."""

    kind: Literal["ring"] = "ring"
    inner_radius: float = 0.5


class Disc(Shape):
    """Another one."""

    kind: Literal["disc"] = "disc"
    colour: str = "red"


class Leaf(Spec):
    """The innermost part."""

    weight: float = 1.0
    shape: tagged(Shape) = Ring()
    layers: tuple[Shape, ...] = ()


class Tree(Spec):
    """The outermost part."""

    leaf: Leaf = Leaf()
    leaves: dict[str, Leaf] = Field(default_factory=dict)
    height: int


def complaint(data):
    with pytest.raises(SpecError) as error:
        Tree.parse(data, "tree.yaml")
    return str(error.value)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"heigth": 1, "height": 2},
            "heigth: unknown key. Did you mean `height`? Known: height, leaf, leaves.",
        ),
        (
            {"height": 1, "leaf": {"wieght": 1}},
            "leaf.wieght: unknown key. Did you mean `weight`? Known: layers, shape, weight.",
        ),
        (
            {"height": 1, "leaves": {"a": {"wieght": 1}}},
            "leaves.a.wieght: unknown key. Did you mean `weight`? Known: layers, shape, weight.",
        ),
        (
            {"height": 1, "leaf": {"shape": {"kind": "rin"}}},
            "leaf.shape: unknown kind 'rin'. Did you mean `ring`? Known: disc, ring.",
        ),
        (
            {"height": 1, "leaf": {"shape": {"kind": "disc", "size": 0}}},
            "leaf.shape.size: Input should be greater than 0 (got 0).",
        ),
        (
            {"height": 1, "leaf": {"layers": [{"size": 1}, {"size": -1}]}},
            "leaf.layers.1.size: Input should be greater than 0 (got -1).",
        ),
        ({"height": 1, "leaf": [1]}, "leaf: a list, where a mapping of keys and values is needed."),
        ({"leaf": {}}, "height: required and missing."),
        ({"height": 1, "leaf": {"shape": {}}}, "leaf.shape: needs a `kind` key saying which one"),
    ],
)
def test_one_line_a_complaint(data, line):
    assert complaint(data).startswith(f"tree.yaml: {line}")


def test_a_long_value_is_cut():
    line = complaint({"height": "x" * 300})
    assert "..." in line
    assert len(line) < 220
    exact = "y" * 77  # 79 characters with its quotes
    assert repr(exact) in complaint({"height": exact})


def test_a_union_is_of_the_classes_that_have_a_kind():
    assert concrete(Shape) == (Ring, Disc)
    named = TypeAdapter(Annotated[tagged(Ring, Disc), Named])
    assert named.validate_python("ring") == Ring() == named.validate_python({"kind": "ring"})
    assert named.validate_python({"kind": "disc"}) == Disc()


def test_a_revision_is_validated_again():
    tree = Tree(height=1)
    assert tree.revised(height=3).height == 3
    with pytest.raises(SpecError, match="height"):
        tree.revised(height="tall")


@pytest.mark.parametrize(("length", "whole"), [(77, True), (78, False), (500, False)])
def test_a_long_value_is_cut_to_a_line(length, whole):
    """80 characters with the quotes, of which the last three say that it goes on."""
    with pytest.raises(SpecError) as caught:
        Leaf.parse({"weight": "x" * length})
    shown = re.search(r"\(got (.*)\)", str(caught.value)).group(1)
    assert len(shown) == min(length + 2, 80)
    assert shown.endswith("...") != whole


def test_a_spec_cannot_be_changed_and_takes_finite_numbers_alone():
    """What was checked stays as it was checked."""
    leaf = Leaf(weight=2.0)
    with pytest.raises(ValidationError, match="frozen"):
        leaf.weight = 3.0
    for value in (float("nan"), float("inf")):
        with pytest.raises(SpecError, match="finite"):
            Leaf.parse({"weight": value})
