"""Floor 4: named recipes as points (target, operator)."""

from tod.atlas.lookup import recipe, target_family
from tod.atlas.recipe import OperatorFamily, Recipe, SharesTarget
from tod.atlas.recipes import RECIPES

__all__ = ["RECIPES", "OperatorFamily", "Recipe", "SharesTarget", "recipe", "target_family"]
