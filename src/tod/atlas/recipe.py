"""A recipe: a named point (target, operator) of the atlas, with what is known about it."""

from typing import Literal

from pydantic import Field

from tod.base import Spec
from tod.operators import Operator
from tod.procedure import Procedure
from tod.targets import TargetSpec

OperatorFamily = Literal[
    "supervised",
    "preference_surrogate",
    "proximal_rl",
    "verifier_rl",
    "on_policy_distillation",
    "test_time",
]
"""The six operator families of the framework's Table 2."""

SharesTarget = Literal["yes", "on_policy", "one_update", "no"]
"""Whether the fixed point is q*: always; only while μ tracks π; only for one update; never."""


class Recipe(Spec):
    """A named method as a triple; the diagnostics D are the same for all.

    Two recipes are the same method when their target and operator are equal, whatever their names.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """What the command line calls it."""
    title: str
    """One line for people."""
    target: TargetSpec
    """q*."""
    operator: Operator
    """(μ, A)."""
    family: OperatorFamily
    """Row of Table 2."""
    shares_target: SharesTarget
    """Whether its fixed point is q*."""
    differs: tuple[str, ...] = ()
    """What makes it aim elsewhere, if it does, each a setting and its effect."""
    papers: tuple[str, ...] = ()
    """arXiv identifiers or citations."""
    aliases: tuple[str, ...] = ()
    """Other names it goes by."""

    @property
    def procedure(self) -> Procedure:
        """The triple without its name."""
        return Procedure(target=self.target, operator=self.operator)
