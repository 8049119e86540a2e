"""Is K enough, how much selection is it, and is the reward over-optimised: from the curves."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tod.base import to_numpy
from tod.operators import BestOfK
from tod.reranking.curve import Outcomes
from tod.reranking.doubling import Doubling, after_the_last, seen
from tod.reranking.means import mean_over_contexts
from tod.reranking.ranked import Ranked
from tod.reranking.scored import Scored

WORTH = 0.01
"""Gain of a doubling below which K is enough, for a measure within [0, 1]."""
WORTH_OF_SPREAD = 0.02
"""The same for other measures, in standard deviations within prompts."""
Measure = Literal["gold", "pass_rate", "utility"]
Answer = Literal["yes", "no", "unknown"]


def kl_of_best(k: int) -> float:
    """Upper bound of KL(best of k ‖ μ) in nats, log k − (k−1)/k; reached where values never tie.

    Source: Beirami et al. 2024, 2401.01879, theorem 1 (equation best-of-k-kl)
    """
    return math.log(k) - (k - 1) / k


@dataclass(frozen=True)
class OverOptimised:
    """Whether more selection by the reward costs the second score.

    Attributes:
        answer: ``yes``: at K it is evidently lower than at a smaller size; ``no``: the last
            doubling still raised it evidently; ``unknown``.
        peak: Size at which its mean is largest; None without a second score.
        loss: Its mean at K less that at the peak, by prompt.
        gap: By how much more the reward gained than it did, from 1 to K, by prompt; None where
            they are not both within [0, 1].
    """

    answer: Answer
    peak: int | None = None
    loss: dict[str, Any] | None = None
    gap: dict[str, Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """What the curves of one rule say.

    Attributes:
        measure: What is judged: ``gold``, ``pass_rate`` or ``utility``.
        k: Largest size.
        enough: Whether twice as many bring less than ``worth``.
        worth: The least gain that counts.
        last: The last doubling within the candidates.
        next: Bounds of the next one; None where none are known.
        kl: Upper bound of the KL of what is put out to the sampler, nats; best of K only.
        effective: As in `Ranked`.
        over_optimised: Whether selection costs the second score.
    """

    measure: Measure
    k: int
    enough: Answer
    worth: float
    last: Doubling | None
    next: Doubling | None
    kl: float | None
    effective: float | None
    over_optimised: OverOptimised

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **vars(self),
            "last": None if self.last is None else self.last.to_dict(),
            "next": None if self.next is None else self.next.to_dict(),
            "over_optimised": vars(self.over_optimised),
        }


def verdict_of(scored: Scored, ranked: Ranked) -> Verdict:
    """The verdict on one rule."""
    k = scored.k
    measure = measure_of(ranked.outcomes)
    by_size = dict(zip(ranked.sizes, ranked.outcomes, strict=True))
    last = following = half = None
    whole = values_of(by_size[k], measure)
    if k // 2 in by_size:
        half = values_of(by_size[k // 2], measure)
    if half is not None and whole is not None:
        bounded = measure == "pass_rate" or within_unit(_column(scored, measure))
        last = seen(half, whole, k // 2, k, bounded=bounded)
        following = _following(scored, ranked, by_size, measure)
    worth = _worth(scored, measure)
    return Verdict(
        measure=measure,
        k=k,
        enough=_enough(following or last, worth),
        worth=worth,
        last=last,
        next=following,
        kl=kl_of_best(k) if isinstance(ranked.rule, BestOfK) else None,
        effective=ranked.effective,
        over_optimised=_over_optimised(scored, ranked),
    )


def measure_of(outcomes: tuple[Outcomes, ...]) -> Measure:
    """The second score where there is one; of a rule that refuses the pass rate; else utility."""
    if outcomes[-1].gold is not None:
        return "gold"
    refuses = any((found.accepted < 1).any() for found in outcomes)
    return "pass_rate" if refuses and outcomes[-1].passed is not None else "utility"


def values_of(found: Outcomes, measure: Measure) -> Float[np.ndarray, " C"] | None:
    """The measure by prompt; None where prompts are left out of it."""
    if measure == "pass_rate":
        return found.passed
    values = found.gold if measure == "gold" else found.utility
    return values if bool((found.accepted == 1).all()) else None


def within_unit(values: Float[np.ndarray, " N"] | None) -> bool:
    """Whether all values lie within [0, 1]; not where there are none."""
    return values is not None and bool(np.all((values >= 0) & (values <= 1)))


def _column(scored: Scored, measure: Measure) -> Float[np.ndarray, " N"]:
    return scored.gold if measure == "gold" and scored.gold is not None else scored.utility


def _worth(scored: Scored, measure: Measure) -> float:
    column = _column(scored, measure)
    if measure == "pass_rate" or within_unit(column):
        return WORTH
    spread = to_numpy(scored.contexts.variance(column))
    return WORTH_OF_SPREAD * math.sqrt(float(np.nanmean(spread)))


def _following(
    scored: Scored, ranked: Ranked, by_size: dict[int, Outcomes], measure: Measure
) -> Doubling | None:
    """Bounds of the next doubling: best of K, by what it selects by; a theorem holds for no other.

    What is reported must be what is maximised: a weighed sum and its utility are not.
    """
    even = scored.k // 2 * 2
    same = np.array_equal(to_numpy(scored.pool.value), scored.utility)
    if not isinstance(ranked.rule, BestOfK) or measure != "utility" or not same:
        return None
    half, whole = by_size[even // 2].utility, by_size[even].utility
    return after_the_last(half, whole, even, bounded=within_unit(scored.utility))


def _enough(found: Doubling | None, worth: float) -> Answer:
    if found is None or found.ci95 is None:
        return "unknown"
    low, high = found.ci95
    if high < worth:
        return "yes"
    return "no" if low > worth else "unknown"


def _over_optimised(scored: Scored, ranked: Ranked) -> OverOptimised:
    """Over all smaller sizes at once: each interval is widened for their number (Bonferroni)."""
    curve = [values_of(found, "gold") for found in ranked.outcomes]
    if scored.gold is None or any(values is None for values in curve) or len(curve) < 2:
        return OverOptimised("unknown")
    gold = [values for values in curve if values is not None]
    means = [float(values.mean()) for values in gold]
    best = int(np.argmax(means))
    loss = mean_over_contexts(gold[-1] - gold[best])
    wide = NormalDist().inv_cdf(1 - 0.025 / (len(gold) - 1))
    falls = [mean_over_contexts(gold[-1] - values) for values in gold[:-1]]
    answer: Answer = "unknown"
    if any(d["se"] is not None and d["value"] + wide * d["se"] < 0 for d in falls):
        answer = "yes"
    else:
        half = ranked.sizes.index(scored.k // 2)
        ends = falls[half]["ci95"]
        answer = "no" if ends is not None and ends[0] > 0 else "unknown"
    return OverOptimised(answer, ranked.sizes[best], loss, _gap(scored, ranked))


def _gap(scored: Scored, ranked: Ranked) -> dict[str, Any] | None:
    if not (within_unit(scored.utility) and within_unit(scored.gold)):
        return None
    first, last = ranked.outcomes[0], ranked.outcomes[-1]
    assert first.gold is not None and last.gold is not None  # noqa: S101, PT018
    return mean_over_contexts(last.utility - first.utility - (last.gold - first.gold))
