"""An interval of a population quantity, and what is known of ESS_rel over the prompts."""

from dataclasses import dataclass
from typing import Literal

from tod.diagnostics.record import Record

__all__ = ["Interval", "PopulationEss"]

Method = Literal["declared", "pass_rates", "reward_values", "weight_moments", "range", "sample"]


@dataclass(frozen=True)
class Interval(Record):
    """The 5, 50 and 95 % points of what is believed of a quantity; None where it has no such end.

    Attributes:
        low: Lower end; None where nothing bounds the quantity from below.
        value: The point; None where there is none.
        high: Upper end; None where nothing bounds it from above.
    """

    low: float | None
    value: float | None
    high: float | None


@dataclass(frozen=True)
class PopulationEss(Record):
    """ESS_rel = 1/(1 + χ²) of single prompts, as quantiles over the prompts with a signal.

    A prompt of the population counts with the chance that a group of K rollouts shows a signal
    (rewards that differ): 1 − pᴷ − (1 − p)ᴷ for 0/1 rewards, 1 for graded ones.

    Attributes:
        median: Over prompts, 90 % interval; None where it is not readable.
        q10: The 10 % quantile over prompts, 90 % interval; None where it is not readable.
        prompts: Groups with a signal behind it.
        method: How it was read; None where nothing was.
        unreadable: Why it could not be read, in words; None where it was.
        bound: What no prompt is below, whatever was drawn: sech²(ηR/2) where the anchor is the
            proposal and the reward has a declared range R; None elsewhere.
        all_prompts: The median over all prompts with those of zero-variance groups at either end of
            what they may have; None where nothing bounds them.
    """

    median: Interval | None
    q10: Interval | None
    prompts: int
    method: Method | None
    unreadable: str | None = None
    bound: float | None = None
    all_prompts: tuple[float, float] | None = None
