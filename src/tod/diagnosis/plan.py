"""`tod plan` behind the command: what a pilot batch says one can afford.

Where the anchor is the proposal the figures are of the population of prompts, at any K; those with
the pilot's candidates held fixed are shown too, as "at your K". Training moves the policy, so
start below them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import DataError, Groups, SpecError, Unknown, to_numpy
from tod.diagnosis.feasible import feasible_block
from tod.diagnosis.ranges import declared_ranges
from tod.diagnosis.refresh import staleness
from tod.diagnosis.target import SourcedTarget, TargetSource, choose, unweighable
from tod.diagnostics import ess_rel, k_trend, kl_target_proposal, max_weight, quantile
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.formats.reading import Reading
from tod.population import (
    FEWEST_GROUPS,
    FeasibleEta,
    LegStatistics,
    feasible_eta,
    jackknife_counts,
    leg_statistics,
    needed_k,
    pass_counts_of,
    pass_rate_posterior,
    signal_share,
)
from tod.procedure import declared_width, weigh, weights_at
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
        population: Of the population of prompts.
        sample: With the pilot's candidates held fixed: "at your K", and all that is known with
            b ≠ μ.
        ci90: 90 % interval of ``sample`` over contexts, for b = μ.
        contexts: Contexts that ``sample`` was read from.
    """

    utility: str | None
    quantile: str
    population: FeasibleEta
    sample: Largest
    ci90: tuple[float | None, float | None] | None
    contexts: int

    @property
    def read(self) -> bool:
        """Whether the population was."""
        return self.population.eta is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``eta_max``, ``attained`` and ``ci90`` of the population where it was read.

        They are those of ``sample`` else.
        """
        block = feasible_block(self.population, self.sample, self.ci90)
        ends = (block["safe"], block["high"]) if self.read else self.ci90
        return {
            "utility": self.utility,
            "quantile": self.quantile,
            **block,
            "attained": block["attained"] or "never",
            "ci90": ends,
            "contexts": self.contexts,
        }


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
        by_k: ESS_rel with fewer candidates, and the informative share at any K.
        best_k: The K of the most informative contexts for the same candidates; None where unknown.
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
    best_k: dict[str, Any] | None
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
            "feasible": [item.to_dict() for item in self.feasible],
            "table": list(self.table),
            "needed_k": self.needed_k,
            "by_k": list(self.by_k),
            "best_k": self.best_k,
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
    reward_range: Mapping[str, Sequence[float]] | None = None,
) -> Plan:
    """What the pilot batch says one can afford.

    Args:
        reading: Candidates and what is known of their source.
        target: q*, any entry of the catalog; the run directory's, or an assumed one, if None.
        eta: Overall sharpness of the target.
        target_source: Says that the target was ``located`` in a configuration.
        ess_target: ESS_rel to keep, in (0, 1).
        utility: Plan for this utility alone, tilting the target's anchor.
        k: Candidates per context that are planned: read the figures "at your K" off that many,
            drawn from the pilot's without replacement. The pilot must have as many.
        count: Effective candidates wanted per context.
        error: Root mean square error wanted, for statistics bounded by 1.
        thresholds: Where the goal of the policy's leg comes from.
        reward_range: Least and largest value that a reward can have, by name; the empty name is the
            one reward that the target tilts by.

    Raises:
        SpecError: An argument outside its range, a utility that the files do not hold, or a reward
            outside its declared range.
        DataError: The target cannot be weighed, or no context is informative.
    """
    _check(reading, ess_target, utility, k)
    sourced = _sourced(reading, target, eta, target_source, utility)
    ranges = declared_ranges(reading, sourced, reward_range)
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
    statistics = _statistics(reading, contexts, log_w0, unit, now, declared_width(whole, ranges))
    feasible = (
        *_both(statistics, base, level, read, ess_target, now, None),
        *_alone(reading, pilot, contexts, whole, ess_target, utility, ranges),
    )
    refresh = staleness(
        reading, reading.steps, reading.lag, (thresholds or Thresholds()).overlap_stable
    )
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
        table=_table(statistics, base, level, read, ess_target, count, now, feasible),
        needed_k=_needed(statistics, needed_at_k(log_w[rows], read, count, error)),
        by_k=_every_k(statistics, by_k(log_w, unit, contexts, places, _sizes(read))),
        best_k=_best_k(statistics),
        refresh=refresh,
        cannot=_cannot(reading, refresh, k, feasible[0]),
    )


def _statistics(
    reading: Reading,
    contexts: Groups,
    log_w0: Any,
    unit: Any,
    eta: float,
    width: float | None,
) -> LegStatistics:
    """Counts and moments of the pilot; of nothing where its candidates were not sampled."""
    if reading.semantics != "sampled":
        return LegStatistics()
    anchored = log_w0 is None
    log_w = unit if anchored else weights_at(log_w0, unit, eta)
    return leg_statistics(
        contexts,
        log_w=log_w,
        anchored=anchored,
        informative=varied(unit, contexts),
        eta=eta,
        width=width,
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
    statistics: LegStatistics,
    log_w0: Any,
    unit: Any,
    contexts: Any,
    target: float,
    now: float,
    utility: str | None,
) -> list[Feasible]:
    """At the median and at the 10 % quantile."""
    top = search_top(unit, contexts, now)
    found = []
    for name, p in QUANTILES.items():
        value, interval = largest_eta(log_w0, unit, contexts, target, p, now, top)
        population = feasible_eta(statistics, target, p)
        sample = Largest.of(value)
        found.append(Feasible(utility, name, population, sample, interval, len(contexts)))
    return found


def _alone(
    reading: Reading,
    pilot: Any,
    contexts: Groups,
    whole: Target,
    target: float,
    only: str | None,
    ranges: Mapping[str, Sequence[float]],
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
        statistics = _statistics(reading, contexts, base, unit, 1.0, declared_width(alone, ranges))
        read, rows = contexts.take(places)
        base = None if base is None else base[rows]
        found += _both(statistics, base, unit[rows], read, target, 0.0, name)
    return found


def _table(
    statistics: LegStatistics,
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
    for item in feasible[:2]:
        if item.read:
            found = {item.population.safe: "safe", item.population.eta: "feasible"}
        else:
            found = {item.sample.eta: "feasible at your K"}
        marks |= {eta: f"{words}, {item.quantile}" for eta, words in found.items() if _usable(eta)}  # type: ignore[misc]
    etas = sorted({*(float(f"{scale * x:.2g}") for x in GRID), *marks})
    rows = []
    for eta in etas:
        ess = _population_at(statistics, log_w0, unit, contexts, eta)
        median = None if ess is None else ess.median
        needed = needed_k(median, count)
        rows.append(
            {
                **row_at(log_w0, unit, contexts, eta, target, count),
                "mark": marks.get(eta),
                "population": None if median is None else median.to_dict(),
                "needed": None if needed is None else needed.to_dict(),
            }
        )
    return tuple(rows)


def _usable(eta: float | None) -> bool:
    return eta is not None and 0 < eta < math.inf


def _population_at(
    statistics: LegStatistics, log_w0: Any, unit: Any, contexts: Groups, eta: float
) -> PopulationEss | None:
    """ESS_rel of q*/μ over the population at a sharpness."""
    log_w = weights_at(log_w0, unit, eta)
    if not statistics.anchored:
        if not statistics.aimed:
            return None
        return leg_statistics(contexts, log_w=log_w).population().get("target_proposal")
    jackknife = None
    if statistics.rewards is None:
        jackknife = jackknife_counts(log_w, contexts, constant="blind")
    return statistics.population(eta, jackknife).get("target_proposal")


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


def needed_at_k(
    log_w: Any, contexts: Groups, count: float, error: float
) -> dict[str, dict[str, Any]]:
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


def _needed(
    statistics: LegStatistics, at_k: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The needed K, with that of the population."""
    ess = statistics.population().get("target_proposal")
    if ess is None:
        return at_k
    counts = {
        "ess_count": at_k["ess_count"]["wanted"],
        "error": 4 / at_k["error"]["wanted"] ** 2,
    }
    for name, count in counts.items():
        for key, interval in (("population", ess.median), ("population_q90", ess.q10)):
            needed = needed_k(interval, count)
            at_k[name][key] = None if needed is None else needed.to_dict()
    return at_k


def _informative(statistics: LegStatistics, sizes: Sequence[int]) -> dict[int, Interval] | None:
    """Shares of groups with a signal at any K; None but for rewards of two values."""
    passes = pass_counts_of(statistics.rewards)
    if passes is None or passes.with_signal < FEWEST_GROUPS:
        return None
    posterior = pass_rate_posterior(passes)
    return {k: signal_share(posterior, k) for k in sizes}


def _every_k(
    statistics: LegStatistics, at_k: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The informative share at every K, twice and four times the pilot's too for 0/1 rewards."""
    known = [row["k"] for row in at_k]
    shares = _informative(statistics, sizes := [*known, 2 * known[-1], 4 * known[-1]])
    if shares is None:
        share = [row["informative"] for row in at_k]
        per = [None if x is None else 100 * x / k for x, k in zip(share, known, strict=True)]
        return tuple({**row, "per_100": each} for row, each in zip(at_k, per, strict=True))
    nothing = dict.fromkeys(("median", "q10", "ess", "informative")) | {"contexts": 0}
    rows = [*at_k, *({"k": k, **nothing} for k in sizes[len(known) :])]
    return tuple(
        {
            **row,
            "population_informative": shares[row["k"]].to_dict(),
            "per_100": 100 * (shares[row["k"]].value or 0.0) / row["k"],
        }
        for row in rows
    )


def _best_k(statistics: LegStatistics) -> dict[str, Any] | None:
    """The K of the most informative contexts for the same candidates; None where unknown.

    Graded rewards differ in any group. For 0/1 rewards it is 2 or 3, whatever the pass rates are:
    (1 − pᵏ − (1−p)ᵏ)/k ≤ p(1 − p) with equality at k = 2 and 3. Of the two the larger, at which
    more contexts are informative.
    """
    k = 3
    shares = _informative(statistics, [k])
    if shares is not None:
        why = "groups that differ, per rollout, are most at K = 2 and 3 whatever the pass rates"
        return {"k": k, "per_100": 100 * (shares[k].value or 0.0) / k, "why": why}
    graded = statistics.weights
    if graded is None or not statistics.anchored or graded.moments.constant:
        return None
    why = "rewards are graded: every group differs at any K"
    return {"k": None, "per_100": None, "why": why}


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


def _sizes(contexts: Groups) -> list[int]:
    """Powers of two up to the median K, and it."""
    k = int(np.median(contexts.sizes))
    return sorted({*(2**i for i in range(1, 12) if 2**i < k), k})


def _cannot(
    reading: Reading, refresh: dict[str, Any] | None, k: int | None, first: Feasible
) -> tuple[Unknown, ...]:
    found = []
    if not first.read:
        why = first.population.unreadable or "candidates that were not sampled have no population"
        needs = (
            "a target anchored at mu, and 8 prompts or more with 4 rollouts whose rewards differ"
        )
        found.append(Unknown("a safe eta", why, needs))
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
    if k is None and not first.read:
        found.append(
            Unknown(
                f"ESS_rel at K > {largest}",
                "ESS_rel is biased upward at small K and no larger one was drawn",
                "a pilot with more candidates a context",
            )
        )
    return tuple(found)
