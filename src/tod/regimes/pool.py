"""One pool a run: the steps since the last dated change, read together.

What the words of a run are read from is the multiset of its groups: to which step of the pool a
group belongs changes nothing. The pool starts at the last change of configuration or at the onset
of the last finding, as the caller knows them. The policy's legs are of the steps since their own
last change of level too, for a policy that moves away from what was sampled has no one value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from tod.base import DataError
from tod.base.brief import Brief
from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.summary import ContextCounts, EssRel, Summary, mean_of_known
from tod.population import EssCounts, LegStatistics, pooled_statistics
from tod.regimes.classify import classify
from tod.regimes.crossings import last_level
from tod.regimes.regime import Regime, Verdict
from tod.regimes.thresholds import Thresholds

__all__ = ["Pool", "classify_run", "not_milder", "policy_level", "pool_of", "regime_of_records"]

POLICY = ("policy_proposal", "target_policy")
"""Legs that read the policy."""


@dataclass(frozen=True, repr=False)
class Pool(Brief):
    """The groups that a run is judged by.

    Attributes:
        first: First step of the pool.
        last: Last step.
        target: Statistics of those steps.
        policy: Statistics of the steps since the last change of level of the policy's legs.
        policy_first: First step behind ``policy``.
    """

    first: int
    last: int
    target: LegStatistics
    policy: LegStatistics
    policy_first: int

    def to_dict(self) -> dict[str, int]:
        """The steps, as plain data."""
        return {"first": self.first, "last": self.last, "policy_first": self.policy_first}

    def population(
        self,
        eta: float | None = None,
        jackknife: EssCounts | None = None,
        *,
        everybody: bool = True,
    ) -> dict[str, PopulationEss]:
        """ESS_rel of every leg over the population, at another sharpness where one is given.

        Args:
            eta: Sharpness; the one in force if None.
            jackknife: As in `LegStatistics.population`.
            everybody: As there.
        """
        found = self.target.population(eta, jackknife, everybody=everybody)
        if self.policy_first == self.first:
            return found
        for leg in POLICY:
            found.pop(leg, None)
        late = self.policy.population(eta, jackknife, everybody=everybody)
        return found | {leg: late[leg] for leg in POLICY if leg in late}


def policy_level(steps: Sequence[int], summaries: Sequence[Summary]) -> int | None:
    """First step of the last level of the policy's legs; None where they have one level."""
    changed = []
    for leg in POLICY:
        values = [
            None if leg in summary.overlap.declared else getattr(summary.overlap, leg)
            for summary in summaries
        ]
        changed.append(last_level(steps, values))
    return max((step for step in changed if step is not None), default=None)


def pool_of(
    steps: Sequence[int],
    statistics: Sequence[LegStatistics | None],
    since: int | None = None,
    policy_since: int | None = None,
) -> Pool | None:
    """The pool of a run; None where no step has the counts that a pool is made of.

    Args:
        steps: The number of every step, or the first one of every stretch of steps, increasing.
        statistics: Of every one of them; None where a record holds none.
        since: First step after the last dated change; None: none is known.
        policy_since: First step of the last level of the policy's legs (`policy_level`).
    """
    known = [
        (step, item)
        for step, item in zip(steps, statistics, strict=True)
        if item is not None and (since is None or step >= since)
    ]
    if not known:
        return None
    whole, start = pooled_statistics([item for _, item in known])
    known = known[start:]
    first = known[0][0]
    late = [item for step, item in known if policy_since is None or step >= policy_since]
    policy_first = first if policy_since is None else max(first, policy_since)
    if len(late) == len(known):
        policy = whole
    else:
        policy = pooled_statistics(late)[0] if late else known[-1][1]
    return Pool(first, steps[-1], whole, policy, policy_first)


def classify_run(
    summaries: Sequence[Summary],
    statistics: Sequence[LegStatistics | None] = (),
    thresholds: Thresholds | None = None,
    *,
    steps: Sequence[int] | None = None,
    since: int | None = None,
    **advice: Any,
) -> Regime:
    """The regime of a run, from the records of its steps.

    Args:
        summaries: One summary per step.
        statistics: Sufficient statistics of every step; none: no leg is readable.
        thresholds: Bounds; the provisional defaults if None.
        steps: The number of every step, increasing; counted from 1 if None.
        since: First step after the last dated change.
        **advice: ``assumed_target``, ``eta``, ``eta_max``, ``k_needed`` of `classify`.

    Raises:
        DataError: There is no summary.
    """
    numbers = list(range(1, len(summaries) + 1) if steps is None else steps)
    held = list(statistics) or [None] * len(summaries)
    pool = pool_of(numbers, held, since, policy_level(numbers, summaries))
    first = numbers[0] if pool is None else pool.first
    whole = pooled([s for step, s in zip(numbers, summaries, strict=True) if step >= first])
    whole = replace(whole, population=None if pool is None else pool.population())
    return classify(whole, thresholds, **advice)


def regime_of_records(
    records: Sequence[Mapping[str, Any]],
    thresholds: Thresholds | None = None,
    *,
    since: int | None = None,
    **advice: Any,
) -> Regime:
    """`classify_run` of the lines of ``steps.jsonl``; those that diagnosed nothing are passed over.

    Args:
        records: The lines, in order.
        thresholds: Bounds; the provisional defaults if None.
        since: First step after the last dated change.
        **advice: Of `classify`.
    """
    diagnosed = [record for record in records if (record.get("contexts") or {}).get("total")]
    if not diagnosed:
        return classify(Summary(), thresholds, **advice)
    counts = [record.get("statistics") for record in diagnosed]
    return classify_run(
        [Summary.from_dict(dict(record)) for record in diagnosed],
        [None if item is None else LegStatistics.from_dict(item) for item in counts],
        thresholds,
        steps=[int(record["step"]) for record in diagnosed],
        since=since,
        **advice,
    )


def not_milder(regime: Regime, steps: Iterable[Regime]) -> Regime:
    """The verdict of a run, never milder than that of its mildest step where every step has one.

    A step has a verdict where its intervals lie on one side of every bound. The reasons are then
    those of that step.
    """
    order: tuple[Verdict, ...] = ("swap_stable", "transition", "operator_dominated")
    judged = list(steps)
    if not judged or any(item.verdict not in order for item in (regime, *judged)):
        return regime
    mildest = min(judged, key=lambda item: order.index(item.verdict))
    if order.index(mildest.verdict) <= order.index(regime.verdict):
        return regime
    return replace(regime, verdict=mildest.verdict, reasons=mildest.reasons)


def pooled(summaries: Sequence[Summary]) -> Summary:
    """Several batches as one record: counts added, every other number averaged where known.

    Intervals are dropped (batches of one policy are not independent). Legs that are declared or
    not applicable in every batch stay so.

    Raises:
        DataError: There is no summary.
    """
    if not summaries:
        raise DataError("no summaries to pool: a run needs at least one diagnosed step.")
    merged = _merge(list(summaries))
    ess_rel = EssRel(
        median=mean_of_known([s.ess_rel.median for s in summaries]),
        q10=mean_of_known([s.ess_rel.q10 for s in summaries]),
        mean=mean_of_known([s.ess_rel.mean for s in summaries]),
    )
    known = [s.overlap.contexts for s in summaries if s.overlap.contexts is not None]
    overlap = replace(
        merged.overlap,
        contexts=sum(known) if known else None,
        declared=_always([s.overlap.declared for s in summaries]),
        not_applicable=_always([s.overlap.not_applicable for s in summaries]),
    )
    counts = _counts([s.contexts for s in summaries])
    return replace(  # type: ignore[no-any-return]
        merged, contexts=counts, ess_rel=ess_rel, overlap=overlap, population=None
    )


def _always(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in names[0] if all(name in other for other in names))


def _counts(records: Sequence[ContextCounts]) -> ContextCounts:
    totals: dict[str, Any] = {}
    for item in fields(ContextCounts):
        if item.name != "candidates_per_context":
            known = [getattr(record, item.name) for record in records]
            known = [value for value in known if value is not None]
            totals[item.name] = sum(known) if known else None
    sizes = [record.candidates_per_context for record in records if record.candidates_per_context]
    pick = {"min": min, "median": mean_of_known, "max": max}
    totals["candidates_per_context"] = {
        name: choose([size[name] for size in sizes if name in size])  # type: ignore[operator]
        for name, choose in pick.items()
        if any(name in size for size in sizes)
    }
    return ContextCounts(**totals)


def _merge(records: list[Any]) -> Any:
    """Average every float of equal dataclasses; None where nothing is known."""
    known = [record for record in records if record is not None]
    if not known:
        return None
    merged: dict[str, Any] = {}
    for item in fields(known[0]):
        values = [getattr(record, item.name) for record in known]
        if any(is_dataclass(value) for value in values):
            merged[item.name] = _merge(values)
        elif all(value is None or isinstance(value, int | float) for value in values):
            merged[item.name] = mean_of_known(values)
        else:
            merged[item.name] = values[-1]
    return replace(known[0], **merged)
