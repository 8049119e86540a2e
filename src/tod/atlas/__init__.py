"""Floor 4: named recipes as points (target, operator)."""

from tod.atlas.compare import Comparison, Difference, compare
from tod.atlas.effects import SilentChange
from tod.atlas.grid import Cell, grid
from tod.atlas.law import Law, law_of
from tod.atlas.locate import EtaRule, Implied, Located, locate
from tod.atlas.lookup import recipe, target_family
from tod.atlas.recipe import OperatorFamily, Recipe, SharesTarget
from tod.atlas.recipes import RECIPES

__all__ = [
    "RECIPES",
    "Cell",
    "Comparison",
    "Difference",
    "EtaRule",
    "Implied",
    "Law",
    "Located",
    "OperatorFamily",
    "Recipe",
    "SharesTarget",
    "SilentChange",
    "compare",
    "grid",
    "law_of",
    "locate",
    "recipe",
    "target_family",
]
