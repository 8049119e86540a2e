"""What the page of a diagnosis reads: a diagnosis and its reading, cut to what a page can hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.diagnostics import TrendPoint
from tod.show.figures.eta_feasibility import EtaPoint, by_eta
from tod.show.figures.k_trend import by_k
from tod.show.page.run_data import (
    COMPLETION_LIMIT,
    QUANTILES,
    Candidate,
    ContextPoint,
    RunView,
    WorstContext,
    heaviest_first,
    shorten,
)
from tod.show.page.windows import windows_of

if TYPE_CHECKING:
    from tod.diagnosis import Diagnosis
    from tod.formats import Reading
    from tod.procedure import Weights

POINTS_DRAWN, FULL_PROMPTS, TOP_WEIGHTS = 2000, 600, 3
MOST_CANDIDATES = 200_000
"""Candidates that the curves over η and K read: some dozen passes over them take about a second."""
FEWEST_CONTEXTS = 64


@dataclass(frozen=True, eq=False)
class DiagnosisView:
    """A diagnosis as its page sees it.

    Attributes:
        data: The diagnosis as plain data (``tod.diagnosis/1``).
        run: The same in the shape of a run: a record per step, points and fragile contexts.
        tier: What the tier allows, in words.
        files: Names of the files, without their folders.
        eta: Sharpness in force, or None without a target that can be weighed.
        by_eta: ESS_rel against sharpness, over contexts of the most common K.
        by_k: ESS_rel against K.
        ess_rel: Of all informative contexts.
        read: Contexts that the two curves read.
        remarks: What is to be said about how the target was found.
    """

    data: dict[str, Any]
    run: RunView
    tier: str
    files: list[str]
    eta: float | None = None
    by_eta: list[EtaPoint] = field(default_factory=list)
    by_k: list[TrendPoint] = field(default_factory=list)
    ess_rel: Float[np.ndarray, " c"] = field(default_factory=lambda: np.empty(0))
    read: int = 0
    remarks: Sequence[str] = ()


def view(diagnosis: "Diagnosis", remarks: Sequence[str] = ()) -> DiagnosisView:
    """The view of a diagnosis; prompts and completions come from a second look at the files.

    A DataError says: a file changed since it was read.
    """
    from tod.formats import TIERS

    data, reading = diagnosis.to_dict(), diagnosis.reading
    found: dict[str, Any] = {
        "data": data,
        "tier": TIERS[reading.source.tier],
        "files": [path.name for path in reading.files],
        "remarks": remarks,
    }
    if diagnosis.feasible is None:  # log q*/μ cannot be weighed: nothing of it is shown
        return DiagnosisView(run=_run(diagnosis, np.empty(0)), **found)
    weighed = diagnosis.weights
    assert weighed is not None  # noqa: S101 - there is a feasible sharpness only with weights
    chosen = _spread_out(np.flatnonzero(_usable(diagnosis)), reading.contexts)
    contexts, rows = reading.contexts.take(chosen)
    one_k = chosen[diagnosis.diagnostics.compared[chosen]]
    compared, of_one_k = reading.contexts.take(one_k)
    eta, eta_max = weighed.last, diagnosis.feasible["eta_max"]
    return DiagnosisView(
        run=_run(diagnosis, weighed.log_w),
        eta=eta,
        by_eta=[] if eta is None else by_eta(*_lines(weighed, of_one_k), compared, eta, eta_max),
        by_k=by_k(weighed.log_w[rows], contexts),
        ess_rel=diagnosis.diagnostics.ess_rel[_usable(diagnosis)],
        read=len(contexts),
        **found,
    )


def _lines(weighed: "Weights", rows: Any) -> tuple[Any, Any]:
    """Log b/μ with −∞ outside the support, and the finite tilt per unit of η."""
    base, unit = weighed.base(rows), weighed.unit(rows)
    alive = np.isfinite(unit)
    return np.where(alive, 0.0 if base is None else base, -np.inf), np.where(alive, unit, 0.0)


def _usable(diagnosis: "Diagnosis") -> Bool[np.ndarray, " C"]:
    found = diagnosis.diagnostics
    return np.asarray(found.informative & np.isfinite(found.ess_rel))


def _spread_out(chosen: Int[np.ndarray, " c"], contexts: Groups) -> Int[np.ndarray, " c"]:
    """At most about ``MOST_CANDIDATES`` of their candidates, contexts evenly spread."""
    total = int(contexts.sizes[chosen].sum())
    if total <= MOST_CANDIDATES:
        return chosen
    kept = max(FEWEST_CONTEXTS, len(chosen) * MOST_CANDIDATES // total)
    return _evenly(chosen, kept)


def _evenly(chosen: Int[np.ndarray, " c"], most: int) -> Int[np.ndarray, " c"]:
    if len(chosen) <= most:
        return chosen
    return chosen[np.linspace(0, len(chosen) - 1, most).astype(np.int64)]


def _run(diagnosis: "Diagnosis", log_w: Any) -> RunView:
    from tod.diagnosis.diagnosis import SCHEMA

    weighed = bool(len(log_w))
    records = _records(diagnosis)
    tails = {record["step"]: record["tails"]["max_weight_median"] for record in records}
    return RunView(
        name=title(diagnosis.reading),
        steps=records,
        verdict=diagnosis.judged(),
        windows=windows_of(diagnosis.statistics, tails) if weighed else [],
        bands=_bands(diagnosis) if weighed else {},
        points=_points(diagnosis, log_w) if weighed else [],
        worst=_worst(diagnosis, log_w) if weighed else [],
        environment={"schema": SCHEMA, "versions": versions()},
    )


def versions() -> dict[str, str | None]:
    """Versions of what the page depends on; None for what is not installed."""
    from tod.runs import collect_environment

    found = collect_environment()["versions"]
    return {name: found.get(name) for name in ("tod-posttrain", "python", "numpy", "polars")}


def title(reading: "Reading") -> str:
    """The one file's name, or that of the folder that holds all of them."""
    names = [path.name for path in reading.files]
    if len(names) == 1:
        return names[0]
    folders = {path.resolve().parent for path in reading.files}
    if len(folders) != 1:
        return reading.source.format
    folder = folders.pop()
    plain = folder.name in ("rollouts", "completions") and folder.parent.name
    return folder.parent.name if plain else folder.name


def _records(diagnosis: "Diagnosis") -> list[dict[str, Any]]:
    """One record per step, as a run has them, with the trend's verdict and means over contexts."""
    bounds = diagnosis.regime.thresholds.model_dump()
    verdicts = {row["step"]: row["regime"] for row in diagnosis.trend}
    reading, records = diagnosis.reading, []
    means = {n: np.asarray(reading.contexts.mean(u)) for n, u in reading.utility.items()}
    for step, summary in diagnosis.summaries.items():
        here = reading.steps == step
        utility = {name: float(np.mean(u[here])) for name, u in means.items()}
        regime = {"verdict": verdicts.get(step), "thresholds": bounds}
        records.append({**summary.to_dict(), "step": step, "regime": regime, "utility": utility})
    return records


def _bands(diagnosis: "Diagnosis") -> dict[int, tuple[float, ...]]:
    usable, found = _usable(diagnosis), diagnosis.diagnostics.ess_rel
    steps = diagnosis.reading.steps[usable]
    return {
        int(step): tuple(np.quantile(found[usable][steps == step], QUANTILES).tolist())
        for step in np.unique(steps)
    }


def _points(diagnosis: "Diagnosis", log_w: Any) -> list[ContextPoint]:
    """Informative contexts, the most fragile first; many are cut evenly in that order."""
    reading, found = diagnosis.reading, diagnosis.diagnostics
    usable = np.flatnonzero(_usable(diagnosis))
    order = usable[np.argsort(found.ess_rel[usable], kind="stable")]
    chosen = _evenly(order, POINTS_DRAWN)
    prompts = reading.prompts(chosen.tolist())
    weights = _weights(reading, log_w, chosen)
    limit = 180 if len(chosen) <= FULL_PROMPTS else 90
    mean = found.utility_mean
    return [
        ContextPoint(
            context=_label(reading, at),
            ess_rel=float(found.ess_rel[at]),
            max_weight=float(found.max_weight[at]),
            k=int(found.k[at]),
            utility=None if mean is None else float(mean[at]),
            prompt=shorten(prompts.get(at, ""), limit),
            step=int(reading.steps[at]) if len(diagnosis.summaries) > 1 else None,
            weights=tuple(sorted(weights[at], reverse=True)[:TOP_WEIGHTS]),
        )
        for at in chosen.tolist()
    ]


def _weights(
    reading: "Reading", log_w: Any, chosen: Int[np.ndarray, " c"]
) -> dict[int, list[float]]:
    """Normalised weights of every candidate of the chosen contexts."""
    contexts, rows = reading.contexts.take(chosen)
    split = contexts.split(np.asarray(contexts.softmax(log_w[rows])))
    return dict(zip(chosen.tolist(), split, strict=True))


def _label(reading: "Reading", at: int) -> str:
    return reading.labels.context[at] if reading.labels.context else str(at)


def _worst(diagnosis: "Diagnosis", log_w: Any) -> list[WorstContext]:
    """The diagnosis's fragile contexts with their candidates, heaviest first."""
    reading = diagnosis.reading
    chosen = np.array(diagnosis.fragile, dtype=np.int64)
    if not chosen.size:
        return []
    texts, weights = reading.texts(chosen.tolist()), _weights(reading, log_w, chosen)
    found = []
    for at, item in zip(chosen.tolist(), diagnosis.worst, strict=True):
        start = int(reading.contexts.offsets[at])
        candidates = heaviest_first(
            Candidate(
                completion=shorten(text.completion, COMPLETION_LIMIT),
                weight=float(weight),
                utilities={name: float(u[start + i]) for name, u in reading.utility.items()},
            )
            for i, (text, weight) in enumerate(zip(texts[at], weights[at], strict=True))
        )
        found.append(WorstContext.of(item, item["id"], item["prompt"], candidates))
    return found
