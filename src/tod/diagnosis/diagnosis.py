"""`tod diagnose` behind the command: a reading and a target in, a diagnosis out.

The numbers are those of `tod.procedure.examine`; here a reading is handed to it with what its files
alone know, and the verdict, the feasible sharpness and the most fragile contexts are added. Every
null in the result has its reason in ``cannot``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tod.base import SpecError, Unknown
from tod.base.displayed import Displayed
from tod.diagnosis import measures
from tod.diagnosis.cannot import cannot, in_words
from tod.diagnosis.feasible import feasible_block
from tod.diagnosis.judged import Judged, last_change
from tod.diagnosis.long import Long, long_sequences, tilt_only, trends
from tod.diagnosis.ranges import declared_ranges
from tod.diagnosis.target import SourcedTarget, TargetSource, choose, triple, unweighable
from tod.diagnostics import Diagnostics, Mismatch, Summary
from tod.findings import Findings, find, run_of
from tod.formats.gating import Gated
from tod.formats.reading import Reading
from tod.logs import Log
from tod.population import FeasibleEta, LegStatistics, feasible_eta
from tod.procedure import (
    Declared,
    Examined,
    Weights,
    examine,
    steps_of,
    weigh,
)
from tod.regimes import (
    Largest,
    Pool,
    Regime,
    Thresholds,
    largest_sharpness,
    stable_crossings,
)
from tod.regimes import largest as sharpness

if TYPE_CHECKING:
    import polars as pl

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


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Displayed):
    """What the rollouts say, what they cannot say, and what to turn.

    Attributes:
        reading: The candidates it was made from.
        sourced: The target and where it came from, or None without any utility.
        examined: D of the whole reading.
        summary: What the verdict is of: the whole reading.
        regime: The verdict.
        feasible: Largest feasible sharpness.
        cannot: Every null and its reason.
        findings: What went wrong in the run and when, by all detectors.
        fragile: Positions of the most fragile contexts in the reading, worst first.
        trend: One record per step.
        changes: Steps at which the run left or entered the stable region, in words.
        summaries: One per step.
        k_trend: ESS_rel against K, by leg.
        long: What remains readable of long sequences, or None.
        subsample: Contexts that the searches over sharpness read, where not all of them.
        tilt_only: ESS_rel of the tilts were the anchor μ, where q*/μ itself cannot be weighed.
        assumed: The same rows with an assumed target, where a located one cannot be weighed.
        shown: What is measured beside the verdict when the diagnosis is written.
        gated: What the trust region that the files were read with takes of their tokens.
        logs: Metric logs of the same run, for its findings.
        pool: The steps that the verdict is of; None where nothing could be counted.
        before: The verdict of the steps before them, where something changed.
        early: Those steps.
        expected: What the person's configuration says of the run, for its findings.
        statistics: What every step adds to a pool.
    """

    reading: Reading
    sourced: SourcedTarget | None
    examined: Examined
    summary: Summary
    regime: Regime
    feasible: Mapping[str, Any] | None
    cannot: tuple[Unknown, ...]
    findings: Findings
    fragile: tuple[int, ...] = ()
    trend: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[str, ...] = ()
    summaries: Mapping[int, Summary] = field(default_factory=dict)
    k_trend: tuple[Mapping[str, Any], ...] = ()
    long: Long | None = None
    subsample: Mapping[str, Any] | None = None
    tilt_only: Mapping[str, Any] | None = None
    assumed: "Diagnosis | None" = None
    shown: Shown = Shown()
    gated: Gated | None = None
    logs: tuple[Log, ...] = ()
    pool: Pool | None = None
    before: Regime | None = None
    early: Sequence[int] = ()
    expected: Mapping[str, object] = field(default_factory=dict)
    statistics: Mapping[int, LegStatistics] = field(default_factory=dict)

    @property
    def diagnostics(self) -> Diagnostics:
        """Of every context, in the order of the reading."""
        return self.examined.diagnostics

    @property
    def weights(self) -> Weights | None:
        """The log-weights under the target, or None where they cannot be computed."""
        return self.examined.weights

    @cached_property
    def measures(self) -> dict[str, Any]:
        """What is measured beside the verdict, by block of the schema; None without q*/μ."""
        reading, seen = self.reading, self.diagnostics
        found: dict[str, Any] = dict.fromkeys(("weights", "below", "bootstrap"))
        found["per_utility"] = []
        found["diversity"] = measures.diversity(reading, self.shown.texts)
        if self.weights is None or self.sourced is None:
            return found
        read = seen.informative & (seen.k == self.summary.overlap.k) & ~np.isnan(seen.ess_rel)
        values = seen.ess_rel[read]
        return found | {
            "weights": measures.weights(self.weights.log_w, reading.contexts, read),
            "below": measures.below(values, self.shown.below),
            "bootstrap": measures.bootstrap(values, self.shown.bootstrap),
            "per_utility": measures.per_utility(reading, self.sourced),
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

        data = {
            "schema": SCHEMA,
            "source": self.reading.source.to_dict(),
            "target": None if self.sourced is None else self.sourced.to_dict(),
            **self.summary.to_dict(),
            **self.judged(),
            "feasible": self.feasible,
            "cannot": [item.to_dict() for item in self.cannot],
            "findings": self.findings.to_dict(),
            "worst_contexts": [dict(item) for item in self.worst],
            "trend": [dict(item) for item in self.trend],
            "changes": list(self.changes),
            "k_trend": [dict(item) for item in self.k_trend],
            "long_sequences": None if self.long is None else self.long.to_dict(),
            "subsample": None if self.subsample is None else dict(self.subsample),
            "tilt_only": None if self.tilt_only is None else dict(self.tilt_only),
            "assumed": None if self.assumed is None else self.assumed.as_assumed(),
            "gate": None if self.gated is None else self.gated.to_dict(),
            **self.measures,
        }
        return plain(data)  # type: ignore[no-any-return]

    def headlines(self) -> dict[str, Any]:
        """Of `to_dict` what needs no second look at the files: what the first screen says."""
        from tod.runs import plain

        data = {
            "source": self.reading.source.to_dict(),
            "target": None if self.sourced is None else self.sourced.to_dict(),
            **self.judged(),
            "changes": list(self.changes),
        }
        return plain(data)  # type: ignore[no-any-return]

    @property
    def verdict(self) -> str:
        """``swap_stable``, ``transition``, ``operator_dominated`` or ``undetermined``."""
        return self.regime.verdict

    def informative_ess_rel(self) -> Float[np.ndarray, " c"]:
        """ESS_rel of every informative context where it is known, in [1/K, 1]."""
        seen = self.diagnostics
        return np.asarray(seen.ess_rel[seen.informative & np.isfinite(seen.ess_rel)])

    def judged(self) -> dict[str, Any]:
        """The blocks of the schema on the verdict: of which steps, and of those before them."""
        before = self.before
        span = {"steps": [self.early[0], self.early[-1]]} if before is not None else {}
        return {
            "regime": self.regime.to_dict(),
            "regime_before": None if before is None else before.to_dict() | span,
            "pool": None if self.pool is None else self.pool.to_dict(),
        }

    def as_assumed(self) -> dict[str, Any]:
        """What depends on the target, to stand beside a diagnosis whose own cannot be weighed."""
        ess_rel = self.summary.ess_rel
        return {
            "target": None if self.sourced is None else self.sourced.to_dict(),
            "ess_rel_median": None if ess_rel is None else ess_rel.median,
            "ess_rel_q10": None if ess_rel is None else ess_rel.q10,
            "verdict": self.regime.verdict,
            "feasible": self.feasible,
        }

    def rows(self) -> dict[str, Any]:
        """Columns of the per-context table (``--per-context``).

        Where contexts have 25 candidates and more, three more are their k̂ and smoothed weights.
        """
        columns = self.diagnostics.rows(self.reading.labels)
        if self.summary.contexts.informative is None:
            columns["class"] = [None] * len(self.diagnostics)
        if self.weights is None:
            return columns
        contexts, seen = self.reading.contexts, self.diagnostics.informative
        return columns | measures.smoothed(self.weights.log_w, contexts, seen)

    def write_contexts(self, path: Path | str) -> None:
        """The per-context table as Parquet."""
        self.to_frame().write_parquet(path)

    def to_frame(self) -> "pl.DataFrame":
        """A row a context, as ``--per-context`` writes it; what is not known is null.

        Columns: ``context``, ``step``, ``k``, ``ess_rel`` in [1/K, 1], ``max_weight``, and every
        other diagnostic of a context that was recorded (`tod.Diagnostics`), with its ``class``.
        """
        import polars as pl

        columns = {name: list(values) for name, values in self.rows().items()}
        frame = pl.DataFrame(columns, strict=False)
        floats = [name for name, kind in frame.schema.items() if kind.is_float()]
        return frame.with_columns(pl.col(floats).fill_nan(None))


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
    logs: Sequence[Log] = (),
    expected: Mapping[str, object] | None = None,
    findings: Findings | None = None,
    reward_range: Mapping[str, Sequence[float]] | None = None,
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
        logs: Metric logs of the same run, which its findings read as well.
        expected: What the person's configuration says of the run, for its findings.
        findings: Of the same reading and logs, where they were made before.
        reward_range: Least and largest value that a reward can have, by name; the empty name is the
            one reward that the target tilts by.

    Raises:
        SpecError: π = μ is declared of candidates that are recorded as stale, or a reward lies
            outside the range that is declared of it.
    """
    behind = 0 if reading.lag is None else int(reading.lag.max(initial=0))
    if on_policy and behind:
        raise SpecError(
            f"on_policy declares that the sampler was the policy, and the files record rollouts "
            f"up to {behind} versions behind it. Leave it out, or read those without lag."
        )
    sourced = choose(reading, target, eta, target_source)
    lack = unweighable(reading, sourced)
    ranges = declared_ranges(reading, sourced, reward_range)
    assumed = None
    if lack is not None and target_source == "located" and reading.utility:
        assumed = diagnose(
            reading, None, eta=eta, thresholds=thresholds, ess_target=ess_target, worst=0
        )
    weighable = None if lack is not None else sourced
    gated = reading.gated(_signal(reading, weighable))
    examined = _examined(reading, weighable, lack, on_policy, gated, ranges)
    found = findings or find(run_of(reading, logs, expected=expected))
    parts = {step: examined.part(at) for step, at in steps_of(reading)}
    since = last_change(reading, found)
    judged = Judged(examined, sourced, parts, thresholds or Thresholds(), since)
    largest = None if lack is not None else largest_sharpness(examined, ess_target)
    population = None if judged.pool is None else feasible_eta(judged.pool.target, ess_target)
    feasible = None if largest is None else _feasible(population, largest, ess_target)
    changes = (
        ()
        if sourced is None
        else stable_crossings(list(parts), list(judged.summaries.values()), thresholds)
    )
    needs = None if lack is None else f"give {in_words(reading, lack).needs}"
    log_w, tilt, whole = None, None, examined.diagnostics
    if examined.weights is not None:
        log_w, tilt = examined.weights.log_w, examined.weights.tilt
    return Diagnosis(
        reading=reading,
        sourced=sourced,
        examined=examined,
        summary=judged.summary,
        regime=judged.regime(needs, **_safe(judged)),
        before=judged.before,
        early=judged.early,
        statistics=judged.statistics,
        pool=judged.pool,
        findings=found,
        feasible=feasible,
        cannot=cannot(reading, examined, feasible, population),
        fragile=() if lack is not None else _fragile(reading, whole, worst),
        trend=tuple(_trend(examined, judged)),
        changes=tuple(str(item) for item in changes),
        summaries=judged.summaries,
        k_trend=tuple(trends(reading, log_w, examined.known.log_r, whole.informative)),
        long=long_sequences(reading, log_w, tilt, whole.informative),
        subsample=None if lack is not None else _subsample(whole),
        tilt_only=None if lack is None else tilt_only(reading, sourced),
        assumed=assumed,
        shown=shown or Shown(),
        gated=gated,
        logs=tuple(logs),
        expected=expected or {},
    )


def _signal(reading: Reading, sourced: SourcedTarget | None) -> Any:
    """What tells the sign of an advantage: the tilt, else the first utility; None without any."""
    if reading.gate is not None and sourced is not None:
        return weigh(sourced.target, reading, sourced.knobs).tilt
    return next(iter(reading.utility.values()), None)


def _examined(
    reading: Reading,
    sourced: SourcedTarget | None,
    lack: Unknown | None,
    on_policy: bool,
    gated: Gated | None,
    ranges: Mapping[str, Sequence[float]],
) -> Examined:
    """D of the reading, with what its files, or the record of its run, alone know."""
    gates = {} if gated is None else gated.by_step
    known = reading.source.recorded
    recorded = {step: _recorded(known.get(step, {})) for step, _ in steps_of(reading)}
    declared = {
        step: replace(
            item,
            on_policy=on_policy,
            grouped=reading.source.grouped,
            activation=gates.get(step) if item.activation is None else item.activation,
            reward_range={**item.reward_range, **ranges},
        )
        for step, item in recorded.items()
    }
    samples = reading.samples
    old: Any = reading.log_anchor.get("old")
    if reading.source.recorded and np.array_equal(old, np.asarray(reading.log_mu)):
        declared = {  # a live run of another trainer, which recorded no mismatch
            step: replace(item, one_engine=item.mismatch is None) for step, item in declared.items()
        }
    return examine(
        None if sourced is None else triple(reading, sourced),
        reading,
        gaps=reading.gaps,
        lag=reading.lag,
        declared=declared,
        knobs=None if sourced is None else sourced.knobs,
        samples=None if samples is None else (samples.at, samples.candidates),
        lack=lack,
    )


def _recorded(record: Mapping[str, Any]) -> Declared:
    """What a run's own record of a step knows and its rollouts do not tell."""

    def gap(name: str) -> Mismatch | None:
        return Mismatch.from_dict(dict(record[name])) if record.get(name) else None

    return Declared(
        activation=record.get("activation"),
        entropy=record.get("entropy"),
        mismatch=gap("mismatch"),
        staleness=gap("staleness"),
        reward_range=record.get("reward_range") or {},
    )


def _feasible(population: FeasibleEta | None, at_k: Largest, goal: float) -> dict[str, Any]:
    """The ``feasible`` block of the schema."""
    return {"ess_rel_target": goal, "quantile": 0.5, **feasible_block(population, at_k)}


def _safe(judged: Judged) -> dict[str, float]:
    """What the remedies promise: the safe sharpness for the bound of a stable leg, where known."""
    goal = judged.bounds.overlap_stable
    if judged.pool is None or not goal < 1:
        return {}
    safe = feasible_eta(judged.pool.target, goal).safe
    return {} if safe is None else {"eta_max": safe, "eta_goal": goal}


def _subsample(whole: Diagnostics) -> dict[str, Any] | None:
    """How many of the contexts behind the medians the searches over sharpness read, if not all."""
    compared, most = int(whole.compared.sum()), sharpness.MOST_CONTEXTS
    if compared <= most:
        return None
    used_for = ["feasible", "regime.eta_intervals"]
    return {"contexts": most, "of": compared, "used_for": used_for}


def _fragile(reading: Reading, whole: Diagnostics, count: int) -> tuple[int, ...]:
    """Lowest ESS_rel of informative contexts, later steps first on a tie."""
    informative = np.flatnonzero(whole.informative & ~np.isnan(whole.ess_rel))
    count = max(count, 0)
    if 0 < count < len(informative):  # sort only those that can be among the worst
        last = np.partition(whole.ess_rel[informative], count - 1)[count - 1]
        informative = informative[whole.ess_rel[informative] <= last]
    order = np.lexsort((-reading.steps[informative], whole.ess_rel[informative]))
    return tuple(informative[order[:count]].tolist())


def _trend(examined: Examined, judged: Judged) -> Iterator[dict[str, Any]]:
    utility = examined.diagnostics.utility_mean
    for step, at in steps_of(examined.candidates):
        summary = judged.summaries[step]
        yield {
            "step": step,
            "ess_rel_q10": summary.ess_rel.q10,
            "ess_rel_median": summary.ess_rel.median,
            "population": _interval(summary),
            "utility_mean": None if utility is None else float(np.mean(utility[at])),
            "max_weight_median": summary.tails.max_weight_median,
            "informative": summary.contexts.informative,
            "contexts": summary.contexts.total,
            "policy_proposal": summary.overlap.policy_proposal,
            "regime": judged.by_step[step].verdict,
        }


def _interval(summary: Summary) -> dict[str, float | None] | None:
    """The population median of target/proposal at a step, by its own rows."""
    ess = (summary.population or {}).get("target_proposal")
    return None if ess is None or ess.median is None else ess.median.to_dict()
