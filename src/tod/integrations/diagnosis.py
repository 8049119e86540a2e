"""`tod diagnose` behind the command: a reading in, a diagnosis out.

It lies here, beside the readers, because it knows what a reading lacks: every null in the result
has its reason in ``cannot``. The report and the command line read its plain data only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import Diagnostics, EssRel, Summary, Tails, mean_rho, measure, pareto_k_pooled
from tod.integrations import _assess as assess
from tod.integrations._cannot import reasons
from tod.integrations._target import Chosen, TargetSource, choose, unweighable
from tod.integrations.reading import Cannot, Reading
from tod.regimes import Regime, Thresholds, classify, ess_two, k_for_ess, stable_crossings

SCHEMA = "tod.diagnosis/1"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the rollouts say, what they cannot say, and what to turn.

    Attributes:
        reading: The candidates it was made from.
        chosen: The target, or None without any utility.
        diagnostics: Per context, in the order of the reading.
        summary: Condensed over all contexts.
        regime: The verdict.
        feasible: Largest feasible sharpness.
        cannot: Every null and its reason.
        worst: The most fragile contexts, worst first, with text where there is any.
        trend: One record per step.
        changes: Steps at which the run left or entered the stable region, in words.
        summaries: One per step.
    """

    reading: Reading
    chosen: Chosen | None
    diagnostics: Diagnostics
    summary: Summary
    regime: Regime
    feasible: Mapping[str, Any] | None
    cannot: tuple[Cannot, ...]
    worst: tuple[Mapping[str, Any], ...] = ()
    trend: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[str, ...] = ()
    summaries: Mapping[int, Summary] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the schema ``tod.diagnosis/1``."""
        from tod.runs import plain

        summary = self.summary.to_dict()
        data = {
            "schema": SCHEMA,
            "source": self.reading.source.to_dict(),
            "target": None if self.chosen is None else self.chosen.to_dict(),
            **{name: summary[name] for name in _BLOCKS},
            "regime": self.regime.to_dict(),
            "feasible": self.feasible,
            "cannot": [item.to_dict() for item in self.cannot],
            "worst_contexts": [dict(item) for item in self.worst],
            "trend": [dict(item) for item in self.trend],
            "changes": list(self.changes),
        }
        return plain(data)  # type: ignore[no-any-return]

    def rows(self) -> dict[str, Any]:
        """Columns of the per-context table (``--per-context``)."""
        return self.diagnostics.rows(self.reading.labels)

    def write_contexts(self, path: Path | str) -> None:
        """The per-context table as Parquet."""
        import polars as pl

        columns = {name: list(values) for name, values in self.rows().items()}
        frame = pl.DataFrame(columns, strict=False)
        floats = [name for name, kind in frame.schema.items() if kind.is_float()]
        frame.with_columns(pl.col(floats).fill_nan(None)).write_parquet(path)


_BLOCKS = (
    "contexts",
    "ess_rel",
    "tails",
    "overlap",
    "coverage",
    "mismatch",
    "staleness",
    "drift",
    "activation",
    "entropy",
)


def diagnose(
    reading: Reading,
    target: Any = None,
    *,
    eta: float | None = None,
    target_source: TargetSource | None = None,
    thresholds: Thresholds | None = None,
    ess_target: float = 0.5,
    worst: int = 10,
    on_policy: bool = False,
) -> Diagnosis:
    """Diagnose what was read.

    Args:
        reading: Candidates and what is known of their source.
        target: q*, any entry of the catalog; the run directory's, or an assumed one, if None.
        eta: Overall sharpness; with no target it tilts the first utility at the anchor μ.
        target_source: Says that the target was ``located`` in a configuration.
        thresholds: Bounds of the regimes.
        ess_target: ESS_rel that the feasible sharpness keeps.
        worst: How many of the most fragile contexts to show, with their text.
        on_policy: Declares π = μ: the policy/proposal leg is then 1 without measurement.
    """
    chosen = choose(reading, target, eta, target_source)
    lack = unweighable(reading, chosen)
    work = _Work.of(reading, None if lack else chosen, on_policy)
    parts = {step: work.measure(at) for step, at in _steps(reading)}
    whole = _whole(list(parts.values()), work)
    summaries = {step: work.summary(parts[step], at) for step, at in _steps(reading)}
    several = len(parts) != 1
    everything = np.arange(len(whole))
    summary = work.summary(whole, everything) if several else next(iter(summaries.values()))
    possible = None if lack else work.feasible(whole, ess_target)
    regime = work.regime(summary, list(summaries.values()), whole, possible, thresholds)
    trend, changes = _trend(work, parts, summaries, thresholds)
    return Diagnosis(
        reading=reading,
        chosen=chosen,
        diagnostics=whole,
        summary=summary,
        regime=regime,
        feasible=possible,
        cannot=reasons(reading, summary, lack, possible),
        worst=() if lack else _worst(reading, whole, worst),
        trend=trend,
        changes=changes,
        summaries=summaries,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """Log-weights, tilt and the policy's gap of all candidates."""

    reading: Reading
    chosen: Chosen | None
    log_w: Any
    tilt: Any
    value: Any
    log_r: Any
    on_policy: bool

    @classmethod
    def of(cls, reading: Reading, chosen: Chosen | None, on_policy: bool) -> "_Work":
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
        if possible is not None:
            advice["eta_max"] = possible["eta_max"]
        several = len(summaries) > 1 and ess_two(summaries) is not None
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
    for step, at in _steps(reading):
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


def _steps(reading: Reading) -> list[tuple[int, Any]]:
    """Steps with the positions of their contexts, which are consecutive."""
    if not len(reading.contexts):
        return []
    found, starts = np.unique(reading.steps, return_index=True)
    ends = [*starts[1:].tolist(), len(reading.contexts)]
    return [
        (int(step), np.arange(int(a), int(b)))
        for step, a, b in zip(found, starts, ends, strict=True)
    ]


def _whole(parts: Sequence[Diagnostics], work: _Work) -> Diagnostics:
    """All contexts at once: columns joined, what is pooled over contexts pooled again."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return work.measure(np.arange(0))
    first, contexts = parts[0], work.reading.contexts
    joined = {
        item.name: assess.joined([getattr(part, item.name) for part in parts])
        for item in fields(Diagnostics)
        if isinstance(getattr(first, item.name), np.ndarray)
    }
    whole = replace(first, **joined)
    chosen, rows = contexts.take(np.flatnonzero(whole.informative))
    return replace(
        whole,
        mean_rho=None if work.log_r is None else mean_rho(work.log_r, contexts),
        pareto_k_pooled=pareto_k_pooled(work.log_w[rows], chosen),
    )


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


def _worst(reading: Reading, whole: Diagnostics, count: int) -> tuple[dict[str, Any], ...]:
    """Lowest ESS_rel of informative contexts, later steps first on a tie, with their prompts."""
    informative = np.flatnonzero(whole.informative & ~np.isnan(whole.ess_rel))
    order = np.lexsort((-reading.steps[informative], whole.ess_rel[informative]))
    chosen = informative[order[: max(count, 0)]]
    texts = reading.texts(chosen.tolist(), most=1) if len(chosen) else {}
    labels = reading.labels.context or ()
    return tuple(
        {
            "id": labels[at] if labels else str(at),
            "step": int(reading.steps[at]),
            "k": int(whole.k[at]),
            "ess_rel": float(whole.ess_rel[at]),
            "max_weight": float(whole.max_weight[at]),
            "utility_mean": None if whole.utility_mean is None else float(whole.utility_mean[at]),
            "prompt": next((text.prompt for text in texts.get(at, ()) if text.prompt), None),
        }
        for at in chosen.tolist()
    )


def _trend(
    work: _Work,
    parts: Mapping[int, Diagnostics],
    summaries: Mapping[int, Summary],
    thresholds: Thresholds | None,
) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    assumed = work.chosen is not None and work.chosen.source == "assumed"
    rows = []
    for step, part in parts.items():
        found = summaries.get(step)
        if found is None:
            continue
        value = part.utility_mean
        rows.append(
            {
                "step": step,
                "ess_rel_q10": found.ess_rel.q10,
                "ess_rel_median": found.ess_rel.median,
                "utility_mean": None if value is None else float(np.mean(value)),
                "informative": found.contexts.informative,
                "contexts": found.contexts.total,
                "policy_proposal": found.overlap.policy_proposal,
                "regime": classify(found, thresholds, assumed_target=assumed).verdict,
            }
        )
    if work.chosen is None or not summaries:
        return tuple(rows), ()
    crossings = stable_crossings(list(summaries), list(summaries.values()), thresholds)
    return tuple(rows), tuple(str(item) for item in crossings)
