"""Which target a diagnosis is made for: declared, located in a configuration, or assumed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tod.base import MissingLogProbs, SpecError, explain
from tod.formats.reading import Reading
from tod.targets import Target, TargetSpec

TargetSource = Literal["declared", "located", "assumed"]


@dataclass(frozen=True)
class Chosen:
    """A target, how it was chosen, and the one in force at every step (knobs may have moved)."""

    target: Any
    source: TargetSource
    knobs: Mapping[int, Mapping[str, float]]

    def at(self, step: int) -> Target:
        """The general form of the target in force at a step."""
        turned = self.knobs.get(step)
        known = {k: v for k, v in (turned or {}).items() if k in self.target.knobs()}
        if not known:
            return self.target.target  # type: ignore[no-any-return]
        return self.target.turned(known).target  # type: ignore[no-any-return]

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
) -> Chosen | None:
    """The target to diagnose for; None where there is no utility to tilt by.

    A target that is given counts as declared; so does a sharpness that is given, with the anchor
    μ. A run directory says its own, and whether that was
    declared, located or assumed. Otherwise η = 1 at the anchor μ is assumed.

    Raises:
        SpecError: η is given for a target that it cannot scale, or a run's target is no target.
    """
    if target is not None:
        turned = target if eta is None else target.target.turned({"eta": eta})
        return Chosen(turned, source or "declared", {})
    if reading.source.target is not None and eta is None:
        declared: Any = reading.source.target_source
        return Chosen(parse_target(reading.source.target), declared, reading.source.knobs)
    if not reading.utility:
        return None
    main = next(iter(reading.utility))
    sharpness = 1.0 if eta is None else float(eta)
    assumed = Target.parse(
        {"anchor": {"mu": 1.0}, "tilts": [{"utility": main, "eta": sharpness}]}, "target"
    )
    return Chosen(assumed, source or ("assumed" if eta is None else "declared"), {})


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


def unweighable(reading: Reading, chosen: Chosen | None) -> tuple[str, str] | None:
    """Why log q*/μ cannot be computed and what it needs; None when it can."""
    if chosen is None:
        return "the files hold no utility", "a utility per candidate"
    general = chosen.target.target
    missing = [name for name in general.utilities if name not in reading.utility]
    if missing:
        known = ", ".join(reading.utility) or "none"
        return (
            f"the target needs the utility {missing[0]!r} and the files hold {known}",
            f"a column of {missing[0]!r}, or another utility in --target",
        )
    try:
        general.log_weights(reading.take(np.arange(min(1, len(reading.contexts)))))
    except MissingLogProbs as error:
        return str(error), f"a log_{error.name} column, or a target anchored at mu"
    return None
