"""The named recipes. Each is a composition; the settings are those of its paper where it has one.

Targets are stated for a utility called ``correct`` (``likelihood`` where it is one), proposals at
the size of a small run: a run's own YAML says what it really uses.
"""

from tod.atlas.recipe import Recipe
from tod.atlas.recipes.distillation import DISTILLATION
from tod.atlas.recipes.preference import PREFERENCE
from tod.atlas.recipes.proximal import PROXIMAL
from tod.atlas.recipes.supervised import SUPERVISED
from tod.atlas.recipes.test_time import TEST_TIME
from tod.atlas.recipes.verifier import VERIFIER_RL

_ENTRIES = (*SUPERVISED, *PREFERENCE, *PROXIMAL, *VERIFIER_RL, *DISTILLATION, *TEST_TIME)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ENTRIES}
"""The open registry: add an entry by building a Recipe."""
