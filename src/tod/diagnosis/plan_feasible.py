"""The largest sharpness of a plan, of the whole target and of every utility by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tod.diagnosis.feasible import feasible_block
from tod.diagnosis.plan_pilot import Pilot
from tod.population import FeasibleEta, LegStatistics, feasible_eta
from tod.procedure import weigh
from tod.regimes import QUANTILES, Largest
from tod.regimes.largest import largest_eta, search_top
from tod.targets import Target, Tilt

__all__ = ["Feasible", "feasible_alone", "feasible_both"]


@dataclass(frozen=True)
class Feasible:
    """The largest sharpness for an ESS target, at one quantile over contexts.

    Attributes:
        utility: The one utility that tilts, or None for all of the target's, scaled together.
        quantile: ``median`` or ``q10``.
        population: Of the population of prompts.
        sample: With the pilot's candidates held fixed: "at your K", and all that is known with
            b ≠ μ.
        ci90: 90 % interval of ``sample`` over contexts, for b = μ.
        contexts: Contexts that ``sample`` was read from.
    """

    utility: str | None
    quantile: str
    population: FeasibleEta
    sample: Largest
    ci90: tuple[float | None, float | None] | None
    contexts: int

    @property
    def read(self) -> bool:
        """Whether the population was."""
        return self.population.eta is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``eta_max``, ``attained`` and ``ci90`` of the population where it was read.

        They are those of ``sample`` else.
        """
        block = feasible_block(self.population, self.sample, self.ci90)
        ends = (block["safe"], block["high"]) if self.read else self.ci90
        return {
            "utility": self.utility,
            "quantile": self.quantile,
            **block,
            "attained": block["attained"] or "never",
            "ci90": ends,
            "contexts": self.contexts,
        }


def feasible_both(
    statistics: LegStatistics, pilot: Pilot, goal: float, now: float, utility: str | None = None
) -> list[Feasible]:
    """At the median and at the 10 % quantile.

    Args:
        statistics: Of the pilot.
        pilot: The informative contexts.
        goal: ESS_rel to keep.
        now: Sharpness up to which is searched at least.
        utility: The one that tilts; None for all of the target's.
    """
    top = search_top(pilot.unit, pilot.contexts, now)
    found = []
    for name, p in QUANTILES.items():
        value, interval = largest_eta(pilot.base, pilot.unit, pilot.contexts, goal, p, now, top)
        population = feasible_eta(statistics, goal, p)
        sample = Largest.of(value)
        found.append(Feasible(utility, name, population, sample, interval, len(pilot.contexts)))
    return found


def feasible_alone(
    pilot: Pilot, goal: float, only: str | None, ranges: Mapping[str, Sequence[float]]
) -> list[Feasible]:
    """Every utility tilting the target's anchor by itself, the others left out.

    Args:
        pilot: All of it.
        goal: ESS_rel to keep.
        only: The utility that is planned for, alone already.
        ranges: As declared.
    """
    whole, reading = pilot.target, pilot.reading
    tilted = [tilt.utility for tilt in whole.tilts]
    names = [] if only is not None else [*tilted, *(n for n in reading.utility if n not in tilted)]
    if names == tilted and len(tilted) == 1:
        return []  # the target itself
    found: list[Feasible] = []
    for name in names:
        tilt = Tilt(utility=name, eta=1.0)
        target = Target(anchor=whole.anchor, tilts=(tilt,), support=whole.support)
        weights = weigh(target, reading)
        base, unit = weights.base(pilot.rows), weights.unit(pilot.rows)
        alone = Pilot(reading, target, pilot.rows, pilot.contexts, base, unit, 1.0)
        if alone.places.size:
            found += feasible_both(alone.statistics(ranges), alone.part, goal, 0.0, name)
    return found
