"""How well what a diagnosis read tells where operators end apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from tod.base import SpecError
from tod.regimes.calibrate import auroc
from tod.study.swap.clusters import Scale, Spread, cluster_counts, spread
from tod.study.swap.condition import Condition
from tod.study.swap.excess import mean_excess
from tod.study.swap.ranks import partial_spearman, spearman
from tod.study.swap.subset import without_contrast

__all__ = ["BASELINE", "DIRECTIONS", "Observed", "Predictor", "observed", "predict"]

Direction = Literal["low", "high"]
Rows = Int[np.ndarray, " m"]
Counts = Any
"""Of conditions, or of resamples × conditions; a statistic is a number or one a resample."""
Statistic = Callable[[Rows, Counts], Counts]

BASELINE = "ess_median"
"""The diagnostic that others are compared with."""
DIRECTIONS: Mapping[str, Direction] = {
    "ess": "low",
    "target_proposal": "low",
    "policy_proposal": "low",
    "target_policy": "low",
    "population_": "low",
    "training_": "low",
    "mean_rho": "low",
    "mean_rho_z": "low",
    "swap_probe": "low",
    "informative": "low",
    "entropy": "low",
    "k_hat": "high",
    "pareto_k": "high",
    "max_weight": "high",
    "var_log_w": "high",
    "log_w_variance": "high",
    "missing_mass": "high",
    "zero_variance": "high",
    "activation": "high",
    "clip_activation": "high",
    "log_ratio": "high",
    "regime": "high",
    "off_path": "high",
    "drift": "high",
    "grad_norm": "high",
    "utility": "high",
    "oracle_uncovered": "high",
    "oracle_travel": "high",
    "eta": "high",
    "travel": "high",
    "gained": "high",
}
"""Which values foretell operators that end apart, by the start of a name, the longest first: fixed
before any study, so that no direction is read off the data that judge it."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of n conditions, in one order.

    Attributes:
        names: ``cluster, condition``.
        clusters: Number of each one's cluster, from 0 in the order of appearance.
        labels: Names of the clusters.
        excess: E, mean over the compared pairs.
        values: What was read by name, NaN where it is not known.
    """

    names: tuple[str, ...]
    clusters: Int[np.ndarray, " n"]
    labels: tuple[str, ...]
    excess: Float[np.ndarray, " n"]
    values: Mapping[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True)
class Predictor:
    """One diagnostic or confounder over all conditions.

    Attributes:
        name: Of the diagnostic.
        direction: Which of its values are said beforehand to foretell operators apart.
        known: Conditions in which it was read.
        unknown: Conditions in which it could not be read: they are in no other number.
        rho: Spearman's ρ with E, its sign turned so that +1 is right.
        auroc: P(a condition apart is told before another), 1 is right, 1/2 is nothing.
        given_travel: Rank correlation once the travel is known; None without a travel.
        gain: AUROC less that of `BASELINE` where both are known; None for itself and without it.
    """

    name: str
    direction: Direction
    known: int
    unknown: int
    rho: Spread
    auroc: Spread
    given_travel: Spread | None
    gain: Spread | None


def observed(
    conditions: Sequence[Condition],
    distance: str | None = None,
    *,
    cluster: Callable[[Condition], str] = lambda condition: condition.cluster,
) -> Observed:
    """Excess, diagnostics and confounders of conditions.

    Confounders are ``eta`` (as it was set), ``travel`` (mean distance of the final policies from
    the start) and ``gained`` (mean utility less that at the start).

    Args:
        conditions: Of a study, controls left out.
        distance: Name of another distance than the first.
        cluster: What is resampled as one: the world or task, or that with its sharpness.

    Raises:
        DataError: A condition has fewer than two seeds or two operators.
    """
    subset = [without_contrast(condition) for condition in conditions]
    of_each = [cluster(condition) for condition in subset]
    labels = tuple(dict.fromkeys(of_each))
    rows = [_read(condition) for condition in subset]
    names = list(dict.fromkeys(name for row in rows for name in row))
    excess = [
        mean_excess(c, None if distance is None else c.distances[distance]).value for c in subset
    ]
    return Observed(
        names=tuple(f"{c.cluster}, {c.name}" for c in subset),
        clusters=np.array([labels.index(name) for name in of_each], dtype=np.int64),
        labels=labels,
        excess=np.array(excess, dtype=np.float64),
        values={
            name: np.array([_number(row.get(name)) for row in rows], dtype=np.float64)
            for name in names
        },
    )


def predict(
    seen: Observed,
    *,
    limit: float = 0.1,
    directions: Mapping[str, Direction] = DIRECTIONS,
    resamples: int = 500,
) -> list[Predictor]:
    """Every diagnostic and confounder, the best ρ first.

    Intervals are of a bootstrap of whole clusters, `tod.study.swap.clusters.spread`; the gain over
    the baseline is paired: the same draws for both.

    Args:
        seen: The conditions.
        limit: Operators are apart where E is above it.
        directions: See `DIRECTIONS`.
        resamples: Of the bootstrap.

    Raises:
        SpecError: For a name no direction was declared.
    """
    sides = {name: direction_of(name, directions) for name in seen.values}
    table = [_predictor(seen, name, sides, limit, resamples) for name in seen.values]
    return sorted(table, key=lambda p: -2.0 if p.rho.value is None else p.rho.value, reverse=True)


def direction_of(name: str, directions: Mapping[str, Direction] = DIRECTIONS) -> Direction:
    """Which values of a diagnostic foretell operators apart: of the longest start of its name.

    Raises:
        SpecError: None was declared.
    """
    starts = [start for start in directions if name.startswith(start)]
    if not starts:
        raise SpecError(
            f"diagnostic {name!r}: nobody said beforehand whether high or low values foretell "
            "operators apart. Declare it in DIRECTIONS before looking at the study."
        )
    return directions[max(starts, key=len)]


def told_low(values: Float[np.ndarray, " n"], direction: Direction) -> Float[np.ndarray, " n"]:
    """The values with the sign that makes low ones foretell operators apart."""
    return values if direction == "low" else -values


def _predictor(
    seen: Observed, name: str, sides: Mapping[str, Direction], limit: float, resamples: int
) -> Predictor:
    x, y, apart = told_low(seen.values[name], sides[name]), seen.excess, seen.excess > limit
    unknown = np.isnan(x)

    def over(statistic: Statistic, scale: Scale, *also: Float[np.ndarray, " n"]) -> Spread:
        missing = np.isnan(np.stack([x, *also])).any(axis=0)
        return _over_clusters(statistic, np.flatnonzero(~missing), seen.clusters, scale, resamples)

    def told(rows: Rows, counts: Counts) -> Counts:
        return auroc(x[rows], apart[rows], counts)

    left = gain = None
    if name != "travel" and "travel" in seen.values:
        travel = seen.values["travel"]
        left = over(
            lambda r, counts: partial_spearman(-x[r], y[r], travel[r], counts),
            "correlation",
            travel,
        )
    if name != BASELINE and BASELINE in seen.values:
        base = told_low(seen.values[BASELINE], sides[BASELINE])
        gain = over(lambda r, n: told(r, n) - auroc(base[r], apart[r], n), "plain", base)
    return Predictor(
        name=name,
        direction=sides[name],
        known=int((~unknown).sum()),
        unknown=int(unknown.sum()),
        rho=over(lambda r, counts: spearman(-x[r], y[r], counts), "correlation"),
        auroc=over(told, "share"),
        given_travel=left,
        gain=gain,
    )


def _over_clusters(
    statistic: Statistic,
    rows: Rows,
    clusters: Int[np.ndarray, " n"],
    scale: Scale,
    resamples: int,
) -> Spread:
    """A statistic of these conditions, with its interval over their clusters."""
    if not rows.size:
        return Spread(None, None, None, 0)
    labels, codes = np.unique(clusters[rows], return_inverse=True)
    draws = statistic(rows, cluster_counts(codes, resamples=resamples))
    value = float(statistic(rows, np.ones(len(rows))))
    return spread(value, draws, len(labels), scale=scale)


def _read(condition: Condition) -> dict[str, float | None]:
    """Diagnostics and confounders of one condition."""
    eta, start = condition.facts.get("eta"), condition.start
    return {
        **condition.diagnostics,
        "eta": None if eta is None else float(eta),
        "travel": None if condition.travel is None else float(condition.travel.mean()),
        "gained": None if start is None else float(condition.utility.mean() - start.mean()),
    }


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
