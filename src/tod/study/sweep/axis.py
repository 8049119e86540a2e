"""A setting of a sweep that takes several values."""

from dataclasses import dataclass
from typing import Any

from tod.runs.differing import in_words

__all__ = ["OPERATOR", "Axis"]

OPERATOR = "operator"
"""The setting whose values are names of recipes."""


@dataclass(frozen=True)
class Axis:
    """A setting that takes several values.

    Attributes:
        path: Where it stands in a recipe, dotted; ``operator`` takes names of recipes.
        name: The shortest end of the path that is no other axis's.
        values: Its values, plain data.
    """

    path: str
    name: str
    values: tuple[Any, ...]

    def told(self, value: Any) -> str:
        """The setting in words, such as ``eta 2``; an operator by its name alone."""
        said = in_words(value)
        return said if self.path == OPERATOR and isinstance(value, str) else f"{self.name} {said}"
