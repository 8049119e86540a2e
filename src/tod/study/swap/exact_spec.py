"""What a swap study in exact worlds runs: a grid of targets and proposals, operators, compute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec
from tod.base.yaml_data import read_yaml
from tod.operators import Operator, PairsProposal, Preference, SelectionRule
from tod.procedure import Procedure
from tod.study.world import FiniteWorld, Kind, Law, Shape, make_world, proposal
from tod.targets import ScalarReward

__all__ = ["ExactProposal", "ExactSpec", "GridPoint", "read_exact"]

Count = Annotated[int, Field(ge=1)]
UTILITY = "u"
"""The one utility of an exact world, as operators name it."""


class ExactProposal(Spec):
    """A proposal μ of an exact world. See `tod.study.world.proposal`."""

    kind: Kind = "base"
    """What μ is at the start."""
    strength: FiniteFloat = 0.0
    """λ of a tilt, size of a perturbation, or mass of a hole."""
    refresh: Count | None = None
    """Steps between copies of the policy into μ; None: μ stands still."""

    def law(self, world: FiniteWorld, eta: float) -> Law:
        """Log μ of every sequence at the start, nats."""
        return proposal(world, self.kind, self.strength, eta)


class GridPoint(Spec):
    """One point of the grid: a sharpness and a proposal."""

    eta: FiniteFloat
    """η of the target q* ∝ b·exp(ηU)."""
    mu: str
    """Name of the proposal."""
    proposal: ExactProposal
    """The proposal."""

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"η {self.eta:g}, {self.mu}"

    @property
    def file(self) -> str:
        """The same without blanks, in ASCII."""
        return f"eta_{self.eta:g}__" + self.mu.replace(" ", "_")


class ControlSpec(Spec):
    """A comparison whose answer is known, and the smallest difference that is seen."""

    negative: str | None = None
    """Operator that is run twice, on other random numbers: no difference."""
    negative_eta: tuple[FiniteFloat, ...] | None = None
    """Sharpness values of the settings in which it is run twice; None: in all of them."""
    ladder: str | None = None
    """Operator that is run once at every sharpness of ``ladder_eta``: a growing difference."""
    ladder_eta: tuple[FiniteFloat, ...] = (0.0, 0.5, 1.0, 2.0, 5.0)
    """The sharpness values; the first against the last is the positive control."""
    ladder_mu: str = "base"
    """The proposal of the ladder."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of operators that are used."""
        return tuple(name for name in (self.negative, self.ladder) if name is not None)


class ExactSpec(Spec):
    """Operators × sharpness × proposals × worlds × seeds, by exact enumeration.

    A world has ``contexts`` contexts over ``vocabulary`` ** ``length`` sequences, a random tree
    softmax as base b and a utility of mean 0 and standard deviation 1 under b. All operators train
    one table of logits from b, on the same random numbers, with Adam (ε = 1e-6) and linear decay.
    """

    kind: Literal["exact"] = "exact"
    worlds: Count = 8
    """How many worlds."""
    first_world: Annotated[int, Field(ge=0)] = 0
    """Number of the first: 0 to 99 for development, from 1000 on for confirmation."""
    seeds: Count = 4
    """Runs of every operator in every world and setting."""
    vocabulary: Count = 8
    """Symbols."""
    length: Count = 3
    """Symbols of a sequence."""
    contexts: Count = 8
    """Contexts of a world."""
    shape: Shape = "gaussian"
    """Of the utility. See `tod.study.world.make_world`."""
    size: Annotated[int, Field(ge=2)] = 16
    """Candidates K of a context."""
    steps: Count = 250
    """Batches, one update each."""
    rate: Annotated[FiniteFloat, Field(ge=0.0)] = 0.03
    """First learning rate."""
    legs_every: Count = 10
    """Steps between measurements of the overlap during training."""
    eta: tuple[FiniteFloat, ...]
    """Sharpness values."""
    mu: Mapping[str, ExactProposal]
    """Proposals by name."""
    operators: Mapping[str, Operator]
    """Operators by name; their reward is called ``u``, their proposal is the setting's."""
    contrast: tuple[str, ...] = ()
    """Operators that are run and reported, and left out of means over pairs."""
    controls: ControlSpec = ControlSpec()
    """What shows that the study sees a difference where there is one, and none where there is none.
    """

    @model_validator(mode="after")
    def _trains(self) -> Self:
        for name, operator in self.operators.items():
            if isinstance(operator.action, SelectionRule):
                raise ValueError(f"operator {name!r} selects at test time: there is no end to swap")
        unknown = sorted({*self.contrast, *self.controls.operators} - set(self.operators))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of the operators")
        if self.controls.ladder is not None and self.controls.ladder_mu not in self.mu:
            raise ValueError(f"ladder_mu {self.controls.ladder_mu!r} is none of the proposals")
        return self

    @property
    def settings(self) -> tuple[GridPoint, ...]:
        """Every sharpness with every proposal."""
        return tuple(
            GridPoint(eta=eta, mu=name, proposal=mu)
            for eta in self.eta
            for name, mu in self.mu.items()
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the worlds."""
        return tuple(range(self.first_world, self.first_world + self.worlds))

    def world(self, number: int) -> FiniteWorld:
        """The world of a number."""
        return make_world(
            number,
            vocabulary=self.vocabulary,
            length=self.length,
            contexts=self.contexts,
            shape=self.shape,
        )


def read_exact(path: Path) -> ExactSpec:
    """The spec of a YAML file.

    Raises:
        SpecError: The file cannot be read, or a field is wrong.
    """
    return ExactSpec.parse(read_yaml(path), str(path))


def procedure_of(operator: Operator, eta: float) -> Procedure:
    """The operator aimed at q* ∝ b·exp(ηU)."""
    return Procedure(target=ScalarReward(utility=UTILITY, eta=eta), operator=operator)


def in_nats(procedure: Procedure) -> float:
    """Factor that gives a loss unit curvature at q* in the Fisher metric: one rate fits all.

    Near q* a pair loss with β = 1/(ηs) pushes with β²/2 times the covariance of the residual and
    ∇log π, and every other rule here with the covariance itself: 2/β², and 1.
    """
    if not isinstance(procedure.operator.action, Preference):
        return 1.0
    target = procedure.tilt
    return 2.0 * (target.sharpness * target.noise_scale) ** 2


def label_noise(procedure: Procedure) -> float | None:
    """The noise s of drawn choices; None where the operator reads the utility itself."""
    proposal = procedure.operator.proposal
    if not isinstance(proposal, PairsProposal):
        return None
    return proposal.noise_scale or procedure.tilt.noise_scale
