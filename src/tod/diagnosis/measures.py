"""Further measures of a diagnosis, computed when they are shown: they decide no verdict.

All read informative contexts of the most common K, as the quantiles of ESS_rel do: some thousand of
them, evenly spread, where a median is meant; all where contexts are counted or resampled.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tod.base import Groups, to_numpy
from tod.diagnosis.target import SourcedTarget
from tod.diagnostics import (
    chi2,
    cluster_bootstrap,
    distinct_n,
    ess_rel,
    fit_tail,
    fraction_interval,
    kl_proposal_target,
    kl_target_proposal,
    log_ess_alpha,
    log_z,
    max_weight,
    quantile,
    renyi_divergence,
    self_bleu,
    smoothed_log_weights,
    unique_answers,
)
from tod.diagnostics.pareto import SMALLEST
from tod.formats.reading import Reading
from tod.procedure import weigh
from tod.regimes.largest import spread_out
from tod.targets import Target

ORDERS = (0.0, 0.5, 1.0, 2.0, math.inf)
"""Orders α of the generalised ESS: share of non-zero weights, (Σ√w̄)², perplexity, ESS, 1/max."""
MOST_TEXTS = 64
"""Contexts whose completions are read again: BLEU compares each with all others of its context."""
_SAID = {0.0: "0", 0.5: "0.5", 1.0: "1", 2.0: "2", math.inf: "inf"}


def weights(log_w: Any, contexts: Groups, read: Any) -> dict[str, Any] | None:
    """Medians over contexts of the ESS family, the divergences and log Ẑ; None of none.

    ``ess_rel_alpha`` is ESS_α/K, non-increasing in α. KL(q*‖μ) ≤ log K on a sample. A divergence
    that is infinite in the median context is None.

    Args:
        log_w: log q̃*/μ, [N].
        contexts: Candidates in contexts.
        read: Contexts to read, [C].
    """
    chosen = spread_out(np.flatnonzero(read))
    if not len(chosen):
        return None
    part, rows = contexts.take(chosen)
    w = log_w[rows]
    log_k = np.log(part.sizes)
    family = {name: np.exp(log_ess_alpha(w, part, a) - log_k) for a, name in _SAID.items()}
    divergences = {name: renyi_divergence(w, part, a) for a, name in _SAID.items() if a}
    return {
        "contexts": len(part),
        "ess_rel_alpha": {name: _median(x) for name, x in family.items()},
        "renyi": {name: _median(x) for name, x in divergences.items()},
        "kl_target_proposal": _median(kl_target_proposal(w, part)),
        "kl_proposal_target": _median(kl_proposal_target(w, part)),
        "chi2": _median(chi2(w, part)),
        "log_z": _median(log_z(w, part)),
    }


def below(values: Any, limit: float) -> dict[str, Any] | None:
    """Share of contexts with ESS_rel below a limit, with its 90 % Beta interval (prior 1, 1).

    Args:
        values: ESS_rel of informative contexts.
        limit: The limit t.
    """
    if not len(values):
        return None
    count = int((values < limit).sum())
    return {
        "ess_rel": limit,
        "count": count,
        "contexts": len(values),
        "share": count / len(values),
        "share_ci90": list(fraction_interval(count, len(values))),
    }


def bootstrap(values: Any, resamples: int) -> dict[str, Any] | None:
    """90 % percentile intervals of median, q10 and mean ESS_rel, contexts resampled; None of none.

    Args:
        values: ESS_rel of informative contexts.
        resamples: How many resamples; 0 for none.
    """
    if not resamples or not len(values):
        return None
    statistics: dict[str, Callable[[Any], float]] = {
        "median": lambda at: quantile(values[at], 0.5),
        "q10": lambda at: quantile(values[at], 0.1),
        "mean": lambda at: float(np.mean(values[at])),
    }
    found: dict[str, Any] = {"resamples": resamples, "contexts": len(values)}
    for name, statistic in statistics.items():
        drawn = cluster_bootstrap(statistic, len(values), resamples=resamples)
        found[f"{name}_ci90"] = [drawn.low, drawn.high]
    return found


def per_utility(reading: Reading, sourced: SourcedTarget) -> list[dict[str, Any]]:
    """ESS_rel of every tilt alone at the target's anchor and its own η; empty for one tilt.

    Over the contexts in which that utility varies: another one than the whole target's.
    """
    general = sourced.target.target
    if len(general.tilts) < 2:
        return []
    found = []
    for tilt in general.tilts:
        alone = Target(anchor=general.anchor, tilts=(tilt,), support=general.support)
        weighed = weigh(alone, reading)
        u, contexts = weighed.tilt, reading.contexts
        varies = to_numpy(contexts.max(u)) > to_numpy(contexts.min(u))
        part, rows = contexts.take(spread_out(np.flatnonzero(varies)))
        values = to_numpy(ess_rel(weighed.log_w[rows], part)) if len(part) else np.empty(0)
        known = values[~np.isnan(values)]
        found.append(
            {
                "utility": tilt.utility,
                "eta": float(tilt.eta),
                "contexts": int(varies.sum()),
                "median": quantile(known, 0.5) if known.size else None,
                "q10": quantile(known, 0.1) if known.size else None,
            }
        )
    return found


def smoothed(log_w: Any, contexts: Groups, informative: Any) -> dict[str, Any]:
    """k̂ of every context of its own and its smoothed ESS_rel and largest weight, [C].

    Pareto smoothing replaces the largest weights by quantiles of the fitted tail. NaN below
    25 candidates, without information, and where the tail has no shape to fit; no columns at all
    where every context is so small.
    """
    if int(contexts.sizes.max(initial=0)) < SMALLEST:
        return {}
    names = ("pareto_k", "ess_rel_smoothed", "max_weight_smoothed")
    found = {name: np.full(len(contexts), np.nan) for name in names}
    offsets = contexts.offsets
    for at in np.flatnonzero(informative & (contexts.sizes >= SMALLEST)).tolist():
        w = log_w[offsets[at] : offsets[at + 1]]
        found["pareto_k"][at] = fit_tail(w).k
        if math.isnan(found["pareto_k"][at]):
            continue
        smoothed, alone = smoothed_log_weights(w), Groups.equal(1, len(w))
        found["ess_rel_smoothed"][at] = ess_rel(smoothed, alone)[0]
        found["max_weight_smoothed"][at] = max_weight(smoothed, alone)[0]
    return found


def diversity(reading: Reading, texts: bool) -> dict[str, Any] | None:
    """How different candidates of one context are, means over contexts; None if nothing tells.

    Args:
        reading: The candidates.
        texts: Read completions of some contexts again: n-grams of words (split on white space).
    """
    several = np.flatnonzero(reading.contexts.sizes > 1)
    if not len(several):
        return None
    found: dict[str, Any] = dict.fromkeys(("unique_answers", "texts")) | {"contexts": len(several)}
    if reading.labels.answer is not None:
        part, rows = reading.contexts.take(several)
        share = unique_answers(np.asarray(reading.labels.answer)[rows], part)
        found["unique_answers"] = float(share.mean())
    if texts and "completion" in reading.source.roles:
        found["texts"] = _of_texts(reading, spread_out(several, MOST_TEXTS))
    return found if found["unique_answers"] is not None or found["texts"] else None


def _of_texts(reading: Reading, chosen: Any) -> dict[str, Any]:
    """Distinct-n, self-BLEU and distinct completions of some contexts."""
    read = reading.texts(chosen.tolist())
    words = [text.completion.split() for at in chosen.tolist() for text in read[at]]
    known: dict[str, int] = {}
    ids = [known.setdefault(word, len(known)) for text in words for word in text]
    whole: dict[tuple[str, ...], int] = {}
    same = [whole.setdefault(tuple(text), len(whole)) for text in words]
    contexts = Groups(reading.contexts.sizes[chosen])
    sequences, tokens = Groups(np.array([len(text) for text in words])), np.array(ids, np.int64)
    values = {
        "distinct_1": distinct_n(tokens, sequences, contexts, 1),
        "distinct_2": distinct_n(tokens, sequences, contexts, 2),
        "self_bleu": self_bleu(tokens, sequences, contexts),
        "unique_texts": unique_answers(np.array(same), contexts),
    }
    means = {name: x[~np.isnan(x)] for name, x in values.items()}
    shown = {name: float(x.mean()) if x.size else None for name, x in means.items()}
    return {"contexts": len(contexts), **shown}


def _median(values: Any) -> float | None:
    x = to_numpy(values)
    x = x[~np.isnan(x)]
    value = quantile(x, 0.5) if x.size else math.inf
    return value if math.isfinite(value) else None
