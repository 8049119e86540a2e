"""`tod diagnose` behind the command: a reading in, a diagnosis out.

It lies here, beside the readers, because it knows what a reading lacks: every null in the result
has its reason in ``cannot``. The report and the command line read its plain data only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import SpecError
from tod.diagnosis import assess, measures
from tod.diagnosis.judged import Work
from tod.diagnosis.long import Long, long_sequences, tilt_only, trends
from tod.diagnosis.target import Chosen, TargetSource, choose, unweighable
from tod.diagnosis.unknown import reasons
from tod.diagnosis.weighed import Weighed, steps_of
from tod.diagnostics import Diagnostics, Summary
from tod.formats.gating import Gated, of_reading
from tod.formats.reading import Cannot, Reading
from tod.regimes import Regime, Thresholds, classify, stable_crossings

SCHEMA = "tod.diagnosis/1"


@dataclass(frozen=True)
class Shown:
    """What is measured beside the verdict, when the diagnosis is written.

    Attributes:
        below: ESS_rel whose share of contexts below it is given with a Beta interval.
        bootstrap: Resamples of contexts behind bootstrap intervals; 0 for none.
        texts: Read completions again, for distinct-n and self-BLEU.
    """

    below: float = 0.3
    bootstrap: int = 0
    texts: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if not 0 < self.below <= 1:
            raise SpecError(f"below = {self.below}: ESS_rel lies in (0, 1]. 0.3 is usual.")
        if self.bootstrap < 0 or self.bootstrap == 1:
            raise SpecError(
                f"bootstrap = {self.bootstrap}: two resamples at least, 0 for none. 200 is usual."
            )


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the rollouts say, what they cannot say, and what to turn.

    Attributes:
        reading: The candidates it was made from.
        chosen: The target, or None without any utility.
        weighed: The log-weights under it, or None where they cannot be computed.
        diagnostics: Per context, in the order of the reading.
        summary: Condensed over all contexts.
        regime: The verdict.
        feasible: Largest feasible sharpness.
        cannot: Every null and its reason.
        fragile: Positions of the most fragile contexts in the reading, worst first.
        trend: One record per step.
        changes: Steps at which the run left or entered the stable region, in words.
        summaries: One per step.
        k_trend: ESS_rel against K, by leg.
        long: What remains readable of long sequences, or None.
        subsample: Contexts that the searches over sharpness read, where not all of them.
        tilt_only: ESS_rel of the tilts were the anchor μ, where q*/μ itself cannot be weighed.
        shown: What is measured beside the verdict when the diagnosis is written.
        gated: What the trust region that the files were read with takes of their tokens.
    """

    reading: Reading
    chosen: Chosen | None
    weighed: Weighed | None
    diagnostics: Diagnostics
    summary: Summary
    regime: Regime
    feasible: Mapping[str, Any] | None
    cannot: tuple[Cannot, ...]
    fragile: tuple[int, ...] = ()
    trend: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[str, ...] = ()
    summaries: Mapping[int, Summary] = field(default_factory=dict)
    k_trend: tuple[Mapping[str, Any], ...] = ()
    long: Long | None = None
    subsample: Mapping[str, Any] | None = None
    tilt_only: Mapping[str, Any] | None = None
    shown: Shown = Shown()
    gated: Gated | None = None

    @cached_property
    def measures(self) -> dict[str, Any]:
        """What is measured beside the verdict, by block of the schema; None without q*/μ."""
        reading, seen = self.reading, self.diagnostics
        found: dict[str, Any] = dict.fromkeys(("weights", "below", "bootstrap"))
        found["per_utility"] = []
        found["diversity"] = measures.diversity(reading, self.shown.texts)
        if self.weighed is None or self.chosen is None:
            return found
        read = seen.informative & (seen.k == self.summary.overlap.k) & ~np.isnan(seen.ess_rel)
        values = seen.ess_rel[read]
        return found | {
            "weights": measures.weights(self.weighed.log_w, reading.contexts, read),
            "below": measures.below(values, self.shown.below),
            "bootstrap": measures.bootstrap(values, self.shown.bootstrap),
            "per_utility": measures.per_utility(reading, self.chosen),
        }

    @cached_property
    def worst(self) -> tuple[dict[str, Any], ...]:
        """The most fragile contexts, worst first, with their prompts, which are read only now."""
        prompts = self.reading.prompts(self.fragile) if self.fragile else {}
        return tuple(self._context(at, prompts.get(at) or None) for at in self.fragile)

    def _context(self, at: int, prompt: str | None) -> dict[str, Any]:
        seen, labels = self.diagnostics, self.reading.labels.context or ()
        return {
            "position": at,
            "id": labels[at] if labels else str(at),
            "step": int(self.reading.steps[at]),
            "k": int(seen.k[at]),
            "ess_rel": float(seen.ess_rel[at]),
            "max_weight": float(seen.max_weight[at]),
            "utility_mean": None if seen.utility_mean is None else float(seen.utility_mean[at]),
            "prompt": prompt,
        }

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
            "gate": None if self.gated is None else self.gated.to_dict(),
            **self.measures,
        }
        return plain(data)  # type: ignore[no-any-return]

    def rows(self) -> dict[str, Any]:
        """Columns of the per-context table (``--per-context``).

        Where contexts have 25 candidates and more, three more are their k̂ and smoothed weights.
        """
        columns = self.diagnostics.rows(self.reading.labels)
        if self.weighed is None:
            return columns
        contexts, seen = self.reading.contexts, self.diagnostics.informative
        return columns | measures.smoothed(self.weighed.log_w, contexts, seen)

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
    shown: Shown | None = None,
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
        shown: What to measure beside the verdict when the diagnosis is written.

    Raises:
        SpecError: π = μ is declared of candidates that are recorded as stale.
    """
    behind = 0 if reading.lag is None else int(reading.lag.max(initial=0))
    if on_policy and behind:
        raise SpecError(
            f"on_policy declares that the sampler was the policy, and the files record candidates "
            f"up to {behind} versions behind it. Leave it out, or read those without lag."
        )
    chosen = choose(reading, target, eta, target_source)
    lack = unweighable(reading, chosen)
    work = Work.of(reading, None if lack else chosen, on_policy)
    toll = of_reading(reading, _signal(work))
    if toll is not None and not reading.source.activation:
        work = replace(work, reading=_with_activation(reading, toll.by_step))
    whole = work.measure()
    summaries = {step: work.summary(whole, step, at) for step, at in steps_of(reading)}
    several = len(summaries) != 1
    summary = work.summary(whole) if several else next(iter(summaries.values()))
    possible = None if lack else work.feasible(whole, ess_target)
    steps = list(summaries.values())
    changes = () if work.chosen is None else stable_crossings(list(summaries), steps, thresholds)
    needs = None if lack is None else f"give {lack[1]}"
    regime = work.regime(summary, steps, whole, possible, thresholds, changes, needs)
    log_w, tilt = (None, None) if work.weighed is None else (work.log_w, work.weighed.tilt)
    return Diagnosis(
        reading=reading,
        chosen=chosen,
        weighed=work.weighed,
        diagnostics=whole,
        summary=summary,
        regime=regime,
        feasible=possible,
        cannot=reasons(work.reading, summary, lack, possible),
        fragile=() if lack else _fragile(reading, whole, worst),
        trend=_trend(work, whole, summaries, thresholds),
        changes=tuple(str(item) for item in changes),
        summaries=summaries,
        k_trend=tuple(trends(reading, log_w, work.log_r, whole.informative)),
        long=long_sequences(reading, log_w, tilt, whole.informative),
        subsample=None if lack else _subsample(whole),
        tilt_only=tilt_only(reading, chosen) if lack else None,
        shown=shown or Shown(),
        gated=toll,
    )


def _signal(work: Work) -> Any:
    """What tells the sign of an advantage: the tilt, else the first utility; None without any."""
    if work.weighed is not None:
        return work.weighed.tilt
    return next(iter(work.reading.utility.values()), None)


def _with_activation(reading: Reading, by_step: Mapping[int, float]) -> Reading:
    return replace(reading, source=replace(reading.source, activation=by_step))


def _subsample(whole: Diagnostics) -> dict[str, Any] | None:
    """How many of the contexts behind the medians the searches over sharpness read, if not all."""
    compared = int(whole.compared.sum())
    if compared <= assess.MOST_CONTEXTS:
        return None
    used_for = ["feasible", "regime.eta_intervals"]
    return {"contexts": assess.MOST_CONTEXTS, "of": compared, "used_for": used_for}


def _fragile(reading: Reading, whole: Diagnostics, count: int) -> tuple[int, ...]:
    """Lowest ESS_rel of informative contexts, later steps first on a tie."""
    informative = np.flatnonzero(whole.informative & ~np.isnan(whole.ess_rel))
    count = max(count, 0)
    if 0 < count < len(informative):  # sort only those that can be among the worst
        last = np.partition(whole.ess_rel[informative], count - 1)[count - 1]
        informative = informative[whole.ess_rel[informative] <= last]
    order = np.lexsort((-reading.steps[informative], whole.ess_rel[informative]))
    return tuple(informative[order[:count]].tolist())


def _trend(
    work: Work,
    whole: Diagnostics,
    summaries: Mapping[int, Summary],
    thresholds: Thresholds | None,
) -> tuple[dict[str, Any], ...]:
    assumed = work.chosen is not None and work.chosen.source == "assumed"
    rows = []
    for step, at in steps_of(work.reading):
        found = summaries[step]
        value = None if whole.utility_mean is None else whole.utility_mean[at]
        rows.append(
            {
                "step": step,
                "ess_rel_q10": found.ess_rel.q10,
                "ess_rel_median": found.ess_rel.median,
                "utility_mean": None if value is None else float(np.mean(value)),
                "max_weight_median": found.tails.max_weight_median,
                "informative": found.contexts.informative,
                "contexts": found.contexts.total,
                "policy_proposal": found.overlap.policy_proposal,
                "regime": classify(found, thresholds, assumed_target=assumed).verdict,
            }
        )
    return tuple(rows)
