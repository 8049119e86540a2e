"""The population of prompts over a run: its steps in windows, each read as one pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tod.base.text import fixed
from tod.show.regime_words import stated

if TYPE_CHECKING:
    from tod.population import LegStatistics

__all__ = ["Window", "of_trend", "of_verdict", "windows_of"]

MOST = 8
"""Windows of a run, at most: each pools its steps, for intervals of single steps are wide."""

Interval = Mapping[str, float | None]


@dataclass(frozen=True)
class Window:
    """Steps that are read together.

    Attributes:
        first: First step.
        last: Last step.
        interval: 90 % interval of the population median of ESS_rel, target/proposal.
        tail: Least and largest of the steps' medians of the largest weight, at the drawn K.
        prompts: Prompts with a signal behind it; 0 where nobody counted them.
    """

    first: int
    last: int
    interval: Interval
    tail: tuple[float, float]
    prompts: int = 0

    @property
    def steps(self) -> str:
        """``step 3``, ``steps 1 to 10``."""
        alone = self.first == self.last
        return f"step {self.first}" if alone else f"steps {self.first} to {self.last}"

    @property
    def low(self) -> float:
        """Lower end of the interval; 0 where nothing bounds it from below."""
        return self.interval["low"] or 0.0

    @property
    def high(self) -> float:
        """Upper end of the interval; 1 where nothing bounds it from above."""
        return 1.0 if self.interval["high"] is None else self.interval["high"]

    @property
    def middle(self) -> float:
        """The point of the interval; without one its upper end."""
        value = self.interval["value"]
        return self.high if value is None or not self.low else value

    @property
    def words(self) -> str:
        """What pointing at it says."""
        low, high = self.tail
        tail = fixed(low) if low == high else f"{fixed(low)} to {fixed(high)}"
        behind = f", {self.prompts:,} prompts with a signal" if self.prompts else ""
        said = stated(self.interval) or "not bounded"
        return f"{self.steps}: ESS_rel {said}, largest weight {tail}{behind}"


def windows_of(
    statistics: Mapping[int, "LegStatistics"],
    tails: Mapping[int, float | None],
    most: int = MOST,
) -> list[Window]:
    """Windows of equally many steps; a window that cannot be read is left out.

    Args:
        statistics: Of every step, in order.
        tails: Median of the largest weight of every step; None is unknown.
        most: Windows, at most.
    """
    from tod.population import pooled_statistics

    steps = [step for step in statistics if tails.get(step) is not None]
    wide = -(-len(steps) // most) if steps else 1
    made = []
    for at in range(0, len(steps), wide):
        part = steps[at : at + wide]
        total, start = pooled_statistics([statistics[step] for step in part])
        ess = total.population().get("target_proposal")
        if ess is not None and ess.median is not None:
            tail = _range(tails, part[start:])
            made.append(
                Window(part[start], part[-1], ess.median.to_dict(), tail, prompts=ess.prompts)
            )
    return made


def of_trend(trend: Sequence[Mapping[str, Any]], most: int = MOST) -> list[Window]:
    """The steps of a saved diagnosis, which holds no counts to pool; none of more than ``most``."""
    known = [
        row
        for row in trend
        if row.get("population") is not None and row.get("max_weight_median") is not None
    ]
    if len(known) > most:
        return []
    return [
        Window(
            row["step"],
            row["step"],
            row["population"],
            (row["max_weight_median"], row["max_weight_median"]),
            row["informative"] or 0,
        )
        for row in known
    ]


def of_verdict(
    judged: Mapping[str, Any], tails: Mapping[int, float | None], steps: Sequence[int]
) -> Window | None:
    """What the verdict was read from; None where its interval or the weights are not known.

    Args:
        judged: ``regime`` and ``pool`` of the diagnosis schema.
        tails: Median of the largest weight of every step.
        steps: All steps, for a verdict that does not name its pool.
    """
    regime, pool = judged["regime"] or {}, judged["pool"] or {}
    interval = (regime.get("point") or {}).get("interval")
    first, last = pool.get("first", min(steps, default=0)), pool.get("last", max(steps, default=0))
    inside = [step for step in steps if first <= step <= last and tails.get(step) is not None]
    if interval is None or not inside:
        return None
    read = [item["ess"]["prompts"] for item in regime.get("legs") or () if item["ess"]]
    return Window(first, last, interval, _range(tails, inside), (read or [0])[0])


def _range(tails: Mapping[int, float | None], steps: Sequence[int]) -> tuple[float, float]:
    known = [value for step in steps if (value := tails[step]) is not None]
    return min(known), max(known)
