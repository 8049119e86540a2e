"""What the controller remembers, and what it says: plain data, JSON both ways."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tod.base import SpecError

__all__ = ["ArcState", "Decision"]

Action = Literal["hold", "sharpen", "soften", "anchor", "freeze", "swap", "revert", "refuse"]


@dataclass(frozen=True)
class ArcState:
    """Everything the next step needs; nothing else is remembered anywhere.

    Attributes:
        knobs: Values in force for the next batch: ``{"eta"}``, ``{"tau", "beta"}`` or all three.
        declared: The goal, by the same names: what the recipe declared, with sharpness cut to
            ``eta_max``. Sharpness and anchors return to it and never pass it.
        deadline: Batches until full sharpness is reached, or None.
        operator: Operator in force, or None where the recipe has one only.
        window: Observations since a knob last moved, oldest first.
        healthy: Healthy batches since the last unhealthy one.
        since_swap: Informative batches since the operator last changed.
        reverts: How often a cheaper operator was taken back; each doubles the health the next
            swap needs.
        length: Batches of the run, or None.
        first: Number of the first step that was read, from which a plan counts; None before it.
        delta: Running mean of off-path damage, nats²; None until a batch told it.
        within: The same of ``path.within``, which leaves out how contexts differ in speed.
        rate: Factor of the learning rate in force for the next batch.
    """

    knobs: dict[str, float]
    declared: dict[str, float]
    deadline: int | None = None
    operator: str | None = None
    window: tuple[dict[str, float], ...] = ()
    healthy: int = 0
    since_swap: int = 0
    reverts: int = 0
    length: int | None = None
    first: int | None = None
    delta: float | None = None
    within: float | None = None
    rate: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "window": [dict(item) for item in self.window]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ArcState":
        """The state of such data.

        Raises:
            SpecError: A key is unknown or missing.
        """
        try:
            return cls(**{**data, "window": tuple(dict(item) for item in data["window"])})
        except (KeyError, TypeError) as error:
            raise SpecError(
                f"not a controller state ({error}): it was written by another version, or is not "
                "one. Start from `initial`."
            ) from None


@dataclass(frozen=True)
class BoundCheck:
    """One diagnostic against its bound."""

    what: str
    value: float | None
    threshold: float
    ok: bool | None
    """None where the value is not known."""


@dataclass(frozen=True)
class Decision:
    """What was seen, what was compared, what was done and why; one line of ``decisions.jsonl``."""

    step: int
    action: Action
    before: dict[str, Any]
    after: dict[str, Any]
    why: str
    observed: dict[str, float] = field(default_factory=dict)
    compared: tuple[BoundCheck, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in the order a reader wants."""
        return {
            "step": self.step,
            "observed": dict(self.observed),
            "compared": [asdict(item) for item in self.compared],
            "action": self.action,
            "before": dict(self.before),
            "after": dict(self.after),
            "why": self.why,
        }
