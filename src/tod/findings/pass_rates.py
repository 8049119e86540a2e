"""The law of pass rates over prompts behind counts of passes: what more samples would bring."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SIZES = (4, 8, 16, 32, 64)
"""Group sizes that a remedy considers."""


@dataclass(frozen=True)
class PassRates:
    """A beta law of the pass rate p over prompts: p ~ Beta(a, b), k | p ~ Binomial(K, p).

    Attributes:
        a: First parameter, > 0.
        b: Second parameter, > 0.
    """

    a: float
    b: float

    @property
    def mean(self) -> float:
        """Mean pass rate."""
        return self.a / (self.a + self.b)

    def informative(self, k: int) -> float:
        """Expected share of groups of K with both passes and failures: 1 − E p^K − E (1−p)^K.

        K = 1 gives 0.
        """
        i = np.arange(k)
        total = np.log(self.a + self.b + i).sum()
        all_pass = float(np.exp(np.log(self.a + i).sum() - total))
        all_fail = float(np.exp(np.log(self.b + i).sum() - total))
        return max(0.0, 1.0 - all_pass - all_fail)

    def best_size(self, sizes: tuple[int, ...] = SIZES) -> int:
        """Group size with the most informative groups per sample; the smaller on a tie."""
        return max(sizes, key=lambda k: (self.informative(k) / k, -k))


def fit_pass_rates(count: Int[np.ndarray, " G"], size: Int[np.ndarray, " G"]) -> PassRates | None:
    """Maximum-likelihood beta law of pass rates over prompts.

    The likelihood of k passes of K is Π_{i<k}(a+i) Π_{j<K−k}(b+j) / Π_{m<K}(a+b+m), so that no
    gamma function is needed; (mean, concentration) are searched on a grid that shrinks five times.

    Args:
        count: Passes of every group, [G].
        size: Rollouts of every group, [G], of which those of one alone say nothing of the spread.

    Returns:
        The law; None without a group of two or more. All passes, or all failures, give a law near
        that edge, never on it.
    """
    several = size > 1
    if not several.any():
        return None
    pairs, weight = np.unique(np.stack([count[several], size[several]]), axis=1, return_counts=True)
    successes, trials = pairs.astype(np.int64)
    low, high = np.array([-7.0, -3.0]), np.array([7.0, 7.0])  # logit of the mean, log of a + b
    best = (low + high) / 2
    for _ in range(5):
        axes = [np.linspace(lo, hi, 15) for lo, hi in zip(low, high, strict=True)]
        mean, total = np.meshgrid(1 / (1 + np.exp(-axes[0])), np.exp(axes[1]), indexing="ij")
        fit = _log_likelihood(mean * total, (1 - mean) * total, successes, trials, weight)
        i, j = np.unravel_index(int(np.argmax(fit)), fit.shape)
        best = np.array([axes[0][i], axes[1][j]])
        width = (high - low) / 14 * 2
        low, high = best - width, best + width
    mean_best, total_best = 1 / (1 + np.exp(-best[0])), np.exp(best[1])
    return PassRates(float(mean_best * total_best), float((1 - mean_best) * total_best))


def _log_likelihood(
    a: Float[np.ndarray, "m s"],
    b: Float[np.ndarray, "m s"],
    successes: Int[np.ndarray, " d"],
    trials: Int[np.ndarray, " d"],
    weight: Int[np.ndarray, " d"],
) -> Float[np.ndarray, "m s"]:
    """Of every (a, b) on a grid, by sums of logarithms that are shared between the counts."""
    most = int(trials.max())
    i = np.arange(most)[:, None, None]
    zero = np.zeros((1, *a.shape))
    of_a = np.concatenate([zero, np.cumsum(np.log(a + i), axis=0)])
    of_b = np.concatenate([zero, np.cumsum(np.log(b + i), axis=0)])
    of_sum = np.concatenate([zero, np.cumsum(np.log(a + b + i), axis=0)])
    each = of_a[successes] + of_b[trials - successes] - of_sum[trials]
    return np.tensordot(weight.astype(float), each, axes=1)
