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
    """Log-weights, tilt, the policy's gap and the sharpness in force, of all candidates."""

    reading: Reading
    chosen: Chosen | None
    log_w: Any
    tilt: Any
    value: Any
    eta: Any
    log_r: Any
    on_policy: bool

    @classmethod
    def of(cls, reading: Reading, chosen: Chosen | None, on_policy: bool) -> "Work":
        policy, mu = assess.policy_of(reading), reading.log_mu
        log_r = None if policy is None or mu is None else policy - mu
        main = next(iter(reading.utility.values()), None)
        if chosen is None:
            blind = np.zeros(len(reading))
            tilt = blind if main is None else main
            return cls(reading, None, blind, tilt, main, 1.0, log_r, on_policy)
        return cls(reading, chosen, *_weigh(reading, chosen), log_r, on_policy)

    def measure(self) -> Diagnostics:
        """Diagnostics of all contexts."""
        return measure(
            self.log_w,
            self.tilt,
            self.reading.contexts,
            utility=self.value,
            log_r=self.log_r,
            answers=self.reading.labels.answer,
            legs_declared=("policy_proposal",) if self.on_policy and self.log_r is None else (),
        )

    def summary(self, whole: Diagnostics, at: slice) -> Summary:
        """The record of consecutive contexts; what reads q* is unknown without a target."""
        everything = at == slice(0, len(whole))
        part = whole if everything else whole.part(at, self.log_w, self.reading.contexts)
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
        """Log b − log μ (None if zero), the tilt at η = 1, and the declared η."""
        assert self.chosen is not None  # noqa: S101 - checked by the caller
        declared = float(self.chosen.target.target.sharpness) or 1.0
        eta = self.eta[rows] if self.chosen.knobs else self.eta
        tilt = self.tilt[rows]
        finite = np.isfinite(tilt)
        base = np.where(finite, self.log_w[rows] - np.where(finite, tilt, 0.0), 0.0)
        unit = np.where(finite, tilt / eta, -np.inf)
        return (base if np.abs(base).max(initial=0.0) > 1e-12 else None), unit, declared

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


def _weigh(reading: Reading, chosen: Chosen) -> tuple[Any, Any, Any, Any]:
    """Log-weights, tilt, value and sharpness under the target in force at every step."""
    general = chosen.target.target
    if not chosen.knobs:
        eta = general.sharpness or 1.0
        tilt = general.tilt(reading)
        return general.log_weights(reading), tilt, _value(general, reading, tilt), float(eta)
    columns: Any = np.zeros((4, len(reading)))
    log_w, tilt, value, eta = columns
    offsets = reading.contexts.offsets
    for step, at in steps_of(reading):
        rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
        batch, turned = reading.take(np.arange(at.start, at.stop)), chosen.at(step)
        log_w[rows], tilt[rows] = turned.log_weights(batch), turned.tilt(batch)
        value[rows] = _value(turned, batch, tilt[rows])
        eta[rows] = float(turned.sharpness) or 1.0
    return log_w, tilt, value, eta


def _value(general: Any, candidates: Any, tilt: Any) -> Any:
    """The utility itself where there is one, else the tilt per unit of sharpness."""
    if len(general.tilts) == 1:
        return candidates.utilities(general.tilts[0].utility)
    return tilt / general.sharpness if general.sharpness > 0 else tilt


def steps_of(reading: Reading) -> list[tuple[int, slice]]:
    """Steps with the places of their contexts, which are consecutive."""
    if not len(reading.contexts):
        return []
    starts = np.flatnonzero(np.diff(reading.steps, prepend=reading.steps[0] - 1))
    ends = [*starts[1:].tolist(), len(reading.contexts)]
    known = reading.steps[starts].tolist()
    return [(step, slice(a, b)) for step, a, b in zip(known, starts.tolist(), ends, strict=True)]


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
