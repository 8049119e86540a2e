"""Targets over what is given: a finite candidate set (Table 1 row 7) and a data set (SFT)."""

from typing import Literal, Self

from pydantic import Field

from tod.base import Spec, SpecError
from tod.targets.anchor import Anchor, at_ref
from tod.targets.by_eta import ByEta
from tod.targets.target import Target, Tilt


class FiniteCandidates(ByEta):
    """q* ∝ b·exp(ηU) on the candidate set C, 0 off it; how C came about is part of the target.

    ``fixed``: distinct elements, weights b·exp(ηU). ``sampled``: y_i ~ μ with duplicates kept,
    weights b·exp(ηU)/μ, which is consistent for the target on the full space. The fixed weights on
    candidates drawn from μ = b would aim at b²·exp(ηU). Source: Table 1 row 7.
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
        """The tilt, which refuses candidates of the other semantics."""
        tilt = Tilt(utility=self.utility, eta=self.eta)
        return Target(anchor=self.anchor, tilts=(tilt,), semantics=self.semantics)


class Data(Spec):
    """q* = q̂_data: the explicit target of supervised fine-tuning, b = q̂_data and η = 0.

    The data are the draws, so μ = b and every candidate weighs the same. The other lens of SFT is
    `scalar_reward` with U = log p, p a model of the data (the engine's ``log_likelihood``), and
    the flat anchor ``{ref: 0.0}``: at η = 1 that is q* = p. Source: Table 2 row 1.
    """

    kind: Literal["data"] = "data"

    @property
    def target(self) -> Target:
        """The anchor alone."""
        return Target(anchor={"mu": 1.0})

    def knobs(self) -> dict[str, float]:
        """Nothing may be turned."""
        return {}

    def turned(self, knobs: dict[str, float]) -> Self:
        """Itself, if nothing is turned.

        Raises:
            SpecError: Something is.
        """
        if knobs:
            raise SpecError(f"a data target has no knob, got {sorted(knobs)}.")
        return self
