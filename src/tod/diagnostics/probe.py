"""A probe: candidates of the reference, drawn once and scored under the policy again and again.

What a policy no longer samples is in none of its own batches, so that every statistic of them
reads well after a collapse. Candidates that the reference b drew still ask for it:

    x = U, y = log π − log b        both centred within a context whose utilities differ
    η̂ = Σ x·y / Σ x²                the sharpness that the policy has reached
    δ = mean_c Σ (y − η̂·x)²/(K−1)   damage: what no sharpness explains, nats²
    KL(b‖π) = E_b[log b − log π]    what the policy lost of the reference, nats

On π = b·exp(ηU)/Z the first two are η and 0, whatever Z(c) is. Candidates of the policy itself
have no such power: of a mode that is gone they hold nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, DataError, Groups, to_numpy
from tod.diagnostics.classes import constant_within
from tod.diagnostics.path import path_sums
from tod.diagnostics.record import Record

__all__ = ["ProbeReading", "read_probe"]


@dataclass(frozen=True)
class ProbeReading(Record):
    """What a policy says of the candidates of a probe; None is unknown.

    Attributes:
        eta: η̂, the slope of log π/b on the utility, pooled over informative contexts.
        delta: δ, nats², at least 0; ∞ where the policy excludes a candidate.
        kl: KL(b‖π), nats a sequence, mean over contexts; below 0 only by chance.
        kl_error: Its standard error, clustered by context.
        contexts: Contexts whose utilities differ: those behind ``eta`` and ``delta``.
        candidates: Candidates of all contexts.
    """

    eta: float | None = None
    delta: float | None = None
    kl: float | None = None
    kl_error: float | None = None
    contexts: int = 0
    candidates: int = 0


def read_probe(
    utility: Float[Array, " N"],
    log_reference: Float[Array, " N"],
    log_policy: Float[Array, " N"],
    contexts: Groups,
) -> ProbeReading:
    """η̂, δ and KL(b‖π) on candidates of the reference, float64.

    ``eta`` and ``delta`` are None where no context has two different utilities. A candidate that
    the policy excludes (log π = −∞) makes ``delta`` and ``kl`` infinite and ``eta`` None.

    Args:
        utility: U of every candidate.
        log_reference: log b of every candidate, nats, as it was drawn: finite.
        log_policy: log π of every candidate, nats.
        contexts: Candidates in contexts.

    Raises:
        DataError: A utility or a log-prob of the reference is not finite, or log π is NaN or +∞.

    Source: TOD framework, section 6 (equation probe)
    """
    x, b, p = (to_numpy(v).astype(np.float64) for v in (utility, log_reference, log_policy))
    _check(x, b, p)
    gaps = np.asarray(contexts.mean(b - p))
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if _spread_known(gaps) else None
    kl = float(gaps.mean()) if len(gaps) else None
    at = np.flatnonzero(~constant_within(x, contexts))
    if not len(at):
        return ProbeReading(None, None, kl, error, 0, len(x))
    eta, delta = _slope_and_rest(x, p - b, contexts, at)
    return ProbeReading(eta, delta, kl, error, len(at), len(x))


def _spread_known(gaps: Float[np.ndarray, " C"]) -> bool:
    return len(gaps) > 1 and bool(np.isfinite(gaps).all())


def _slope_and_rest(
    x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"], contexts: Groups, at: Any
) -> tuple[float | None, float]:
    """η̂ and δ over the chosen contexts."""
    chosen, rows = contexts.take(at)
    if not np.isfinite(y[rows]).all():
        return None, math.inf
    sums = path_sums(x[rows], y[rows], chosen)
    return float(sums.slope), float(sums.delta)


def _check(x: Any, b: Any, p: Any) -> None:
    for name, values, usable in (
        ("utility", x, np.isfinite(x)),
        ("log_reference", b, np.isfinite(b)),
        ("log_policy", p, p < np.inf),
    ):
        if not usable.all():
            row = int(np.argmin(usable))
            raise DataError(
                f"{name} of candidate {row} of the probe is {values[row]}: a probe compares finite "
                "numbers. Leave the candidate out, or score it again."
            )
