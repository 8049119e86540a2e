"""What twice as many candidates would bring, from those that are there."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from tod.reranking.means import errors_95, mean_over_contexts

LARGEST_GAIN = 0.25
"""Most that a doubling adds to the best of one prompt's candidates in [0, 1]: f − f² at f = 1/2."""


@dataclass(frozen=True)
class Doubling:
    """The gain of a doubling.

    Attributes:
        first: Candidates before it.
        last: Candidates after it.
        low: Least gain that the population can have; of a doubling that was seen, its estimate.
        high: Largest gain.
        ci95: Interval of 95 % around both ends, over prompts; None below two prompts.
        method: ``seen``: both sizes lie within the candidates; ``moments``: bounded by two moments;
            ``twice``: at most twice the last.
    """

    first: int
    last: int
    low: float
    high: float
    ci95: tuple[float, float] | None
    method: Literal["seen", "moments", "twice"]

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {**vars(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def seen(
    before: Float[np.ndarray, " C"],
    after: Float[np.ndarray, " C"],
    first: int,
    last: int,
    *,
    bounded: bool,
) -> Doubling:
    """The gain between two sizes within the candidates, paired by prompt.

    Where it is the same in all prompts their spread tells no error: one prompt in 3/C may still be
    another, by 1 at most where the measure is ``bounded`` to [0, 1]; else there is no interval.
    """
    gain = after - before
    mean = mean_over_contexts(gain)
    ends = None if mean["ci95"] is None else (mean["ci95"][0], mean["ci95"][1])
    if ends is not None and not np.ptp(gain):
        rare = _of_rare_prompts(len(gain))
        ends = (mean["value"] - rare, mean["value"] + rare) if bounded else None
    return Doubling(first, last, mean["value"], mean["value"], ends, "seen")


def _of_rare_prompts(contexts: int) -> float:
    """Largest share of prompts of which none is among so many, with 95 % confidence: about 3/C."""
    return float(-np.expm1(np.log(0.05) / contexts))


def after_the_last(
    half: Float[np.ndarray, " C"], whole: Float[np.ndarray, " C"], k: int, *, bounded: bool
) -> Doubling:
    """Bounds of E[best of 2k] − E[best of k] from E[best of k/2] and E[best of k].

    With F the law of U in a prompt, 1 − E[best of j] = m_j = E∫F^j over prompts and u ∈ [0, 1]: the
    j-th moments of one law on [0, 1]. Given m_{k/2} = a and m_k = b, m_{2k} is least where that law
    has atoms at 0 and one place and largest where it has them at 1 and one place (Chebyshev and
    Markov; both are laws, so neither bound can be bettered):

        b³/a² ≤ m_{2k} ≤ 1 − (4A − 6B + 4B²/A − B³/A²),   A = 1 − a,  B = 1 − 2a + b.

    The interval's upper end is never below what prompts of another kind could add, of which C
    prompts need show none: 3/C of them, each by 1/4 at most, for F^k − F^2k ≤ 1/4.

    Where U is not within [0, 1] only m_k − m_{2k} ≤ 2·(m_{k/2} − m_k) is known.

    Args:
        half: E[best of k/2] by prompt, unbiased, [C].
        whole: E[best of k] by prompt, [C].
        k: Candidates, at least 2 and even.
        bounded: Whether U lies within [0, 1].

    Source: derived: Chebyshev and Markov's bounds of a moment (equation next-doubling)
    """
    if not bounded:
        return _at_most_twice(half, whole, k)
    a = 1.0 - float(half.mean())
    b = max(1.0 - float(whole.mean()), a * a)  # of every law; of an estimate only nearly
    low, low_by_a, low_by_b = _least_gain(a, b)
    high, high_by_a, high_by_b = _largest_gain(a, b)
    off = (half.mean() - half), (whole.mean() - whole)  # of the moments, 1 − E
    n = len(half)
    room = max(b, 0.0)
    if n < 2:
        return Doubling(k, 2 * k, low, high, None, "moments")
    errors = [
        np.sqrt(np.sum((by_a * off[0] + by_b * off[1]) ** 2) / (n * (n - 1)))
        for by_a, by_b in ((low_by_a, low_by_b), (high_by_a, high_by_b))
    ]
    t = errors_95(n)
    ends = (max(0.0, low - t * errors[0]), min(room, high + t * errors[1]))
    if not (np.ptp(half) or np.ptp(whole)):
        ends = (0.0, _of_rare_prompts(n))
    ends = (ends[0], max(ends[1], LARGEST_GAIN * _of_rare_prompts(n)))
    return Doubling(k, 2 * k, low, high, (float(ends[0]), float(ends[1])), "moments")


def _least_gain(a: float, b: float) -> tuple[float, float, float]:
    """B less the largest m_2k, and its derivatives in a and b."""
    A, B = 1.0 - a, 1.0 - 2.0 * a + b
    if A <= 0.0 or B <= 0.0:
        return 0.0, 0.0, 0.0
    gain = b - 1.0 + 4.0 * A - 6.0 * B + 4.0 * B**2 / A - B**3 / A**2
    by_A = 4.0 - 4.0 * B**2 / A**2 + 2.0 * B**3 / A**3
    by_B = -6.0 + 8.0 * B / A - 3.0 * B**2 / A**2
    return max(gain, 0.0), -by_A - 2.0 * by_B, 1.0 + by_B


def _largest_gain(a: float, b: float) -> tuple[float, float, float]:
    """B less the least m_2k = b³/a², and its derivatives in a and b."""
    if a <= 0.0:
        return 0.0, 0.0, 1.0
    return b - b**3 / a**2, 2.0 * b**3 / a**3, 1.0 - 3.0 * b**2 / a**2


def _at_most_twice(
    half: Float[np.ndarray, " C"], whole: Float[np.ndarray, " C"], k: int
) -> Doubling:
    last = mean_over_contexts(whole - half)
    ends = last["ci95"] if np.ptp(whole - half) else None
    high = 2.0 * max(last["value"], 0.0)
    reach = None if ends is None else (0.0, 2.0 * max(ends[1], 0.0))
    return Doubling(k, 2 * k, 0.0, high, reach, "twice")
