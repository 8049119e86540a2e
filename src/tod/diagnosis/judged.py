"""The verdict of a reading: its steps since the last dated change, as one pool."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool

from tod.diagnosis.target import SourcedTarget
from tod.diagnostics import Summary
from tod.diagnostics.population_ess import PopulationEss
from tod.findings import Findings
from tod.formats.reading import Reading
from tod.population import (
    LegStatistics,
    jackknife_counts,
    leg_statistics,
    populations_of,
)
from tod.procedure import Examined, statistics_of, steps_of, weights_at
from tod.regimes import (
    EtaInterval,
    Pool,
    Regime,
    Thresholds,
    classify,
    k_for_ess,
    last_level,
    not_milder,
    policy_level,
    pool_of,
    verdict_by_eta,
)
from tod.regimes.largest import scale_of, spread_out

STRETCHES = 50
"""Stretches of steps, at the most, whose population is read on its own: it costs milliseconds."""
GRID = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Sharpnesses tried, in units of 1/(deviation of the utility within contexts)."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A reading, its steps and what happened to the run, to be judged.

    Attributes:
        examined: D of the whole reading.
        sourced: The target and where it came from; None without any utility.
        steps: D of every step.
        bounds: Of the words.
        since: First step after the last dated change; None where none is known.
    """

    examined: Examined
    sourced: SourcedTarget | None
    steps: Mapping[int, Examined]
    bounds: Thresholds
    since: int | None = None

    @property
    def assumed(self) -> bool:
        """Whether the target is a guess."""
        return self.sourced is not None and self.sourced.source == "assumed"

    @cached_property
    def level(self) -> int | None:
        """First step of the last level of the policy's legs."""
        return policy_level(list(self.steps), [item.summary for item in self.steps.values()])

    @cached_property
    def stretches(self) -> list[list[int]]:
        """Steps whose statistics are made together: every step alone, of long runs a few."""
        steps = list(self.steps)
        wide = -(-len(steps) // STRETCHES)
        edges = {step for step in (self.since, self.level) if step is not None} | self._turned
        together: list[list[int]] = []
        for step in steps:
            full = not together or len(together[-1]) >= wide
            if full or any(together[-1][0] < edge <= step for edge in edges):
                together.append([])
            together[-1].append(step)
        return together

    @cached_property
    def places(self) -> dict[int, slice]:
        """Places of the prompts of every step."""
        return dict(steps_of(self.examined.candidates))

    @property
    def _turned(self) -> set[int]:
        """Steps at which the sharpness was turned: no stretch has two."""
        weights = self.examined.weights
        if weights is None or not np.ndim(weights.eta):
            return set()
        offsets = self.examined.candidates.contexts.offsets
        etas = [(step, float(weights.eta[offsets[at.start]])) for step, at in self.places.items()]
        return {step for (_, one), (step, other) in pairwise(etas) if one != other}

    @cached_property
    def statistics(self) -> dict[int, LegStatistics]:
        """Sufficient statistics of every stretch, by its first step."""
        return {
            steps[0]: statistics_of(self.examined, self._span(steps[0], steps[-1]))
            for steps in self.stretches
        }

    def _span(self, first: int, last: int) -> slice:
        """Places of the prompts from one step to another."""
        return slice(self.places[first].start, self.places[last].stop)

    @cached_property
    def summaries(self) -> dict[int, Summary]:
        """The record of every step, with the population as its own stretch of steps tells it."""
        found = populations_of(list(self.statistics.values()))
        return {
            step: replace(self.steps[step].summary, population=population)
            for steps, population in zip(self.stretches, found, strict=True)
            for step in steps
        }

    @cached_property
    def by_step(self) -> dict[int, Regime]:
        """The verdict of every step by its own rows: a word only where they are certain of it."""
        return {
            step: classify(summary, self.bounds, assumed_target=self.assumed, certain=True)
            for step, summary in self.summaries.items()
        }

    @cached_property
    def pool(self) -> Pool | None:
        """The steps that the run is judged by."""
        return self._pool(list(self.statistics), self.since)

    @cached_property
    def population(self) -> dict[str, PopulationEss] | None:
        """ESS_rel of every leg over the population of the pool; None without one."""
        return None if self.pool is None else self.pool.population()

    @property
    def summary(self) -> Summary:
        """The record of the reading, with the population of its pool."""
        return replace(self.examined.summary, population=self.population)

    def _record(self, pool: Pool, population: dict[str, PopulationEss] | None) -> Summary:
        """The record of a pool's own steps, whose counts its verdict is of."""
        part = self.examined.part(self._span(pool.first, pool.last))
        return replace(part.summary, population=population)

    def regime(self, needs: str | None, **feasible: Any) -> Regime:
        """The verdict of the pool, its reasons, and intervals of η for an assumed target.

        Args:
            needs: What would let the target be weighed, where it cannot be.
            **feasible: ``eta_max`` and ``eta_goal`` of `classify`.
        """
        summary, sourced = self.summary, self.sourced
        if self.pool is not None:
            summary = self._record(self.pool, self.population)
        regime = classify(
            summary,
            self.bounds,
            assumed_target=self.assumed,
            eta=None if sourced is None else sourced.eta,
            k_needed=_k_needed(summary),
            anchors=None if sourced is None else sourced.two_anchors,
            eta_intervals=self._intervals(summary) if self.assumed else (),
            needs=needs,
            **feasible,
        )
        return not_milder(regime, self.by_step.values())

    @cached_property
    def early(self) -> list[int]:
        """The steps before the last dated change."""
        return [step for step in self.steps if self.since is not None and step < self.since]

    @cached_property
    def before(self) -> Regime | None:
        """The verdict of the steps before the last dated change; None where there are none."""
        since = self.since
        starts = [at for at in self.statistics if since is not None and at < since]
        pool = self._pool(starts, None) if starts else None
        if pool is None:
            return None
        summary = self._record(pool, pool.population())
        intervals = self._intervals(summary, pool) if self.assumed else ()
        return classify(summary, self.bounds, assumed_target=self.assumed, eta_intervals=intervals)

    def _pool(self, starts: list[int], since: int | None) -> Pool | None:
        """The pool of some stretches, by their first steps."""
        level = self.level if self.level is not None and self.level <= starts[-1] else None
        pool = pool_of(starts, [self.statistics[at] for at in starts], since, level)
        if pool is None:
            return None
        ends = {steps[0]: steps[-1] for steps in self.stretches}
        return replace(pool, last=ends[pool.last])

    def _intervals(self, summary: Summary, pool: Pool | None = None) -> tuple[EtaInterval, ...]:
        """The verdict by sharpness, were the target declared."""
        pool = pool or self.pool
        weights, seen = self.examined.weights, self.examined.diagnostics
        if weights is None or pool is None:
            return ()
        places = spread_out(np.flatnonzero(seen.informative & self._inside(pool)))
        if not len(places):
            return ()
        contexts, rows = self.examined.candidates.contexts.take(places)
        unit, base = weights.unit(rows), weights.base(rows)
        scale = scale_of(unit, contexts)
        etas = sorted({*(scale * x for x in GRID), abs(weights.declared or 1.0)})
        counted = pool.target.rewards is not None
        population = pool.population

        def at(eta: float) -> dict[str, PopulationEss]:
            log_w = weights_at(base, unit, eta)
            if not pool.target.anchored:
                return population() | leg_statistics(contexts, log_w=log_w).population()
            if counted:
                return population(eta)
            return population(eta, jackknife_counts(log_w, contexts, constant="blind"))

        return verdict_by_eta(at, etas, summary, self.bounds)

    def _inside(self, pool: Pool) -> Bool[np.ndarray, " C"]:
        """Prompts of the steps of a pool."""
        steps = self.examined.candidates.labels.step
        if steps is None:
            return np.ones(len(self.examined.diagnostics), dtype=bool)
        return (steps >= pool.first) & (steps <= pool.last)


def last_onset(findings: Findings) -> int | None:
    """First step of the last fault that has a date; None without one."""
    dated = [fault.onset for fault in findings.faults if fault.onset is not None]
    return max((onset.step for onset in dated if onset.step is not None), default=None)


def last_change(reading: Reading, findings: Findings) -> int | None:
    """First step after the last dated change: a fault's onset, or another lag of the sampler."""
    onset, lag = last_onset(findings), None
    steps = steps_of(reading)
    if reading.lag is not None and len(steps) > 1:
        offsets = reading.contexts.offsets
        lags = [
            float(np.mean(reading.lag[offsets[at.start] : offsets[at.stop]])) for _, at in steps
        ]
        lag = last_level([step for step, _ in steps], lags)
    return max((step for step in (onset, lag) if step is not None), default=None)


def _k_needed(summary: Summary) -> int | None:
    """Rollouts that make half of the present number effective; None if there are enough."""
    ess = (summary.population or {}).get("target_proposal")
    k, interval = summary.overlap.k, None if ess is None else ess.median
    if k is None or interval is None or not interval.value:
        return None
    needed = int(k_for_ess(np.array([interval.value]), k / 2)[0])
    return needed if needed > k else None
