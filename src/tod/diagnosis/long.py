"""Long sequences: what remains readable when every true sequence weight is near 1/K.

Independent token gaps of variance s² over L tokens give log ρ a variance L s², hence an ESS_rel
near exp(−L s²), and 1/K for any long answer. Three things still tell runs apart: how the spread
divides between staleness and engine mismatch, named surrogates that do not grow with L (none of
them is q*/μ), and the trend in K (a leg that falls as 1/K says nothing of its level).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tod.base import Groups, to_numpy
from tod.diagnosis.target import SourcedTarget
from tod.diagnostics import (
    TrendPoint,
    context_classes,
    ess_rel,
    k_trend,
    length_mean,
    length_root,
    quantile,
)
from tod.diagnostics.classes import INFORMATIVE
from tod.formats.reading import Reading
from tod.regimes.largest import spread_out

MOST_FOR_TREND = 512
"""Contexts of the K-trend: eight resamples of each size cost some milliseconds."""
RESAMPLES = 8
_NAMED = {"length_mean": length_mean, "length_root": length_root}


@dataclass(frozen=True)
class Surrogate:
    """ESS_rel of a log-weight and of a named stand-in for it, medians over contexts.

    Attributes:
        leg: ``policy_proposal``, ``mismatch``, ``staleness`` or ``target_proposal``.
        name: ``length_mean`` (log ρ/L), ``length_root`` (log ρ/√L) or ``tilt_only``.
        true: Of the true sequence weight, in [1/K, 1].
        median: Of the surrogate.
        q10: 10 % quantile of the surrogate.
    """

    leg: str
    name: str
    true: float
    median: float
    q10: float


@dataclass(frozen=True)
class Long:
    """The record of long sequences.

    Attributes:
        length: Tokens a candidate: median, 90 % quantile, largest.
        contexts: Contexts that were read.
        surrogates: Stand-ins beside the true legs.
        mismatch_share: Share of the variance of log π − log μ within contexts that engine mismatch
            explains, cov(log π_old − log μ, log π − log μ)/var; None unless both gaps are known.
        staleness_share: The rest, 1 − ``mismatch_share``.
    """

    length: dict[str, int]
    contexts: int
    surrogates: tuple[Surrogate, ...]
    mismatch_share: float | None = None
    staleness_share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "surrogates": [asdict(item) for item in self.surrogates]}


def long_sequences(reading: Reading, log_w: Any, tilt: Any, informative: Any) -> Long | None:
    """The record, or None where lengths or log-probs of two policies are not recorded.

    Args:
        reading: The candidates.
        log_w: log q*/μ, or None where it cannot be weighed.
        tilt: Σ η_k U_k, [N].
        informative: Contexts that say something of q*, [C].
    """
    length = reading.labels.length
    if length is None or int(length.min(initial=1)) < 1:
        return None
    gaps = gaps_of(reading)
    weighed = log_w is not None and bool(np.abs(_base(log_w, tilt)).max(initial=0.0) > 1e-9)
    if not (gaps or weighed):
        return None
    some = spread_out(np.flatnonzero(reading.contexts.sizes > 1))
    contexts, rows = reading.contexts.take(some)
    if not len(contexts):
        return None
    size = length[rows].astype(np.float64)
    found = [
        _surrogate(leg, name, gap[rows], f(gap[rows], size), contexts)
        for leg, gap in gaps.items()
        for name, f in _NAMED.items()
    ]
    if weighed:
        chosen = spread_out(np.flatnonzero(informative))
        part, at = reading.contexts.take(chosen)
        found.append(_surrogate("target_proposal", "tilt_only", log_w[at], tilt[at], part))
    share = _share({name: gap[rows] for name, gap in gaps.items()}, contexts)
    return Long(
        length={
            "median": int(quantile(length, 0.5)),
            "q90": int(quantile(length, 0.9)),
            "max": int(length.max()),
        },
        contexts=len(contexts),
        surrogates=tuple(item for item in found if item is not None),
        mismatch_share=share,
        staleness_share=None if share is None else 1 - share,
    )


def gaps_of(reading: Reading) -> dict[str, Any]:
    """Log ρ of the policy against μ, and of its two summands, as far as they are recorded.

    Where the sampler was behind the trainer log π_old − log μ is no engine mismatch: left out.
    """
    mu, old = reading.log_mu, reading.log_anchor.get("old")
    policy = reading.log_anchor.get("policy")
    now = old if policy is None else policy
    behind = reading.lag is not None and int(reading.lag.max(initial=0)) > 0
    pairs = {
        "policy_proposal": (now, mu),
        "mismatch": (None if behind else old, mu),
        "staleness": (policy, old),
    }
    return {
        name: np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
        for name, (a, b) in pairs.items()
        if a is not None and b is not None
    }


def tilt_only(reading: Reading, sourced: SourcedTarget | None) -> dict[str, Any] | None:
    """ESS_rel of the tilts alone, were the anchor μ: a stand-in where the anchor is not recorded.

    At a run's start, with the reference still the policy, it is q*/μ itself; later it is not.
    None where a utility is missing too, or no context is informative.
    """
    if sourced is None:
        return None
    general = sourced.target.target
    if any(name not in reading.utility for name in general.utilities) or general.support:
        return None
    tilt = general.tilt(reading)
    informative = to_numpy(context_classes(tilt, tilt, reading.contexts)) == INFORMATIVE
    contexts, rows = reading.contexts.take(np.flatnonzero(informative))
    values = to_numpy(ess_rel(tilt[rows], contexts)) if len(contexts) else np.empty(0)
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, middle = quantile(values, 0.1), quantile(values, 0.5)
    return {"median": middle, "q10": low, "contexts": int(values.size)}


def trends(reading: Reading, log_w: Any, log_r: Any, informative: Any) -> list[dict[str, Any]]:
    """ESS_rel against K = 2, 4, 8, …, of the legs that are ESS_rel of one weight.

    Args:
        reading: The candidates.
        log_w: log q*/μ, or None.
        log_r: log π/μ, or None.
        informative: Contexts that say something of q*, [C].
    """
    everywhere = np.flatnonzero(reading.contexts.sizes > 1)
    found: list[dict[str, Any]] = []
    for leg, values, known in (
        ("target_proposal", log_w, np.flatnonzero(informative)),
        ("policy_proposal", log_r, everywhere),
    ):
        if values is None or not len(known):
            continue
        contexts, rows = reading.contexts.take(spread_out(known, MOST_FOR_TREND))
        found.extend({"leg": leg, **asdict(point)} for point in _trend(values[rows], contexts))
    return found


def _trend(values: Any, contexts: Groups) -> list[TrendPoint]:
    """At powers of two, up to the common K."""
    sizes, counts = np.unique(contexts.sizes, return_counts=True)
    common = int(sizes[int(counts.argmax())])
    powers = [2**i for i in range(1, 16) if 2**i < common]
    return k_trend(values, contexts, [*powers, common], resamples=RESAMPLES)


def _base(log_w: Any, tilt: Any) -> Any:
    """Log b − log μ where the tilt is finite."""
    finite = np.isfinite(log_w) & np.isfinite(tilt)
    return np.where(finite, log_w - np.where(finite, tilt, 0.0), 0.0)


def _surrogate(leg: str, name: str, true: Any, other: Any, contexts: Groups) -> Surrogate | None:
    both = [to_numpy(ess_rel(x, contexts)) for x in (true, other)]
    both = [x[~np.isnan(x)] for x in both]
    if not all(x.size for x in both):
        return None
    known, stand_in = both
    return Surrogate(
        leg, name, quantile(known, 0.5), quantile(stand_in, 0.5), quantile(stand_in, 0.1)
    )


def _share(gaps: dict[str, Any], contexts: Groups) -> float | None:
    """cov(mismatch, total)/var(total) within contexts, by polarisation; additive over summands."""
    if set(gaps) != {"policy_proposal", "mismatch", "staleness"}:
        return None
    total, engine, travel = (
        _mean_variance(gaps[name], contexts)
        for name in ("policy_proposal", "mismatch", "staleness")
    )
    if not all(np.isfinite(v) for v in (total, engine, travel)) or total <= 0:
        return None
    return float((total + engine - travel) / (2 * total))


def _mean_variance(values: Any, contexts: Groups) -> float:
    """Mean over contexts of the variance within them."""
    return float(np.mean(np.asarray(contexts.variance(values))))
