"""An interval of a population quantity, and what is known of ESS_rel over the prompts."""

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Interval", "PopulationEss"]

Method = Literal["declared", "pass_rates", "reward_values", "weight_moments"]


@dataclass(frozen=True)
class Interval:
    """The 5, 50 and 95 % points of what is believed of a quantity; None where it has no such end.

    Attributes:
        low: Lower end; None where nothing bounds the quantity from below.
        value: The point; None where there is none.
        high: Upper end; None where nothing bounds it from above.
    """

    low: float | None
    value: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain data."""
        return {"low": self.low, "value": self.value, "high": self.high}


@dataclass(frozen=True)
class PopulationEss:
    """ESS_rel = 1/(1 + χ²) of single prompts, as quantiles over the prompts with a signal.

    A prompt of the population counts with the chance that a group of K rollouts shows a signal
    (rewards that differ): 1 − pᴷ − (1 − p)ᴷ for 0/1 rewards, 1 for graded ones.

    Attributes:
        median: Over prompts, 90 % interval; None where it is not readable.
        q10: The 10 % quantile over prompts, 90 % interval; None where it is not readable.
        prompts: Groups with a signal behind it.
        method: How it was read; None where nothing was.
        unreadable: Why it could not be read, in words; None where it was.
    """

    median: Interval | None
    q10: Interval | None
    prompts: int
    method: Method | None
    unreadable: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "median": None if self.median is None else self.median.to_dict(),
            "q10": None if self.q10 is None else self.q10.to_dict(),
            "prompts": self.prompts,
            "method": self.method,
            "unreadable": self.unreadable,
        }
