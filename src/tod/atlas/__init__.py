"""Named recipes as pairs of a target and an operator, and the laws that they aim at."""

from typing import TYPE_CHECKING, Any

from tod.atlas.entries import *

if TYPE_CHECKING:
    RECIPES: dict[str, Recipe]


def __getattr__(name: str) -> Any:
    """``RECIPES``, whose files are read when it is first asked for."""
    if name == "RECIPES":
        return recipes()
    raise AttributeError(f"module 'tod.atlas' has no attribute {name!r}")
