"""The finite-candidate posterior: Table 1 row 7."""

from typing import Literal

from pydantic import Field

from tod.targets.anchor import Anchor, at_ref
from tod.targets.target import ByEta, Target, Tilt

__all__ = ["FiniteCandidates"]


class FiniteCandidates(ByEta):
    """q* ∝ b·exp(η·U) on the candidate set C, 0 off it; how C came about is part of the target.

    ``fixed``: distinct elements, weights b·exp(ηU). ``sampled``: y_i ~ μ with duplicates kept,
    weights b·exp(ηU)/μ, which is consistent for the target on the full space. The fixed weights on
    candidates drawn from μ = b would aim at b²·exp(ηU).

    Source: Table 1 row 7; docs/equations.md B.7 (equation finite-candidates)
    """

    kind: Literal["finite_candidates"] = "finite_candidates"
    utility: str
    """Name of the utility U."""
    semantics: Literal["sampled", "fixed"]
    """How the candidates came about; no default, for no choice is right for both."""
    anchor: Anchor = Field(default_factory=at_ref)
    """The anchor b."""

    @property
    def target(self) -> Target:
        """The tilt of b by U, which refuses candidates of the other semantics."""
        tilt = Tilt(utility=self.utility, eta=self.eta)
        return Target(anchor=self.anchor, tilts=(tilt,), semantics=self.semantics)
