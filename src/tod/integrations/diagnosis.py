"""`tod diagnose` behind the command: a reading in, a diagnosis out.

It lies here, beside the readers, because it knows what a reading lacks: every null in the result
has its reason in ``cannot``. The report and the command line read its plain data only.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tod.diagnostics import Diagnostics, RhoSums, Summary, pareto_k_pooled
from tod.integrations import _assess as assess
from tod.integrations._cannot import reasons
from tod.integrations._long import Long, long_sequences, tilt_only, trends
from tod.integrations._target import Chosen, TargetSource, choose, unweighable
from tod.integrations._work import Work, steps_of
from tod.integrations.reading import Cannot, Reading
from tod.regimes import Regime, Thresholds, classify, stable_crossings

SCHEMA = "tod.diagnosis/1"
_THREADED = 200_000
"""Candidates from which steps are measured in threads."""


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
        k_trend: ESS_rel against K, by leg.
        long: What remains readable of long sequences, or None.
        subsample: Contexts that the searches over sharpness read, where not all of them.
        tilt_only: ESS_rel of the tilts were the anchor μ, where q*/μ itself cannot be weighed.
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
    k_trend: tuple[Mapping[str, Any], ...] = ()
    long: Long | None = None
    subsample: Mapping[str, Any] | None = None
    tilt_only: Mapping[str, Any] | None = None

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
            "k_trend": [dict(item) for item in self.k_trend],
            "long_sequences": None if self.long is None else self.long.to_dict(),
            "subsample": None if self.subsample is None else dict(self.subsample),
            "tilt_only": None if self.tilt_only is None else dict(self.tilt_only),
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
    work = Work.of(reading, None if lack else chosen, on_policy)
    parts, summaries = _by_step(work)
    whole = _whole(list(parts.values()), work)
    several = len(parts) != 1
    everything = np.arange(len(whole))
    summary = work.summary(whole, everything) if several else next(iter(summaries.values()))
    possible = None if lack else work.feasible(whole, ess_target)
    regime = work.regime(summary, list(summaries.values()), whole, possible, thresholds)
    trend, changes = _trend(work, parts, summaries, thresholds)
    log_w = None if lack else work.log_w
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
        k_trend=tuple(trends(reading, log_w, work.log_r, whole.informative)),
        long=long_sequences(reading, log_w, work.tilt, whole.informative),
        subsample=None if lack else _subsample(whole),
        tilt_only=tilt_only(reading, chosen) if lack else None,
    )


def _by_step(work: Work) -> tuple[dict[int, Diagnostics], dict[int, Summary]]:
    """Diagnostics and record of every step; large readings in threads, as NumPy lets go of them."""

    def one(item: tuple[int, Any]) -> tuple[int, Diagnostics, Summary]:
        part = work.measure(item[1])
        return item[0], part, work.summary(part, item[1])

    steps = steps_of(work.reading)
    if len(work.reading) < _THREADED or len(steps) < 2:
        found = [one(item) for item in steps]
    else:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
            found = list(pool.map(one, steps))
    return {step: part for step, part, _ in found}, {step: seen for step, _, seen in found}


def _subsample(whole: Diagnostics) -> dict[str, Any] | None:
    """How many of the informative contexts the searches over sharpness read, if not all."""
    informative = int(whole.informative.sum())
    if informative <= assess.MOST_CONTEXTS:
        return None
    used_for = ["feasible", "regime.eta_intervals"]
    return {"contexts": assess.MOST_CONTEXTS, "of": informative, "used_for": used_for}


def _whole(parts: Sequence[Diagnostics], work: Work) -> Diagnostics:
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
    return replace(
        whole,
        rho=RhoSums.join([part.rho for part in parts if part.rho is not None]),
        pareto_k_pooled=pareto_k_pooled(work.log_w, contexts, whole.informative, whole.max_weight),
    )


def _worst(reading: Reading, whole: Diagnostics, count: int) -> tuple[dict[str, Any], ...]:
    """Lowest ESS_rel of informative contexts, later steps first on a tie, with their prompts."""
    informative = np.flatnonzero(whole.informative & ~np.isnan(whole.ess_rel))
    count = max(count, 0)
    if 0 < count < len(informative):  # sort only those that can be among the worst
        last = np.partition(whole.ess_rel[informative], count - 1)[count - 1]
        informative = informative[whole.ess_rel[informative] <= last]
    order = np.lexsort((-reading.steps[informative], whole.ess_rel[informative]))
    chosen = informative[order[:count]]
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
    work: Work,
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
