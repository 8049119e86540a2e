"""Named recipes as pairs of a target and an operator, and the laws that they aim at."""

from typing import TYPE_CHECKING, Any

from tod.atlas.compare import Difference, ProcedureComparison, Side
from tod.atlas.effects import SilentChange
from tod.atlas.entries import (
    Entry,
    OperatorFamily,
    Recipe,
    SharesTarget,
    own_copy,
    recipe,
    recipe_file,
    recipes,
)
from tod.atlas.grid import Cell, grid
from tod.atlas.law import Law, law_of

if TYPE_CHECKING:
    RECIPES: dict[str, Recipe]

__all__ = [
    "RECIPES",
    "Cell",
    "Difference",
    "Entry",
    "Law",
    "OperatorFamily",
    "ProcedureComparison",
    "Recipe",
    "SharesTarget",
    "Side",
    "SilentChange",
    "grid",
    "law_of",
    "own_copy",
    "recipe",
    "recipe_file",
    "recipes",
]


def __getattr__(name: str) -> Any:
    """``RECIPES``, whose files are read when it is first asked for."""
    if name == "RECIPES":
        return recipes()
    raise AttributeError(f"module 'tod.atlas' has no attribute {name!r}")
