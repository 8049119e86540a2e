"""Does a server sample from the weights that the trainer holds; if not, from what else?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tod.base import DataError, Groups
from tod.diagnostics.gap_profile import GapProfile

__all__ = ["Alternative", "Sync", "SyncKind", "in_sync"]

SyncKind = Literal[
    "noise",
    "temperature",
    "truncated",
    "stale",
    "initial",
    "partly_old",
    "other_tokens",
    "other_prompt",
    "router",
    "weights",
]
"""``noise``: the same weights. ``weights``: others, and none that were compared with."""

ROUNDING = 4.0
"""Times the expected rounding noise that another engine's kernels may have."""
SIGMAS = 5.0
"""Standard errors by which an alternative must be told from the trainer's weights."""
BULK = 0.9
"""Share of Σd² that the tenth of the tokens with the largest gaps has where experts differ."""
_SHAPES: dict[str, SyncKind] = {
    "truncated": "truncated",
    "temperature": "temperature",
    "prefix": "other_prompt",
    "other_text": "other_tokens",
}


@dataclass(frozen=True)
class Alternative:
    """What a server may compute with instead.

    Attributes:
        kind: What that is.
        name: In a person's words, such as ``3 versions old``.
        log_prob: What it gives for the tokens, nats, [M].
    """

    kind: SyncKind
    name: str
    log_prob: Float[np.ndarray, " M"]


@dataclass(frozen=True)
class Sync:
    """What a probe says of a server.

    Attributes:
        kind: What the server computes with.
        name: Which alternative; "" for ``noise`` and for what no alternative tells.
        rms: Root mean square of log μ − log π, nats a token.
        limit: Up to which it may be rounding.
        left: The same of log μ less what the alternative gives; None without one.
        also: Alternatives that fit as well.
        hidden: Alternatives too close to the trainer's weights to be seen by this probe.
        tokens: Tokens of the probe.
    """

    kind: SyncKind
    name: str
    rms: float
    limit: float
    left: float | None
    also: tuple[str, ...]
    hidden: tuple[str, ...]
    tokens: int

    @property
    def good(self) -> bool:
        """Whether the server holds what the trainer holds."""
        return self.kind == "noise"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return vars(self) | {"also": list(self.also), "hidden": list(self.hidden)}


def in_sync(
    log_mu: Float[np.ndarray, " M"],
    log_policy: Float[np.ndarray, " M"],
    sequences: Groups,
    *,
    noise: float,
    alternatives: Sequence[Alternative] = (),
    experts: bool = False,
) -> Sync:
    """Compare a server's log-probs of some tokens with the trainer's, and with alternatives.

    With d = log μ − log π and Δ = log π_a − log π of an alternative a, the coefficient of d on Δ is
    α = Σ dΔ / Σ Δ²: 0 for the trainer's weights, 1 for the alternative, each ± its standard error
    s, which does not presume equal variances, s² = Σ Δ²(d − αΔ)² / (Σ Δ²)². The alternative is
    taken where α > ½, α > 5 s, and d − Δ is rounding; so it is seen even where the whole gap is no
    larger than rounding. Several: the one that leaves least.
    Where none is taken and RMS(d) is more than rounding, the shape of the gap is read.

    Args:
        log_mu: The server's log-probs, nats, [M].
        log_policy: The trainer's of the same tokens, nats, [M].
        sequences: The tokens in sequences.
        noise: Expected rounding of the server's arithmetic: RMS in nats a token, > 0.
        alternatives: What else it may hold; where several are equal the first one is named.
        experts: Whether the model has experts, between which routers may choose otherwise.

    Raises:
        DataError: No tokens, or columns of unequal length.

    Source: definition of regression on a difference; White 1980 for s (equation sync-alternative)
    """
    sizes = {
        len(log_mu),
        len(log_policy),
        sequences.total,
        *(len(a.log_prob) for a in alternatives),
    }
    if sizes != {len(log_mu)} or not len(log_mu):
        raise DataError(
            f"a probe of {sorted(sizes)} tokens: one log-prob each, at least one token."
        )
    limit = ROUNDING * noise
    gap = np.asarray(log_mu, np.float64) - log_policy
    fits = [_fit(gap, a.log_prob - log_policy) for a in alternatives]
    taken = [i for i, f in enumerate(fits) if f.taken and f.left <= limit]
    rms = _rms(gap)
    hidden = tuple(a.name for a, f in zip(alternatives, fits, strict=True) if f.hidden)
    if taken:
        best = min(taken, key=lambda i: fits[i].left)
        chosen = alternatives[best]
        rest = np.asarray(log_mu, np.float64) - chosen.log_prob
        also = tuple(
            alternatives[i].name
            for i in taken
            if i != best and not _excluded(rest, alternatives[i].log_prob - chosen.log_prob)
        )
        left = fits[best].left
        return Sync(chosen.kind, chosen.name, rms, limit, left, also, hidden, len(gap))
    kind: SyncKind = "noise"
    if rms > limit:
        cut = _cut_off(gap, limit)
        kind = "truncated" if cut else _shape(log_mu, log_policy, sequences, experts)
    return Sync(kind, "", rms, limit, None, (), hidden, len(gap))


@dataclass(frozen=True)
class _Fit:
    """How an alternative does: taken over the trainer's weights, what it leaves, or unseeable."""

    taken: bool
    left: float
    hidden: bool


def _fit(gap: Float[np.ndarray, " M"], change: Float[np.ndarray, " M"]) -> _Fit:
    alpha, error = _coefficient(gap, change)
    seen = alpha > 0.5 and alpha > SIGMAS * error
    return _Fit(seen, _rms(gap - change), not seen and SIGMAS * error > 0.5)


def _excluded(rest: Float[np.ndarray, " M"], change: Float[np.ndarray, " M"]) -> bool:
    """Whether the coefficient on a change is told from 1."""
    alpha, error = _coefficient(rest, change)
    return 1 - alpha > SIGMAS * error


def _coefficient(
    gap: Float[np.ndarray, " M"], change: Float[np.ndarray, " M"]
) -> tuple[float, float]:
    """α and its standard error; 0 and ∞ for a change that is nothing."""
    square = float(change @ change)
    if not square > 0 or not math.isfinite(square):
        return 0.0, math.inf
    alpha = float(gap @ change) / square
    error = math.sqrt(float(((change * (gap - alpha * change)) ** 2).sum())) / square
    return alpha, error


def _cut_off(gap: Float[np.ndarray, " M"], limit: float) -> bool:
    """Whether tokens are likelier to the server or as likely, never less: it renormalises the rest.

    Ten at least are, beyond rounding: of gaps of either sign that has a chance of 1e-3.
    """
    return int((gap > 3 * limit).sum()) >= 10 and not bool((gap < -3 * limit).any())


def _shape(
    log_mu: Float[np.ndarray, " M"],
    log_policy: Float[np.ndarray, " M"],
    sequences: Groups,
    experts: bool,
) -> SyncKind:
    """What the gap looks like where nothing that was compared with explains it."""
    squares = np.sort((log_mu - log_policy) ** 2)[::-1]
    most = float(squares[: -(-len(squares) // 10)].sum())
    if experts and most >= BULK * float(squares.sum()):
        return "router"
    profile = GapProfile()
    profile.add(log_policy, log_mu, sequences)
    return _SHAPES.get(profile.kind, "weights")


def _rms(values: Float[np.ndarray, " M"]) -> float:
    return math.sqrt(float(values @ values) / len(values))
