"""`tod plan` behind the command: what a pilot batch says one can afford.

Candidates are held fixed: the numbers are for the proposal and the K of the pilot. Training moves
the policy, so start below them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tod.base import DataError, Groups, SpecError
from tod.candidates import Candidates
from tod.diagnosis import affordable as parts
from tod.diagnosis.assess import spread_out
from tod.diagnosis.target import Chosen, TargetSource, choose, unweighable
from tod.diagnosis.weighed import weigh, weigh_all
from tod.formats.reading import Cannot, Reading
from tod.regimes import Thresholds
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
        chosen: The target.
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
    chosen: Chosen
    ess_target: float
    contexts: dict[str, int]
    k: dict[str, int]
    eta: float
    feasible: tuple[Feasible, ...]
    table: tuple[dict[str, Any], ...]
    needed_k: dict[str, dict[str, Any]]
    by_k: tuple[dict[str, Any], ...]
    refresh: dict[str, Any] | None
    cannot: tuple[Cannot, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the schema ``tod.plan/1``."""
        from tod.runs import plain

        data = {
            "schema": SCHEMA,
            "source": self.reading.source.to_dict(),
            "target": self.chosen.to_dict(),
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
    chosen = _chosen(reading, target, eta, target_source, utility)
    pilot, contexts = _with_k(reading, k)
    whole, weighed = chosen.target.target, weigh(reading, chosen)
    log_w0, unit, now = weighed.base(pilot), weighed.unit(pilot), weighed.declared
    if now is None:
        raise DataError(
            "the target's selectivity finds an eta for every context: there is no single sharpness "
            "to plan. Give a target with an eta, or --utility."
        )
    all_informative = parts.varied(unit, contexts)
    if not all_informative.size:
        raise DataError(
            f"in none of {len(contexts)} contexts do the candidates differ in "
            f"{', '.join(whole.utilities)}: they say nothing about sharpness. Raise K, or give "
            "easier or harder contexts, or partial credit."
        )
    chosen_contexts = spread_out(all_informative)
    read, rows = contexts.take(chosen_contexts)
    base, level = None if log_w0 is None else log_w0[rows], unit[rows]
    feasible = (
        *_both(base, level, read, ess_target, now, None),
        *_alone(reading, pilot, contexts, whole, ess_target, utility),
    )
    steps = reading.steps
    goal = (thresholds or Thresholds()).overlap_stable
    refresh = parts.staleness(reading, steps, reading.lag, goal)
    log_w = parts.weights_at(log_w0, unit, now)
    sizes = contexts.sizes
    return Plan(
        reading=reading,
        chosen=chosen,
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
        needed_k=parts.needed_k(log_w[rows], read, count, error),
        by_k=tuple(
            parts.by_k(log_w, unit, contexts, chosen_contexts, _sizes(int(np.median(read.sizes))))
        ),
        refresh=refresh,
        cannot=_cannot(reading, refresh, k),
    )


def feasible_eta(
    candidates: Candidates, target: Target, ess_target: float, quantile: float = 0.5
) -> float | None:
    """Largest sharpness at which the quantile over contexts of ESS_rel is at the target.

    None where no context is informative, where every context has an η of its own, or where no
    sharpness is feasible; ∞ where none is too much.

    Raises:
        MissingLogProbs: The target's anchor was not recorded.
        SpecError: The target is outside (0, 1].
    """
    weighed = weigh_all(candidates, target)
    unit, now = weighed.unit(slice(None)), weighed.declared
    chosen = parts.varied(unit, candidates.contexts)
    if not chosen.size or now is None:
        return None
    contexts, rows = candidates.contexts.take(chosen)
    top = parts.search_top(unit[rows], contexts, now)
    return parts.largest_eta(
        weighed.base(rows), unit[rows], contexts, ess_target, quantile, now, top
    )[0]


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


def _chosen(
    reading: Reading,
    target: Any,
    eta: float | None,
    source: TargetSource | None,
    utility: str | None,
) -> Chosen:
    chosen = choose(reading, target, eta, source)
    lack = unweighable(reading, chosen)
    if chosen is None or (lack is not None and utility is None):
        why, needs = lack or ("the files hold no utility", "a utility per candidate")
        raise DataError(f"{why}: there is no sharpness to plan. Give {needs}.")
    if utility is None:
        return chosen
    general = chosen.target.target
    known = {tilt.utility: tilt.eta for tilt in general.tilts}
    sharpness = known.get(utility) or (eta if eta is not None else 1.0)
    single = general.revised(tilts=[{"utility": utility, "eta": sharpness}])
    return Chosen(single, chosen.source, {})


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
    top = parts.search_top(unit, contexts, now)
    found = []
    for name, p in parts.QUANTILES.items():
        value, interval = parts.largest_eta(log_w0, unit, contexts, target, p, now, top)
        attained = parts.attained_as(value)
        shown = value if attained == "yes" else None
        found.append(Feasible(utility, name, shown, attained, interval, len(contexts)))
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
        weighed = weigh_all(reading, alone)
        base, unit = weighed.base(pilot), weighed.unit(pilot)
        chosen = spread_out(parts.varied(unit, contexts))
        if not chosen.size:
            continue
        read, rows = contexts.take(chosen)
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
    scale = parts.scale_of(unit, contexts)
    marks = {now: "in force"}
    marks |= {f.eta_max: f"feasible, {f.quantile}" for f in feasible[:2] if f.eta_max}
    etas = sorted({*(float(f"{scale * x:.2g}") for x in GRID), *marks})
    rows = [parts.row_at(log_w0, unit, contexts, eta, target, count) for eta in etas]
    return tuple({**row, "mark": marks.get(row["eta"])} for row in rows)


def _sizes(k: int) -> list[int]:
    return sorted({*(2**i for i in range(1, 12) if 2**i < k), k})


def _cannot(reading: Reading, refresh: dict[str, Any] | None, k: int | None) -> tuple[Cannot, ...]:
    found = []
    if refresh is None:
        found.append(
            Cannot(
                "refresh",
                "the files do not hold log-probs of both the sampler and the policy",
                "log_mu, and log_old or log_policy, of a run with a stale proposal",
            )
        )
    elif refresh["age_from"] is None:
        found.append(
            Cannot(
                "refresh.by_age",
                "no lag is recorded, and the policy's leg shows no refresh from which to count",
                "the sampler's policy version, or steps before and after a refresh",
            )
        )
    largest = int(reading.contexts.sizes.max())
    if k is None:
        found.append(
            Cannot(
                f"ESS_rel at K > {largest}",
                "ESS_rel is biased upward at small K and no larger one was drawn",
                "a pilot with more candidates a context",
            )
        )
    return tuple(found)
