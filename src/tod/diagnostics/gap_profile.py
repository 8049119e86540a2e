"""What parts two policies that should be one: the shape of their gap over the tokens of a step."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.diagnostics.drift import GapSums

__all__ = ["GapKind", "GapProfile"]

GapKind = Literal[
    "none", "truncated", "temperature", "prefix", "other_text", "reference", "weights"
]
"""What one step's tokens look like; ``weights`` is other weights or another precision."""

NEARER = 5.0
"""Times that b must be nearer to the reference than to a, to be the reference."""

ABOVE = 0.05
"""Gap in nats that rounding does not make in one token of a hundred."""
HARMLESS = 0.03
"""Root mean square gap, nats a token, below which two engines are one."""


@dataclass
class GapProfile:
    """Running sums of d = log a − log b over tokens drawn from b, and of log b.

    Attributes:
        sequences: How many sequences.
        tokens: How many tokens.
        total: Σ d.
        squares: Σ d².
        ratios: Σ e^d; ∞ where that leaves the float range.
        above: Tokens with d > 0.05.
        level: Σ log b.
        level_squares: Σ (log b)².
        cross: Σ d·log b.
        head: Σ d² over the first quarter of every sequence.
        head_tokens: Tokens of it.
        tail: Σ d² over the last quarter.
        tail_tokens: Tokens of it.
        reference: Σ (log r − log b)² of a reference r, over the tokens of which that is known.
        reference_tokens: Those tokens.
    """

    sequences: int = 0
    tokens: int = 0
    total: float = 0.0
    squares: float = 0.0
    ratios: float = 0.0
    above: int = 0
    level: float = 0.0
    level_squares: float = 0.0
    cross: float = 0.0
    head: float = 0.0
    head_tokens: int = 0
    tail: float = 0.0
    tail_tokens: int = 0
    reference: float = 0.0
    reference_tokens: int = 0

    def add(
        self,
        log_a: Float[np.ndarray, " M"],
        log_b: Float[np.ndarray, " M"],
        sequences: Groups,
        sums: GapSums | None = None,
        log_reference: Float[np.ndarray, " M"] | None = None,
    ) -> None:
        """Some sequences, token by token; ``sums`` of the same tokens spares computing them."""
        d = log_a - log_b
        if sums is None:
            sums = GapSums()
            sums.add(d)
        square = d * d
        self.sequences += len(sequences)
        self.tokens += sums.tokens
        self.total += sums.total
        self.squares += 2 * sums.k2
        self.ratios += sums.tokens + sums.growth
        self.above += int(np.count_nonzero(d > ABOVE))
        self.level += float(log_b.sum())
        self.level_squares += float((log_b * log_b).sum())
        self.cross += float((d * log_b).sum())
        sizes, start = sequences.sizes, sequences.offsets[:-1]
        head, tail = -(-sizes // 4), sizes // 4  # places below 1/4 of the length, and from 3/4 on
        self.head += _within(square, start, head)
        self.head_tokens += int(head.sum())
        self.tail += _within(square, start + sizes - tail, tail)
        self.tail_tokens += int(tail.sum())
        if log_reference is not None:
            self.reference += float(((log_reference - log_b) ** 2).sum())
            self.reference_tokens += len(log_b)

    @property
    def mean(self) -> float:
        """Mean of d, nats a token; −KL(b‖a) for draws from b. NaN without tokens."""
        return self.total / self.tokens if self.tokens else math.nan

    @property
    def rms(self) -> float:
        """Root mean square of d, nats a token; NaN without tokens."""
        return math.sqrt(self.squares / self.tokens) if self.tokens else math.nan

    @property
    def by_sequence(self) -> float:
        """Mean of Σ d of a sequence, nats; NaN without sequences."""
        return self.total / self.sequences if self.sequences else math.nan

    @property
    def mean_ratio(self) -> float:
        """Mean of e^d over tokens: 1 where b draws from all that a can say; NaN without tokens."""
        return self.ratios / self.tokens if self.tokens else math.nan

    @property
    def share_above(self) -> float:
        """Share of tokens that a likes better than b by 0.05 nats and more."""
        return self.above / self.tokens if self.tokens else math.nan

    @property
    def slope(self) -> float:
        """Slope of log a on log b by least squares: 1 but for a temperature. NaN without spread."""
        spread = self._spread
        return 1 + self._covariance / spread if spread > 0 else math.nan

    @property
    def correlation(self) -> float:
        """Correlation of log a and log b over tokens; NaN where one of them does not vary."""
        spread, covariance = self._spread, self._covariance
        of_gap = self.squares / max(self.tokens, 1) - self.mean**2
        of_first = spread + of_gap + 2 * covariance
        if spread <= 0 or of_first <= 0:
            return math.nan
        return (spread + covariance) / math.sqrt(spread * of_first)

    @property
    def head_over_tail(self) -> float:
        """RMS gap of the first quarter over that of the last: a prefix that differs fades away."""
        if not self.head_tokens or not self.tail_tokens or self.tail <= 0:
            return math.nan
        return math.sqrt(self.head / self.head_tokens / (self.tail / self.tail_tokens))

    @property
    def is_reference(self) -> bool:
        """Whether b is the reference: no more than rounding off it, and five times nearer than a.

        Only where the reference is known of every token.
        """
        if not self.tokens or self.reference_tokens != self.tokens:
            return False
        rms = math.sqrt(self.reference / self.tokens)
        return rms < HARMLESS and NEARER * rms < self.rms

    @property
    def kind(self) -> GapKind:
        """What the tokens look like, by the first rule that holds.

        Nothing: RMS below 0.03. Reference: ``is_reference``. Truncated support of b: no gap above 0
        and a mean below −0.03. Temperature: a slope off 1 by 0.12 with a correlation above 0.9.
        Prefix: RMS of the first quarter 4 times that of the last. Other text: mean below −1 and RMS
        above 1.5. Else weights.
        """
        if not self.tokens or self.rms < HARMLESS:
            return "none"
        if self.is_reference:
            return "reference"
        if self.share_above < 0.01 and self.mean < -0.03:
            return "truncated"
        if abs(self.slope - 1) > 0.12 and self.correlation > 0.9:
            return "temperature"
        if self.head_over_tail > 4:
            return "prefix"
        if self.mean < -1 and self.rms > 1.5:
            return "other_text"
        return "weights"

    @property
    def _spread(self) -> float:
        """Variance of log b over tokens."""
        n = max(self.tokens, 1)
        return max(self.level_squares / n - (self.level / n) ** 2, 0.0)

    @property
    def _covariance(self) -> float:
        """Covariance of d and log b over tokens."""
        n = max(self.tokens, 1)
        return self.cross / n - self.total / n * self.level / n


def _within(values: Float[np.ndarray, " M"], start: Any, size: Any) -> float:
    """Sum of the values in stretches that do not overlap, in order; empty ones are none."""
    filled = size > 0
    bounds = np.stack([start, start + size], axis=1)[filled].ravel()
    if bounds.size and bounds[-1] == values.size:
        bounds = bounds[:-1]
    return float(np.add.reduceat(values, bounds)[::2].sum()) if bounds.size else 0.0
