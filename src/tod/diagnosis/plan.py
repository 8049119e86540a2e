"""`tod plan` behind the command: what a pilot batch says one can afford.

Candidates are held fixed: the numbers are for the proposal and the K of the pilot. Training moves
the policy, so start below them.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import DataError, Groups, SpecError, Unknown, to_numpy
from tod.diagnosis.refresh import staleness
from tod.diagnosis.target import SourcedTarget, TargetSource, choose, unweighable
from tod.diagnostics import ess_rel, k_trend, kl_target_proposal, max_weight, quantile
from tod.formats.reading import Reading
from tod.procedure import weigh, weights_at
from tod.regimes import QUANTILES, Largest, Thresholds, k_for_error, k_for_ess, k_for_kl
from tod.regimes.largest import largest_eta, scale_of, search_top, spread_out, varied
from tod.targets import Target, Tilt

SCHEMA = "tod.plan/1"
GRID = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Sharpnesses of the table, in units of 1/(deviation of the utility within contexts)."""


@dataclass(frozen=True)
class Feasible:
    """The largest sharpness for an ESS target, at one quantile over contexts.

    Attributes:
        utility: The one utility that tilts, or None for all of the target's, scaled together.
        quantile: ``median`` or ``q10``.
        eta_max: Largest feasible η (the overall Σ|η_k| for ``utility`` None); None where there is
            no largest one, or none at all: see ``attained``.
        attained: ``yes``; ``unbounded`` when no sharpness is too much (ties at the top hold the
            ESS); ``never`` when none is feasible: change the anchor or the proposal.
        ci90: 90 % interval over contexts, for b = μ.
        contexts: Contexts it was read from.
    """

    utility: str | None
    quantile: str
    eta_max: float | None
    attained: str
    ci90: tuple[float | None, float | None] | None
    contexts: int


@dataclass(frozen=True)
class Plan:
    """Feasible sharpness, needed K, affordable staleness, and what cannot be known.

    Attributes:
        reading: The pilot.
        sourced: The target and where it came from.
        ess_target: ESS_rel to keep.
        contexts: Counts: total, informative, read.
        k: Candidates per context: min, median, max.
        eta: Sharpness in force.
        feasible: Per utility and quantile.
        table: ESS against η.
        needed_k: K for an effective number, for an error, by KL, at the sharpness in force.
        by_k: ESS_rel and informative share with fewer candidates.
        refresh: ESS_rel(π/μ) by age of the proposal, or None.
        cannot: What is not known and what would make it known.
    """

    reading: Reading
    sourced: SourcedTarget
    ess_target: float
    contexts: dict[str, int]
    k: dict[str, int]
    eta: float
    feasible: tuple[Feasible, ...]
    table: tuple[dict[str, Any], ...]
    needed_k: dict[str, dict[str, Any]]
    by_k: tuple[dict[str, Any], ...]
    refresh: dict[str, Any] | None
    cannot: tuple[Unknown, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the schema ``tod.plan/1``."""
        from tod.runs import plain

        data = {
            "schema": SCHEMA,
            "source": self.reading.source.to_dict(),
            "target": self.sourced.to_dict(),
            "ess_target": self.ess_target,
            "contexts": self.contexts,
            "k": self.k,
            "eta": self.eta,
            "feasible": [asdict(item) for item in self.feasible],
            "table": list(self.table),
            "needed_k": self.needed_k,
            "by_k": list(self.by_k),
            "refresh": self.refresh,
            "cannot": [item.to_dict() for item in self.cannot],
        }
        return plain(data)  # type: ignore[no-any-return]


def plan(
    reading: Reading,
    target: Any = None,
    *,
    eta: float | None = None,
    target_source: TargetSource | None = None,
    ess_target: float = 0.5,
    utility: str | None = None,
    k: int | None = None,
    count: float = 8.0,
    error: float = 0.25,
    thresholds: Thresholds | None = None,
) -> Plan:
    """What the pilot batch says one can afford.

    Args:
        reading: Candidates and what is known of their source.
        target: q*, any entry of the catalog; the run directory's, or an assumed one, if None.
        eta: Overall sharpness of the target.
        target_source: Says that the target was ``located`` in a configuration.
        ess_target: ESS_rel to keep, in (0, 1).
        utility: Plan for this utility alone, tilting the target's anchor.
        k: Candidates per context that are planned: read the sharpness off that many, drawn from
            the pilot's without replacement. The pilot must have as many.
        count: Effective candidates wanted per context.
        error: Root mean square error wanted, for statistics bounded by 1.
        thresholds: Where the goal of the policy's leg comes from.

    Raises:
        SpecError: An argument outside its range, or a utility that the files do not hold.
        DataError: The target cannot be weighed, or no context is informative.
    """
    _check(reading, ess_target, utility, k)
    sourced = _sourced(reading, target, eta, target_source, utility)
    pilot, contexts = _with_k(reading, k)
    whole, weights = sourced.target.target, weigh(sourced.target, reading, sourced.knobs)
    log_w0, unit, now = weights.base(pilot), weights.unit(pilot), weights.declared
    if now is None:
        raise DataError(
            "the target's selectivity finds an eta for every context: there is no single sharpness "
            "to plan. Give a target with an eta, or --utility."
        )
    all_informative = np.flatnonzero(varied(unit, contexts))
    if not all_informative.size:
        raise DataError(
            f"in none of {len(contexts)} contexts do the candidates differ in "
            f"{', '.join(whole.utilities)}: they say nothing about sharpness. Raise K, or give "
            "easier or harder contexts, or partial credit."
        )
    places = spread_out(all_informative)
    read, rows = contexts.take(places)
    base, level = None if log_w0 is None else log_w0[rows], unit[rows]
    feasible = (
        *_both(base, level, read, ess_target, now, None),
        *_alone(reading, pilot, contexts, whole, ess_target, utility),
    )
    steps = reading.steps
    goal = (thresholds or Thresholds()).overlap_stable
    refresh = staleness(reading, steps, reading.lag, goal)
    log_w = weights_at(log_w0, unit, now)
    sizes = contexts.sizes
    return Plan(
        reading=reading,
        sourced=sourced,
        ess_target=ess_target,
        contexts={
            "total": len(contexts),
            "informative": len(all_informative),
            "read": len(read),
        },
        k={"min": int(sizes.min()), "median": int(np.median(sizes)), "max": int(sizes.max())},
        eta=now,
        feasible=feasible,
        table=_table(base, level, read, ess_target, count, now, feasible),
        needed_k=needed_k(log_w[rows], read, count, error),
        by_k=tuple(by_k(log_w, unit, contexts, places, _sizes(int(np.median(read.sizes))))),
        refresh=refresh,
        cannot=_cannot(reading, refresh, k),
    )


def _check(reading: Reading, ess_target: float, utility: str | None, k: int | None) -> None:
    if not 0 < ess_target < 1:
        raise SpecError(
            f"target_ess = {ess_target}: a relative effective sample size to keep lies in (0, 1). "
            "0.5 is usual."
        )
    if utility is not None and utility not in reading.utility:
        known = ", ".join(reading.utility) or "none"
        raise SpecError(f"no utility {utility!r} in the files (there: {known}).")
    if k is not None and k < 2:
        raise SpecError(f"k = {k}: a context needs two candidates to say anything.")


def _sourced(
    reading: Reading,
    target: Any,
    eta: float | None,
    source: TargetSource | None,
    utility: str | None,
) -> SourcedTarget:
    sourced = choose(reading, target, eta, source)
    lack = None if utility is not None and sourced is not None else unweighable(reading, sourced)
    if sourced is None or lack is not None:
        why, needs = (lack.why, lack.needs) if lack else ("no target", "a utility per candidate")
        raise DataError(f"{why}: there is no sharpness to plan. Give {needs}.")
    if utility is None:
        return sourced
    general = sourced.target.target
    known = {tilt.utility: tilt.eta for tilt in general.tilts}
    sharpness = known.get(utility) or (eta if eta is not None else 1.0)
    single = general.revised(tilts=[{"utility": utility, "eta": sharpness}])
    return SourcedTarget(single, sourced.source)


def _with_k(reading: Reading, k: int | None) -> tuple[Any, Groups]:
    """All candidates, or k of each context that has as many; and their contexts."""
    if k is None:
        return slice(None), reading.contexts
    sizes = reading.contexts.sizes
    enough = np.flatnonzero(sizes >= k)
    if not enough.size:
        raise SpecError(
            f"k = {k} and the pilot has at most {int(sizes.max())} candidates in a context: more "
            "than were drawn cannot be simulated. Draw a larger pilot, or leave --k out and read "
            "the needed K."
        )
    whole, rows = reading.contexts.take(enough)
    order = np.argsort(whole.owner + np.random.default_rng(0).random(len(rows)))
    return rows[np.sort(order[whole.position < k])], Groups.equal(len(enough), k)


def _both(
    log_w0: Any, unit: Any, contexts: Any, target: float, now: float, utility: str | None
) -> list[Feasible]:
    """At the median and at the 10 % quantile."""
    top = search_top(unit, contexts, now)
    found = []
    for name, p in QUANTILES.items():
        value, interval = largest_eta(log_w0, unit, contexts, target, p, now, top)
        best = Largest.of(value)
        attained = best.attained or "never"
        found.append(Feasible(utility, name, best.eta, attained, interval, len(contexts)))
    return found


def _alone(
    reading: Reading, pilot: Any, contexts: Groups, whole: Target, target: float, only: str | None
) -> list[Feasible]:
    """Every utility tilting the target's anchor by itself, the others left out."""
    tilted = [tilt.utility for tilt in whole.tilts]
    names = [] if only is not None else [*tilted, *(n for n in reading.utility if n not in tilted)]
    if names == tilted and len(tilted) == 1:
        return []  # the target itself
    found: list[Feasible] = []
    for name in names:
        tilt = Tilt(utility=name, eta=1.0)
        alone = Target(anchor=whole.anchor, tilts=(tilt,), support=whole.support)
        weights = weigh(alone, reading)
        base, unit = weights.base(pilot), weights.unit(pilot)
        places = spread_out(np.flatnonzero(varied(unit, contexts)))
        if not places.size:
            continue
        read, rows = contexts.take(places)
        base = None if base is None else base[rows]
        found += _both(base, unit[rows], read, target, 0.0, name)
    return found


def _table(
    log_w0: Any,
    unit: Any,
    contexts: Any,
    target: float,
    count: float,
    now: float,
    feasible: Sequence[Feasible],
) -> tuple[dict[str, Any], ...]:
    """ESS against η: a grid, the sharpness in force and the feasible ones."""
    scale = scale_of(unit, contexts)
    marks = {now: "in force"}
    marks |= {f.eta_max: f"feasible, {f.quantile}" for f in feasible[:2] if f.eta_max}
    etas = sorted({*(float(f"{scale * x:.2g}") for x in GRID), *marks})
    rows = [row_at(log_w0, unit, contexts, eta, target, count) for eta in etas]
    return tuple({**row, "mark": marks.get(row["eta"])} for row in rows)


def row_at(
    log_w0: Any, unit: Any, contexts: Groups, eta: float, target: float, count: float
) -> dict[str, Any]:
    """One line of the table: what the candidates say at a sharpness."""
    log_w = weights_at(log_w0, unit, eta)
    rel = to_numpy(ess_rel(log_w, contexts))
    known = rel[~np.isnan(rel)]
    if not known.size:
        return {
            "eta": eta,
            "median": None,
            "q10": None,
            "below": None,
            "max_weight": None,
            "k": None,
        }
    heaviest = to_numpy(max_weight(log_w, contexts))
    return {
        "eta": eta,
        "median": quantile(known, 0.5),
        "q10": quantile(known, 0.1),
        "below": float((known < target - 1e-12).mean()),
        "max_weight": quantile(heaviest[~np.isnan(heaviest)], 0.5),
        "k": int(quantile(k_for_ess(known, count), 0.5)),
    }


def needed_k(log_w: Any, contexts: Groups, count: float, error: float) -> dict[str, dict[str, Any]]:
    """K for an effective number, for an error, and the size at which averages begin to settle.

    ``q90`` serves nine contexts in ten. ``at_floor`` is the share of contexts whose pilot reads
    under two effective candidates: their K is a lower bound.
    """
    rel = to_numpy(ess_rel(log_w, contexts))
    usable = ~np.isnan(rel)
    divergence = to_numpy(kl_target_proposal(log_w, contexts))[usable]
    floor = float((rel[usable] * contexts.sizes[usable] < 2).mean()) if usable.any() else None
    found = {
        "ess_count": (count, k_for_ess(rel[usable], count)),
        "error": (error, k_for_error(rel[usable], error)),
        "kl": (None, k_for_kl(np.maximum(divergence, 0.0))),
    }
    return {
        name: {
            "wanted": wanted,
            "median": int(quantile(k, 0.5)) if k.size else None,
            "q90": int(quantile(k, 0.9)) if k.size else None,
            "at_floor": floor,
        }
        for name, (wanted, k) in found.items()
    }


def by_k(
    log_w: Any, unit: Any, contexts: Groups, places: Any, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """ESS_rel with fewer candidates, and how many contexts would still be informative.

    ESS_rel by subsampling the informative contexts without replacement; the informative share over
    all contexts with at least k candidates, exactly: 1 − Σ_v C(n_v, k)/C(K, k) over the values v
    of the utility.
    """
    some, rows = contexts.take(places)
    points = {point.k: point for point in k_trend(log_w[rows], some, sizes)}
    found = []
    for k in sorted(set(sizes)):
        point = points.get(k)
        found.append(
            {
                "k": k,
                "contexts": 0 if point is None else point.contexts,
                "median": None if point is None else point.median,
                "q10": None if point is None else point.q10,
                "ess": None if point is None else point.median * k,
                "informative": informative_share(unit, contexts, k),
            }
        )
    return found


def informative_share(unit: Float[np.ndarray, " N"], contexts: Groups, k: int) -> float | None:
    """Expected share of contexts in which k of their candidates do not all agree.

    1 − Σ_v C(n_v, k)/C(K, k) over the values v of the utility, averaged over contexts with K ≥ k.
    """
    enough = np.flatnonzero(contexts.sizes >= k)
    if not enough.size:
        return None
    kept, rows = contexts.take(enough)
    values = unit[rows]
    order = np.lexsort((values, kept.owner))
    values, owner = values[order], kept.owner
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[1:] != values[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(new)
    times = np.diff(starts, append=len(values))  # n_v, one value of one context after the other
    alike = np.exp(_log_choose(times, k) - _log_choose(kept.sizes[owner[starts]], k))
    return float(1.0 - np.bincount(owner[starts], alike, len(kept)).mean())


def _log_choose(n: Any, k: int) -> Any:
    """Log C(n, k) by a table of log n!; −∞ where n < k."""
    table = np.array([math.lgamma(i + 1) for i in range(int(n.max(initial=k)) + 1)])
    enough = n >= k
    return np.where(enough, table[n] - table[k] - table[np.where(enough, n - k, 0)], -np.inf)


def _sizes(k: int) -> list[int]:
    return sorted({*(2**i for i in range(1, 12) if 2**i < k), k})


def _cannot(reading: Reading, refresh: dict[str, Any] | None, k: int | None) -> tuple[Unknown, ...]:
    found = []
    if refresh is None:
        found.append(
            Unknown(
                "refresh",
                "the files do not hold log-probs of both the sampler and the policy",
                "log_mu, and log_old or log_policy, of a run with a stale proposal",
            )
        )
    elif refresh["age_from"] is None:
        found.append(
            Unknown(
                "refresh.by_age",
                "no lag is recorded, and the policy's leg shows no refresh from which to count",
                "the sampler's policy version, or steps before and after a refresh",
            )
        )
    largest = int(reading.contexts.sizes.max())
    if k is None:
        found.append(
            Unknown(
                f"ESS_rel at K > {largest}",
                "ESS_rel is biased upward at small K and no larger one was drawn",
                "a pilot with more candidates a context",
            )
        )
    return tuple(found)
