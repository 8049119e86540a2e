"""Which target a diagnosis is made for: declared, located in a configuration, or assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tod.base import MissingLogProbs, SpecError, Unknown, explain
from tod.formats.reading import Reading
from tod.operators import Operator
from tod.procedure import Procedure
from tod.targets import Target, TargetFamily, TargetSpec

TargetSource = Literal["declared", "located", "assumed"]


@dataclass(frozen=True)
class SourcedTarget:
    """A target, where it came from, and what a controller turned it to at every step."""

    target: TargetFamily
    source: TargetSource
    knobs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def eta(self) -> float | None:
        """Sharpness as it was declared; None where every context has its own."""
        general = self.target.target
        return None if general.selectivity is not None else float(general.sharpness)

    @property
    def two_anchors(self) -> tuple[float, float] | None:
        """τ and β where they are what makes the sharpness, as they were declared."""
        knobs = self.target.knobs()
        return (knobs["tau"], knobs["beta"]) if {"tau", "beta"} <= set(knobs) else None

    def to_dict(self) -> dict[str, Any]:
        """The ``target`` block of the diagnosis schema."""
        general = self.target.target
        return {
            "source": self.source,
            "anchor": general.model_dump(mode="json")["anchor"],
            "tilts": _tilts(general),
            "support": list(general.support),
        }


def _tilts(general: Target) -> list[dict[str, Any]]:
    """Utilities with their η; None for a selectivity, which has one for every context."""
    if general.selectivity is not None:
        return [{"utility": general.selectivity.utility, "eta": None}]
    return [{"utility": tilt.utility, "eta": float(tilt.eta)} for tilt in general.tilts]


def choose(
    reading: Reading, target: Any, eta: float | None, source: TargetSource | None
) -> SourcedTarget | None:
    """The target to diagnose for; None where there is no utility to tilt by.

    A target that is given counts as declared; so does a sharpness that is given, with the anchor
    μ. A run directory says its own, and whether that was
    declared, located or assumed. Otherwise η = 1 at the anchor μ is assumed.

    Raises:
        SpecError: η is given for a target that it cannot scale, or a run's target is no target.
    """
    if target is not None:
        turned = target if eta is None else target.target.turned({"eta": eta})
        return SourcedTarget(turned, source or "declared")
    if reading.source.target is not None and eta is None:
        declared: Any = reading.source.target_source
        own = parse_target(reading.source.target)
        return SourcedTarget(own, declared, reading.source.knobs)
    if not reading.utility:
        return None
    main = next(iter(reading.utility))
    sharpness = 1.0 if eta is None else float(eta)
    assumed = Target.parse(
        {"anchor": {"mu": 1.0}, "tilts": [{"utility": main, "eta": sharpness}]}, "target"
    )
    return SourcedTarget(assumed, source or ("assumed" if eta is None else "declared"))


def parse_target(data: Any, where: str = "target") -> Any:
    """A target of the catalog from plain data.

    Raises:
        SpecError: It is none.
    """
    if isinstance(data, dict) and "kind" not in data:
        return Target.parse(data, where)
    try:
        return TypeAdapter(TargetSpec).validate_python(data)
    except ValidationError as error:
        raise SpecError(explain(error, Target, where, data)) from None


def triple(reading: Reading, sourced: SourcedTarget) -> Procedure | TargetFamily:
    """The target with the operator of the run that the reading is of; alone where none is known."""
    if reading.source.operator is None:
        return sourced.target
    try:
        operator = Operator.parse(reading.source.operator)
        return Procedure(sourced.target, operator)
    except (SpecError, ValidationError):  # of an older version, or of another target
        return sourced.target


def unweighable(reading: Reading, sourced: SourcedTarget | None) -> Unknown | None:
    """Why log q*/μ cannot be computed and what it needs; None when it can.

    Raises:
        SpecError: The person declared a target of utilities that the files do not hold.
    """
    if sourced is None:
        return Unknown("", "the files hold no reward", "a reward per rollout", lacks="utility")
    general = sourced.target.target
    missing = [name for name in general.utilities if name not in reading.utility]
    if missing:
        known = ", ".join(reading.utility) or "none"
        why = f"the target needs the reward {missing[0]!r} and the files hold {known}"
        if sourced.source == "declared" and reading.source.target is None:
            near = get_close_matches(missing[0], reading.utility, 1, 0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SpecError(f"{why}.{hint} Name one of theirs, or map a column to it with --map.")
        needs = f"a column of {missing[0]!r}, or another reward in --target"
        return Unknown("", why, needs)
    try:
        general.log_weights(reading.take(np.arange(min(1, len(reading.contexts)))))
    except MissingLogProbs as error:
        needs = f"a log_{error.name} column, or a target anchored at mu"
        return Unknown("", str(error), needs)
    return None
