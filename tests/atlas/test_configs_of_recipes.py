"""The configurations that ship are the atlas' recipes of the same name."""

from pathlib import Path

import pytest

from tod.atlas import RECIPES
from tod.base import read_yaml
from tod.operators import ConstantLength
from tod.procedure import Procedure

FILES = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    if path.stem in RECIPES
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_truth(path: Path) -> None:
    """Action, target and kind of proposal are equal; a constant length is its own limit."""
    data = read_yaml(path)
    mine = Procedure.parse({key: data[key] for key in ("target", "operator")}, str(path))
    theirs = RECIPES[path.stem]
    lengths = []
    for operator in (mine.operator, theirs.operator):
        aggregation = getattr(operator.action, "aggregation", None)
        if isinstance(aggregation, ConstantLength):
            lengths.append(aggregation.length)
            assert aggregation.length == operator.proposal.max_new_tokens
    actions = [mine.operator.action, theirs.operator.action]
    if lengths:
        actions[0] = actions[0].revised(aggregation=theirs.operator.action.aggregation)
    assert actions[0] == actions[1]
    assert mine.operator.auxiliary == theirs.operator.auxiliary
    assert mine.target == theirs.target
    assert mine.operator.proposal.source == theirs.operator.proposal.source
    assert mine.operator.proposal.refresh == theirs.operator.proposal.refresh


def test_every_recipe_ships() -> None:
    assert len(FILES) >= 50
