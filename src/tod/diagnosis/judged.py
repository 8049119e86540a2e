"""A reading under one target: log-weights, diagnostics of parts of it, sharpness, verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tod.diagnosis import assess
from tod.diagnosis.reverse import Reverse
from tod.diagnosis.target import Chosen
from tod.diagnosis.weighed import Weighed, weigh
from tod.diagnostics import Diagnostics, EssRel, Summary, Tails, measure
from tod.formats.reading import Reading
from tod.regimes import (
    Crossing,
    Regime,
    Thresholds,
    capped,
    classify,
    ess_two,
    k_for_ess,
    still_out,
)


@dataclass(frozen=True, eq=False)
class Work:
    """The weights, the policy's gap log π/μ, and whether π = μ was declared.

    Without a target ``weighed`` is None: contexts are told apart by the first utility.
    """

    reading: Reading
    chosen: Chosen | None
    weighed: Weighed | None
    log_r: Any
    on_policy: bool

    @classmethod
    def of(cls, reading: Reading, chosen: Chosen | None, on_policy: bool) -> "Work":
        """The reading weighed under its target."""
        policy, mu = assess.policy_of(reading), reading.log_mu
        log_r = None if policy is None or mu is None else policy - mu
        weighed = None if chosen is None else weigh(reading, chosen)
        return cls(reading, chosen, weighed, log_r, on_policy)

    @cached_property
    def log_w(self) -> Any:
        """Log q*/μ; 0 without a target."""
        return np.zeros(len(self.reading)) if self.weighed is None else self.weighed.log_w

    @cached_property
    def reverse(self) -> Reverse:
        """What samples of the target say of missed modes."""
        return Reverse(self.reading, self.chosen, self.log_w)

    def measure(self) -> Diagnostics:
        """Diagnostics of all contexts."""
        main = next(iter(self.reading.utility.values()), None)
        tilt, value = main, main
        if self.weighed is not None:
            tilt, value = self.weighed.tilt, self.weighed.value
        return measure(
            self.log_w,
            self.log_w if tilt is None else tilt,
            self.reading.contexts,
            utility=value,
            log_r=self.log_r,
            answers=self.reading.labels.answer,
            legs_declared=("policy_proposal",) if self.on_policy and self.log_r is None else (),
        )

    def summary(self, whole: Diagnostics, step: int | None = None, at: Any = None) -> Summary:
        """The record of all contexts, or of those of a step; without q* what reads it is unknown.

        Args:
            whole: Diagnostics of all contexts.
            step: The step, or None for all of them.
            at: Places of its contexts.
        """
        reading, part = self.reading, whole
        if step is not None and len(self.reading.steps) > at.stop - at.start:
            part = whole.part(at, self.log_w, self.reading.contexts)
            reading = assess.cut(self.reading, step, at)
        found = part.summary(
            coverage=self.reverse.coverage(None if part is whole else at),
            mismatch=assess.mismatch(reading),
            staleness=assess.staleness(reading),
            drift=assess.drift_of(reading),
            activation=assess.activation_of(reading),
            entropy=assess.entropy_of(reading),
        )
        return found if self.chosen is not None else _without_target(found)

    def feasible(self, whole: Diagnostics, goal: float) -> dict[str, Any]:
        """Largest feasible sharpness over the contexts whose median is read."""
        assert self.weighed is not None  # noqa: S101 - checked by the caller
        if self.weighed.declared is None:
            return assess.unknown_feasible(goal)
        contexts, rows = self.reading.contexts.take(self._sample(whole))
        base, unit = self.weighed.base(rows), self.weighed.unit(rows)
        return assess.feasible(base, unit, contexts, self.weighed.declared, goal)

    def _sample(self, whole: Diagnostics) -> Any:
        """Places of the contexts that a search over sharpness reads."""
        return assess.spread_out(np.flatnonzero(whole.compared))

    def regime(
        self,
        summary: Summary,
        summaries: Sequence[Summary],
        whole: Diagnostics,
        possible: Mapping[str, Any] | None,
        thresholds: Thresholds | None,
        changes: Sequence[Crossing] = (),
        needs: str | None = None,
    ) -> Regime:
        """The verdict of the batch, or of the run on its step-means."""
        assumed = self.chosen is not None and self.chosen.source == "assumed"
        eta = None
        if self.chosen is not None and self.chosen.target.target.selectivity is None:
            eta = float(self.chosen.target.target.sharpness)
        anchors = None if self.chosen is None else self.chosen.two_anchors
        advice: dict[str, Any] = {"eta": eta, "k_needed": _k_needed(summary), "anchors": anchors}
        several = len(summaries) > 1 and ess_two(summaries) is not None
        if possible is not None:
            bounds = thresholds or Thresholds()
            goal = bounds.ess_two_stable if several else bounds.overlap_stable
            same = possible["ess_rel_target"] == goal
            found = possible if same else self.feasible(whole, goal)
            ends = {"unbounded": math.inf, "never": 0.0}
            limit = ends.get(found["attained"], found["eta_max"])
            advice |= {"eta_max": limit, "eta_goal": goal}
        read = _with_step_means(summary, summaries) if several else summary
        parts = self._intervals(whole, read, thresholds, several) if assumed else ()
        policy = [change for change in changes if change.what == "policy/proposal"]
        for reason in still_out(policy, thresholds or Thresholds()):  # it holds at every eta
            parts = capped(parts, reason.verdict)
        return classify(
            read,
            thresholds,
            assumed_target=assumed,
            eta_intervals=parts,
            band="ess_two" if several else "overlap",
            changes=changes,
            needs=needs,
            **advice,
        )

    def _intervals(
        self, whole: Diagnostics, judged: Summary, thresholds: Thresholds | None, several: bool
    ) -> Any:
        chosen = self._sample(whole)
        if self.weighed is None or not len(chosen):
            return ()
        contexts, rows = self.reading.contexts.take(chosen)
        base, unit = self.weighed.base(rows), self.weighed.unit(rows)
        log_r = None if self.log_r is None else self.log_r[rows]
        eta = self.weighed.declared or 1.0
        steps = self.reading.steps[chosen] if several else None
        return assess.intervals(base, unit, contexts, eta, judged, thresholds, log_r, steps)


def _without_target(found: Summary) -> Summary:
    overlap = replace(
        found.overlap,
        target_proposal=None,
        target_policy=None,
        minimum=found.overlap.policy_proposal,
        carried_by=None,
        q10={leg: q for leg, q in found.overlap.q10.items() if leg == "policy_proposal"},
    )
    return replace(found, ess_rel=EssRel(), tails=Tails(), overlap=overlap)


def _with_step_means(summary: Summary, summaries: Sequence[Summary]) -> Summary:
    """The legs a run is judged by: means over steps, with the bands fitted to them."""

    def mean(name: str) -> float | None:
        known = [v for s in summaries if (v := getattr(s.overlap, name)) is not None]
        return sum(known) / len(known) if known else None

    legs = {name: mean(name) for name in ("target_proposal", "policy_proposal")}
    return replace(summary, overlap=replace(summary.overlap, **legs))  # type: ignore[arg-type]


def _k_needed(summary: Summary) -> int | None:
    """Candidates that make half of the present number effective; None if there are enough."""
    k, median = summary.overlap.k, summary.ess_rel.median
    if k is None or median is None:
        return None
    needed = int(k_for_ess(np.array([median]), k / 2)[0])
    return needed if needed > k else None
