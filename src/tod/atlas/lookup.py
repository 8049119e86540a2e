"""Finding a recipe by its name or an alias."""

from difflib import get_close_matches

from tod.atlas.recipe import Recipe
from tod.atlas.recipes import RECIPES
from tod.base import SpecError


def recipe(name: str) -> Recipe:
    """The recipe of that name or alias.

    Raises:
        SpecError: There is none; the nearest name is given.
    """
    known = {alias: entry for entry in RECIPES.values() for alias in (entry.name, *entry.aliases)}
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=1)
    way = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(RECIPES))}."
    raise SpecError(f"no recipe {name!r} in the atlas. {way} `tod atlas list` has all of them.")


def target_family(entry: Recipe) -> str:
    """Row of Table 1 that the recipe's target belongs to (the ``kind`` of its target)."""
    return entry.target.kind
