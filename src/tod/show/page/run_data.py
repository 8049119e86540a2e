"""What the report reads of a run: plain values, already cut to what a page can hold."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.regimes import Thresholds
from tod.runs import RunDirectory
from tod.show.page.windows import Window, of_verdict

if TYPE_CHECKING:
    import polars as pl

    from tod.findings import Findings

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
PROMPT_LIMIT, COMPLETION_LIMIT = 1200, 400
CANDIDATES_SHOWN, WORST_SHOWN, WORST_STEPS, POINTS_SHOWN = 16, 8, 5, 600
STEPS_DRAWN = 240


@dataclass(frozen=True)
class ContextPoint:
    """A context in the phase plane; ``weights`` are its largest normalised ones, if kept."""

    context: str
    ess_rel: float
    max_weight: float
    k: int
    utility: float | None
    prompt: str
    step: int | None = None
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One candidate of a shown context; ``weight`` is normalised q*/μ, None when unknown."""

    completion: str
    weight: float | None
    utilities: dict[str, float | None]


@dataclass(frozen=True)
class WorstContext:
    """A fragile context with what its candidates were."""

    step: int
    context: str
    k: int
    ess_rel: float
    max_weight: float | None
    prompt: str
    candidates: list[Candidate]
    omitted: int = 0

    @classmethod
    def of(
        cls,
        row: Mapping[str, Any],
        name: str,
        prompt: str | None,
        candidates: Sequence[Candidate] = (),
        shown: int = CANDIDATES_SHOWN,
    ) -> "WorstContext":
        """Of a row with its numbers and all its candidates, of which the first are shown."""
        return cls(
            context=name,
            prompt=shorten(prompt or "", PROMPT_LIMIT),
            candidates=list(candidates[:shown]),
            omitted=max(0, len(candidates) - shown),
            **{key: row[key] for key in ("step", "k", "ess_rel", "max_weight")},
        )


@dataclass(frozen=True, eq=False)
class RunView:
    """A run as the report sees it; a diagnosis of other files can be turned into one as well.

    Attributes:
        name: What it is called on the page.
        steps: Records in order.
        decisions: The controller's, in order.
        bands: Step → quantiles (``QUANTILES``) of ESS_rel over informative contexts.
        points: Informative contexts of the last step, at most ``POINTS_SHOWN``.
        worst: The most fragile contexts of the last steps.
        recipe: As resolved.
        environment: Versions, hardware, threads, git, seeds, created.
        mismatches: Sampling servers that drew from other weights than they were sent, a line each.
        search: What a selection at test time gained (``search.json``), or None.
        diagnosis: Of all steps together (``tod.diagnosis/1``), where rollouts were diagnosed.
        verdict: Of the run: ``regime``, ``regime_before`` and ``pool`` of the schema; None where
            no step was recorded.
        windows: The population over the steps, for the phase diagram.
        findings: What went wrong in it; None where nothing but a diagnosis was saved, where no
            step was recorded, and of a search, which trains nothing.
        unread: Why its findings could not be made, where its files could not be read; else empty.
    """

    name: str
    steps: list[dict[str, Any]]
    decisions: list[dict[str, Any]] = field(default_factory=list)
    bands: dict[int, tuple[float, ...]] = field(default_factory=dict)
    points: list[ContextPoint] = field(default_factory=list)
    worst: list[WorstContext] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)
    search: dict[str, Any] | None = None
    diagnosis: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    windows: list[Window] = field(default_factory=list)
    findings: "Findings | None" = None
    unread: str = ""

    @property
    def last(self) -> dict[str, Any]:
        """The diagnosis of all steps, else the last record, or an empty one."""
        return self.diagnosis or (self.steps[-1] if self.steps else {})

    @property
    def judged(self) -> dict[str, Any]:
        """The blocks ``regime``, ``regime_before`` and ``pool``; without a verdict all are None."""
        known = self.diagnosis or self.verdict or {}
        return {name: known.get(name) for name in ("regime", "regime_before", "pool")}

    @property
    def tails(self) -> dict[int, float | None]:
        """Median of the largest weight, by step."""
        return dict(zip(self.numbers(), self.values("tails", "max_weight_median"), strict=True))

    @property
    def pooled(self) -> Window | None:
        """What the verdict was read from, as a box of the phase diagram."""
        return of_verdict(self.judged, self.tails, self.numbers())

    def values(self, *path: str) -> list[float | None]:
        """One number of every record, by its path; None where it is not known."""
        return [at(record, *path) for record in self.steps]

    def numbers(self) -> list[int]:
        """The step of every record."""
        return [int(record["step"]) for record in self.steps]


def at(record: Mapping[str, Any], *path: str) -> float | None:
    """A number deep in a record; None when any part of the path is missing or null."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None


def thresholds(runs: Sequence[RunView]) -> Thresholds:
    """The bounds that the last run was judged by; the defaults where it does not say."""
    for run in reversed(list(runs)):
        given = (run.judged["regime"] or {}).get("thresholds")
        if isinstance(given, dict):
            known = {key: value for key, value in given.items() if key in Thresholds.model_fields}
            return Thresholds.parse(known)
    return Thresholds()


def thinned(run: RunView, limit: int = STEPS_DRAWN) -> RunView:
    """The run with at most about ``limit`` steps to draw: every n-th, the last, and evaluations."""
    stride = -(-len(run.steps) // limit)
    if stride <= 1:
        return run
    last = len(run.steps) - 1
    held = [i for i, record in enumerate(run.steps) if record.get("held_out")]
    held = held[:: -(-len(held) // limit)] if held else []
    chosen = sorted({*range(0, last, stride), last, *held})
    steps = [run.steps[i] for i in chosen]
    kept = {int(record["step"]) for record in steps}
    bands = {step: row for step, row in run.bands.items() if step in kept}
    return replace(run, steps=steps, bands=bands)


def load(path: Path | str, sharing: int = 1) -> RunView:
    """The view of a run directory.

    Args:
        path: The run.
        sharing: Runs on the page: each shows fewer contexts when there are many.

    Raises:
        RunError: It is not a run, or of another schema.
    """
    run = RunDirectory.open(path)
    manifest = run.manifest
    contexts, rollouts = run.contexts.scan(), run.rollouts.scan()
    kept = ("versions", "hardware", "threads", "git", "seeds", "created")
    return RunView(
        name=manifest.name or run.path.name,
        steps=list(run.steps.read()),
        decisions=list(run.decisions.read()),
        bands={} if contexts is None else _bands(contexts),
        points=[] if contexts is None else _points(contexts, rollouts, POINTS_SHOWN // sharing),
        worst=[] if contexts is None else _worst(contexts, rollouts, sharing),
        recipe=manifest.recipe,
        environment={name: getattr(manifest, name) for name in kept},
        mismatches=[f"step {m['step']}: {m.get('said', '')}" for m in run.mismatches.read()],
        search=_search(run.path / "search.json"),
    )


def _search(path: Path) -> dict[str, Any] | None:
    """The summary of a search; None where there is none, or it is of another schema."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and found.get("schema") == "tod.search/1"
    return found if known else None


def _informative(contexts: "pl.LazyFrame") -> "pl.LazyFrame":
    import polars as pl

    return contexts.filter((pl.col("class") == "informative") & pl.col("ess_rel").is_not_null())


def _bands(contexts: "pl.LazyFrame") -> dict[int, tuple[float, ...]]:
    import polars as pl

    wanted = [pl.col("ess_rel").quantile(q, "linear").alias(str(q)) for q in QUANTILES]
    rows = _informative(contexts).group_by("step").agg(wanted).sort("step").collect()
    return {row[0]: row[1:] for row in rows.iter_rows()}


def _points(
    contexts: "pl.LazyFrame", rollouts: "pl.LazyFrame | None", shown: int
) -> list[ContextPoint]:
    import polars as pl

    chosen = _informative(contexts).filter(pl.col("step") == pl.col("step").max())
    frame = chosen.sort("ess_rel").head(shown).collect()
    step = None if frame.is_empty() else int(frame["step"][0])
    prompts = _prompts(rollouts, step, frame["context"].to_list())
    return [
        ContextPoint(
            context=row["context"],
            ess_rel=row["ess_rel"],
            max_weight=row["max_weight"] or 0.0,
            k=row["k"],
            utility=row.get("utility_mean"),
            prompt=shorten(prompts.get(row["context"], ""), 180),
        )
        for row in frame.iter_rows(named=True)
    ]


def _prompts(
    rollouts: "pl.LazyFrame | None", step: int | None, contexts: Sequence[str]
) -> dict[str, str]:
    import polars as pl

    if rollouts is None or step is None:
        return {}
    wanted = (pl.col("step") == step) & pl.col("context").is_in(list(contexts))
    rows = rollouts.filter(wanted).group_by("context").agg(pl.col("prompt").first()).collect()
    return {context: prompt or "" for context, prompt in rows.iter_rows()}


def _worst(
    contexts: "pl.LazyFrame", rollouts: "pl.LazyFrame | None", sharing: int
) -> list[WorstContext]:
    """Lowest ESS_rel of the last steps that still have rollouts, each context once."""
    import polars as pl

    if rollouts is None:
        return []
    recent = rollouts.select("step").unique().sort("step").tail(WORST_STEPS)
    steps = recent.collect()["step"].to_list()
    chosen = (
        _informative(contexts)
        .filter(pl.col("step").is_in(steps))
        .sort("ess_rel", "step", "context", descending=[False, True, False])
        .unique("context", keep="first", maintain_order=True)
        .head(max(1, WORST_SHOWN // sharing))
        .collect()
    )
    shown = CANDIDATES_SHOWN if sharing <= 2 else CANDIDATES_SHOWN // 2
    return [_worst_one(row, rollouts, shown) for row in chosen.iter_rows(named=True)]


def _worst_one(row: dict[str, Any], rollouts: "pl.LazyFrame", shown: int) -> WorstContext:
    import polars as pl

    wanted = (pl.col("step") == row["step"]) & (pl.col("context") == row["context"])
    rows = list(rollouts.filter(wanted).sort("candidate").collect().iter_rows(named=True))
    weights = _weights([item.get("log_w") for item in rows])
    found = heaviest_first(_candidate(*pair) for pair in zip(rows, weights, strict=True))
    prompt = rows[0]["prompt"] if rows else None
    return WorstContext.of(row, row["context"], prompt, found, shown)


def heaviest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates by weight; those of unknown weight last."""
    return sorted(candidates, key=lambda c: -1.0 if c.weight is None else c.weight, reverse=True)


def _candidate(row: dict[str, Any], weight: float | None) -> Candidate:
    return Candidate(
        completion=shorten(row["completion"] or "", COMPLETION_LIMIT),
        weight=weight,
        utilities={
            name.removeprefix("utility."): value
            for name, value in row.items()
            if name.startswith("utility.")
        },
    )


def _weights(log_w: list[float | None]) -> list[float | None]:
    """Self-normalised weights; unknown for all when one is unknown."""
    known = [value for value in log_w if value is not None]
    if len(known) < len(log_w) or not known or max(known) == -math.inf:
        return [None] * len(log_w)
    top = max(known)
    raw = [math.exp(value - top) for value in known]
    return [value / sum(raw) for value in raw]


def shorten(value: str, limit: int) -> str:
    """The text, or its beginning with the number of characters left out."""
    return value if len(value) <= limit else f"{value[:limit]}… (+{len(value) - limit} characters)"
