"""`tod plan` behind the command: what a pilot batch says one can afford.

Where the anchor is the proposal the figures are of the population of prompts, at any K; those with
the pilot's candidates held fixed are shown too, as "at your K". Training moves the policy, so
start below them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.base import Unknown
from tod.base.displayed import Displayed
from tod.diagnosis.plan_feasible import Feasible, feasible_alone, feasible_both
from tod.diagnosis.plan_needed import needed_at_k, needed_of
from tod.diagnosis.plan_pilot import Pilot, checked, of_utility, pilot_of
from tod.diagnosis.plan_sizes import best_k, by_k, every_k, sizes_of
from tod.diagnosis.plan_table import table_of
from tod.diagnosis.ranges import declared_ranges
from tod.diagnosis.refresh import staleness
from tod.diagnosis.target import SourcedTarget, TargetSource
from tod.formats.reading import Reading
from tod.regimes import Thresholds

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Plan", "plan"]

SCHEMA = "tod.plan/1"


@dataclass(frozen=True, repr=False)
class Plan(Displayed):
    """Feasible sharpness, needed K, affordable staleness, and what cannot be known.

    Attributes:
        reading: The pilot.
        sourced: The target and where it came from.
        ess_target: ESS_rel to keep.
        contexts: Counts: total, informative, read.
        k: Candidates per context: min, median, max.
        eta: Sharpness in force.
        feasible: Per utility and quantile.
        table: ESS against η.
        needed_k: K for an effective number, for an error, by KL, at the sharpness in force.
        by_k: ESS_rel with fewer candidates, and the informative share at any K.
        best_k: The K of the most informative contexts for the same candidates; None where unknown.
        refresh: ESS_rel(π/μ) by age of the proposal, or None.
        cannot: What is not known and what would make it known.
    """

    reading: Reading
    sourced: SourcedTarget
    ess_target: float
    contexts: dict[str, int]
    k: dict[str, int]
    eta: float
    feasible: tuple[Feasible, ...]
    table: tuple[dict[str, Any], ...]
    needed_k: dict[str, dict[str, Any]]
    by_k: tuple[dict[str, Any], ...]
    best_k: dict[str, Any] | None
    refresh: dict[str, Any] | None
    cannot: tuple[Unknown, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the schema ``tod.plan/1``."""
        from tod.runs import plain

        data = {
            "schema": SCHEMA,
            "source": self.reading.source.to_dict(),
            "target": self.sourced.to_dict(),
            "ess_target": self.ess_target,
            "contexts": self.contexts,
            "k": self.k,
            "eta": self.eta,
            "feasible": [item.to_dict() for item in self.feasible],
            "table": list(self.table),
            "needed_k": self.needed_k,
            "by_k": list(self.by_k),
            "best_k": self.best_k,
            "refresh": self.refresh,
            "cannot": [item.to_dict() for item in self.cannot],
        }
        return plain(data)  # type: ignore[no-any-return]

    def to_frame(self) -> "pl.DataFrame":
        """ESS_rel against sharpness, a row an η; what is not known is null.

        Columns: ``eta``; with the rollouts held fixed ``median``, ``q10`` (ESS_rel), ``below`` (the
        share of prompts under the goal), ``max_weight`` and ``k`` (candidates for the number
        wanted); ``mark`` (in force, safe, …); over the population ``population.low``, ``.value``,
        ``.high`` (ESS_rel of the median prompt, 90 %); ``needed.low``, ``.value``, ``.high`` (K).
        """
        from tod.base.frames import frame_of

        return frame_of(self.to_dict()["table"])


def plan(
    reading: Reading,
    target: Any = None,
    *,
    eta: float | None = None,
    target_source: TargetSource | None = None,
    ess_target: float = 0.5,
    utility: str | None = None,
    k: int | None = None,
    count: float = 8.0,
    error: float = 0.25,
    thresholds: Thresholds | None = None,
    reward_range: Mapping[str, Sequence[float]] | None = None,
) -> Plan:
    """What the pilot batch says one can afford.

    Args:
        reading: Candidates and what is known of their source.
        target: q*, any entry of the catalog; the run directory's, or an assumed one, if None.
        eta: Overall sharpness of the target.
        target_source: Says that the target was ``located`` in a configuration.
        ess_target: ESS_rel to keep, in (0, 1).
        utility: Plan for this utility alone, tilting the target's anchor.
        k: Candidates per context that are planned: read the figures "at your K" off that many,
            drawn from the pilot's without replacement. The pilot must have as many.
        count: Effective candidates wanted per context.
        error: Root mean square error wanted, for statistics bounded by 1.
        thresholds: Where the goal of the policy's leg comes from.
        reward_range: Least and largest value that a reward can have, by name; the empty name is the
            one reward that the target tilts by.

    Raises:
        SpecError: An argument outside its range, a utility that the files do not hold, or a reward
            outside its declared range.
        DataError: The target cannot be weighed, or no context is informative.
    """
    checked(reading, ess_target, utility, k)
    sourced = of_utility(reading, target, eta, target_source, utility)
    ranges = declared_ranges(reading, sourced, reward_range)
    pilot = pilot_of(reading, sourced, k)
    part, statistics = pilot.part, pilot.statistics(ranges)
    feasible = (
        *feasible_both(statistics, part, ess_target, pilot.eta),
        *feasible_alone(pilot, ess_target, utility, ranges),
    )
    goal = (thresholds or Thresholds()).overlap_stable
    refresh = staleness(reading, reading.steps, reading.lag, goal)
    at_k = needed_at_k(part.log_w(pilot.eta), part.contexts, count, error)
    log_w, sizes = pilot.log_w(pilot.eta), sizes_of(part.contexts)
    fewer = by_k(log_w, pilot.unit, pilot.contexts, pilot.places, sizes)
    return Plan(
        reading=reading,
        sourced=sourced,
        ess_target=ess_target,
        contexts=_counts(pilot),
        k=_sizes(pilot),
        eta=pilot.eta,
        feasible=feasible,
        table=table_of(statistics, part, ess_target, count, feasible),
        needed_k=needed_of(statistics, at_k),
        by_k=every_k(statistics, fewer),
        best_k=best_k(statistics),
        refresh=refresh,
        cannot=_cannot(reading, refresh, k, feasible[0]),
    )


def _counts(pilot: Pilot) -> dict[str, int]:
    """Contexts: all, those that say something, those that were read."""
    informative, read = len(pilot.informative), len(pilot.part.contexts)
    return {"total": len(pilot.contexts), "informative": informative, "read": read}


def _sizes(pilot: Pilot) -> dict[str, int]:
    """Candidates per context."""
    sizes = pilot.contexts.sizes
    return {"min": int(sizes.min()), "median": int(np.median(sizes)), "max": int(sizes.max())}


def _cannot(
    reading: Reading, refresh: dict[str, Any] | None, k: int | None, first: Feasible
) -> tuple[Unknown, ...]:
    found = []
    if not first.read:
        why = first.population.unreadable or "candidates that were not sampled have no population"
        needs = (
            "a target anchored at mu, and 8 prompts or more with 4 rollouts whose rewards differ"
        )
        found.append(Unknown("a safe eta", why, needs))
    if refresh is None:
        found.append(
            Unknown(
                "refresh",
                "the files do not hold log-probs of both the sampler and the policy",
                "log_mu, and log_old or log_policy, of a run with a stale proposal",
            )
        )
    elif refresh["age_from"] is None:
        found.append(
            Unknown(
                "refresh.by_age",
                "no lag is recorded, and the policy's leg shows no refresh from which to count",
                "the sampler's policy version, or steps before and after a refresh",
            )
        )
    largest = int(reading.contexts.sizes.max())
    if k is None and not first.read:
        found.append(
            Unknown(
                f"ESS_rel at K > {largest}",
                "ESS_rel is biased upward at small K and no larger one was drawn",
                "a pilot with more candidates a context",
            )
        )
    return tuple(found)
