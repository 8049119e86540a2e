"""Named recipes as pairs of a target and an operator, and the laws that they aim at."""

from tod.atlas.effects import SilentChange
from tod.atlas.grid import Cell, grid
from tod.atlas.law import Law, law_of
from tod.atlas.lookup import recipe, target_family
from tod.atlas.recipe import OperatorFamily, Recipe, SharesTarget
from tod.atlas.recipes import RECIPES

__all__ = [
    "RECIPES",
    "Cell",
    "Law",
    "OperatorFamily",
    "Recipe",
    "SharesTarget",
    "SilentChange",
    "grid",
    "law_of",
    "recipe",
    "target_family",
]
