"""A reading under one target: log-weights, diagnostics of parts of it, sharpness, verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import Diagnostics, EssRel, Summary, Tails, measure
from tod.integrations import _assess as assess
from tod.integrations._target import Chosen
from tod.integrations.reading import Reading
from tod.regimes import Regime, Thresholds, classify, ess_two, k_for_ess


@dataclass(frozen=True, eq=False)
class Work:
    """Log-weights, tilt and the policy's gap of all candidates."""

    reading: Reading
    chosen: Chosen | None
    log_w: Any
    tilt: Any
    value: Any
    log_r: Any
    on_policy: bool

    @classmethod
    def of(cls, reading: Reading, chosen: Chosen | None, on_policy: bool) -> "Work":
        policy, mu = assess.policy_of(reading), reading.log_mu
        log_r = None if policy is None or mu is None else policy - mu
        main = next(iter(reading.utility.values()), None)
        if chosen is None:
            blind = np.zeros(len(reading))
            return cls(
                reading, None, blind, main if main is not None else blind, main, log_r, on_policy
            )
        log_w, tilt, value = _weigh(reading, chosen)
        return cls(reading, chosen, log_w, tilt, value, log_r, on_policy)

    def rows(self, at: Any) -> tuple[slice, Groups]:
        """Candidates of consecutive contexts."""
        offsets = self.reading.contexts.offsets
        first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
        return slice(int(offsets[first]), int(offsets[last])), Groups(
            self.reading.contexts.sizes[first:last]
        )

    def measure(self, at: Any) -> Diagnostics:
        """Diagnostics of some consecutive contexts."""
        rows, contexts = self.rows(at)
        answer = self.reading.labels.answer
        return measure(
            self.log_w[rows],
            self.tilt[rows],
            contexts,
            utility=None if self.value is None else self.value[rows],
            log_r=None if self.log_r is None else self.log_r[rows],
            answers=None if answer is None else answer[rows],
            legs_declared=("policy_proposal",) if self.on_policy and self.log_r is None else (),
        )

    def summary(self, part: Diagnostics, at: Any) -> Summary:
        """The record of some contexts; what reads q* is unknown without a target."""
        everything = len(at) == len(self.reading.contexts)
        found = part.summary(
            mismatch=assess.mismatch(self.reading) if everything else None,
            staleness=assess.staleness(self.reading) if everything else None,
            drift=assess.drift_of(self.reading) if everything else None,
            activation=assess.activation_of(self.reading, at),
            entropy=assess.entropy_of(self.reading) if everything else None,
        )
        return found if self.chosen is not None else _without_target(found)

    def feasible(self, whole: Diagnostics, goal: float) -> dict[str, Any]:
        """Largest feasible sharpness over informative contexts."""
        contexts, rows = self._sample(whole)
        log_w0, unit, eta = self._split(rows)
        return assess.feasible(log_w0, unit, contexts, eta, goal)

    def _sample(self, whole: Diagnostics) -> tuple[Groups, Any]:
        chosen = assess.spread_out(np.flatnonzero(whole.informative))
        return self.reading.contexts.take(chosen)

    def _split(self, rows: Any) -> tuple[Any, Any, float]:
        """Log b − log μ (None if zero), the tilt at η = 1, and η."""
        assert self.chosen is not None  # noqa: S101 - checked by the caller
        eta = float(self.chosen.target.target.sharpness) or 1.0
        tilt = self.tilt[rows]
        finite = np.isfinite(tilt)
        base = np.where(finite, self.log_w[rows] - np.where(finite, tilt, 0.0), 0.0)
        unit = np.where(finite, tilt / eta, -np.inf)
        return (base if np.abs(base).max(initial=0.0) > 1e-12 else None), unit, eta

    def regime(
        self,
        summary: Summary,
        summaries: Sequence[Summary],
        whole: Diagnostics,
        possible: Mapping[str, Any] | None,
        thresholds: Thresholds | None,
    ) -> Regime:
        """The verdict of the batch, or of the run on its step-means."""
        assumed = self.chosen is not None and self.chosen.source == "assumed"
        eta = None if self.chosen is None else float(self.chosen.target.target.sharpness)
        advice: dict[str, Any] = {"eta": eta, "k_needed": _k_needed(summary)}
        several = len(summaries) > 1 and ess_two(summaries) is not None
        if possible is not None:
            bounds = thresholds or Thresholds()
            goal = bounds.ess_two_stable if several else bounds.overlap_stable
            advice |= {"eta_max": self.feasible(whole, goal)["eta_max"], "eta_goal": goal}
        read = _with_step_means(summary, summaries) if several else summary
        parts = self._intervals(whole, summary, thresholds) if assumed else ()
        return classify(
            read,
            thresholds,
            assumed_target=assumed,
            eta_intervals=parts,
            band="ess_two" if several else "overlap",
            **advice,
        )

    def _intervals(
        self, whole: Diagnostics, summary: Summary, thresholds: Thresholds | None
    ) -> Any:
        contexts, rows = self._sample(whole)
        if not len(contexts):
            return ()
        log_w0, unit, eta = self._split(rows)
        log_r = None if self.log_r is None else self.log_r[rows]
        return assess.intervals(log_w0, unit, contexts, eta, summary, thresholds, log_r)


def _weigh(reading: Reading, chosen: Chosen) -> tuple[Any, Any, Any]:
    """Log-weights, tilt and value under the target in force at every step."""
    general = chosen.target.target
    if not chosen.knobs:
        return general.log_weights(reading), general.tilt(reading), _value(general, reading)
    log_w, tilt, value = (_empty(len(reading)) for _ in range(3))
    offsets = reading.contexts.offsets
    for step, at in steps_of(reading):
        rows = slice(int(offsets[at[0]]), int(offsets[at[-1] + 1]))
        batch, turned = reading.take(at), chosen.at(step)
        log_w[rows], tilt[rows] = turned.log_weights(batch), turned.tilt(batch)
        value[rows] = _value(turned, batch)
    return log_w, tilt, value


def _empty(count: int) -> Any:
    return np.zeros(count)


def _value(general: Any, candidates: Any) -> Any:
    """The utility itself where there is one, else the tilt per unit of sharpness."""
    if len(general.tilts) == 1:
        return candidates.utilities(general.tilts[0].utility)
    tilt = general.tilt(candidates)
    return tilt / general.sharpness if general.sharpness > 0 else tilt


def steps_of(reading: Reading) -> list[tuple[int, Any]]:
    """Steps with the positions of their contexts, which are consecutive."""
    if not len(reading.contexts):
        return []
    found, starts = np.unique(reading.steps, return_index=True)
    ends = [*starts[1:].tolist(), len(reading.contexts)]
    return [
        (int(step), np.arange(int(a), int(b)))
        for step, a, b in zip(found, starts, ends, strict=True)
    ]


def _without_target(found: Summary) -> Summary:
    overlap = replace(
        found.overlap,
        target_proposal=None,
        target_policy=None,
        minimum=found.overlap.policy_proposal,
        carried_by=None,
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
