"""How sure a change of a series is: noise of a window's mean, and the gate a change must pass.

Learning is itself a change, so no test for change alone can tell a fault. A finding is an effect
that a person cares about, exceeded by its confidence limit.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SIGMAS = 4.5
"""Standard errors by which an effect must exceed the smallest one that matters."""
MAD = 1.4826
"""Standard deviation of normal noise per median absolute deviation."""
BLOCKS = 12
"""Blocks from which their second differences estimate the noise."""


def window(steps: int) -> int:
    """Length w of the windows at the ends of a series of T steps: T/10, from 3 to 12."""
    return max(3, min(12, round(steps / 10)))


def without_outliers(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """A series whose single outlying steps are replaced by the median of them and their neighbours.

    Outlying: further from that median than 8 robust deviations of the steps from their medians, so
    that noise stays as it is. A level that lasts two steps is none.
    """
    if len(values) < 5:
        return values
    padded = np.pad(values, 1, mode="edge")
    middle = np.median(np.stack([padded[:-2], values, padded[2:]]), axis=0)
    apart = np.abs(values - middle)
    steps = MAD * float(np.median(np.abs(np.diff(values)))) / np.sqrt(2)
    cleaned: np.ndarray = np.where(apart > 8 * steps, middle, values) if steps > 0 else values
    return cleaned


def start_level(values: Float[np.ndarray, " T"]) -> float:
    """Median of the first fifth of a series, of three values at least."""
    return float(np.median(values[: max(3, len(values) // 5)]))


def end_level(values: Float[np.ndarray, " T"]) -> float:
    """Mean of the last window."""
    return float(values[-window(len(values)) :].mean())


def moving_mean(values: Float[np.ndarray, " T"], width: int) -> Float[np.ndarray, " T-w+1"]:
    """Mean of every window of ``width`` values; empty where there are fewer."""
    total = np.concatenate([np.zeros(1), np.cumsum(values)])
    means: np.ndarray = (total[width:] - total[:-width]) / width
    return means


def sums_of_lines(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " 6 T+1"]:
    """Prefix sums of 1, t, y, t·y, y² that every fit of a line to a stretch needs.

    Steps and values are centred first, so that the differences keep their digits.
    """
    t = np.arange(len(values)) - (len(values) - 1) / 2
    y = values - values.mean()
    rows = np.stack([np.ones_like(t), t, y, t * y, y * y, t * t])
    sums: np.ndarray = np.concatenate([np.zeros((6, 1)), np.cumsum(rows, axis=1)], axis=1)
    return sums


def rss_of_lines(
    sums: Float[np.ndarray, " 6 T+1"], first: np.ndarray, last: np.ndarray, degree: int = 1
) -> np.ndarray:
    """Residual sum of squares of a constant (0) or a line (1) over steps first ≤ t < last.

    Args:
        sums: Of `sums_of_lines`.
        first: Starts of the stretches.
        last: Their ends, not included.
        degree: 0 for a constant, 1 for a line.

    Returns:
        One number per stretch; 0 for a stretch of no more values than parameters.
    """
    n, t, y, ty, yy, tt = sums[:, last] - sums[:, first]
    safe = np.maximum(n, 1)
    rss = yy - y * y / safe
    if degree:
        spread = tt - t * t / safe
        slope_part = ty - t * y / safe
        with np.errstate(divide="ignore", invalid="ignore"):
            rss = np.where(n > 2, rss - slope_part**2 / np.where(spread > 0, spread, 1), 0.0)
    positive: np.ndarray = np.maximum(np.where(n > degree + 1, rss, 0.0), 0.0)
    return positive


def _without_one_change(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Residuals of the best pair of lines, so that a change does not hide itself as noise."""
    size = len(values)
    rest = np.asarray(values - values.mean())
    if size < 6:
        return rest
    sums = sums_of_lines(values)
    splits = np.arange(3, size - 2)
    start, end = np.zeros_like(splits), np.full_like(splits, size)
    rss = rss_of_lines(sums, start, splits) + rss_of_lines(sums, splits, end)
    best = int(splits[np.argmin(rss)])
    for piece in (slice(0, best), slice(best, size)):
        t = np.arange(size)[piece]
        slope, level = np.polyfit(t - t.mean(), values[piece], 1)
        rest[piece] = values[piece] - (level + slope * (t - t.mean()))
    return rest


def window_error(
    values: Float[np.ndarray, " T"], error: Float[np.ndarray, " T"] | None = None
) -> float:
    """Standard error of the mean of a window of w steps, steps not being independent.

    Robust second differences of the means of blocks of v = max(3, T/25) steps, after the best
    two-line fit, times √(v/w)·1.15; with fewer than 12 blocks 1.6·σ/√w of the first differences.
    Never below what the data of a step alone give, error/√w. No model of the correlation.

    Args:
        values: A series, [T].
        error: Standard errors of its values by their own data, [T], or None.
    """
    size = len(values)
    width = window(size)
    rest = _without_one_change(values)
    block = max(3, size // 25)
    count = size // block
    if count >= BLOCKS:
        means = rest[: count * block].reshape(count, block).mean(axis=1)
        second = means[:-2] - 2 * means[1:-1] + means[2:]
        spread = MAD * float(np.median(np.abs(second))) / np.sqrt(6)
        noise = spread * np.sqrt(block / width) * 1.15
    else:
        steps = np.diff(rest)
        spread = MAD * float(np.median(np.abs(steps))) / np.sqrt(2) if len(steps) else 0.0
        noise = 1.6 * spread / np.sqrt(width)
    known = np.zeros(0) if error is None else error[np.isfinite(error)]
    floor = float(np.median(known)) / np.sqrt(width) if len(known) else 0.0
    return float(max(noise, floor))


@dataclass(frozen=True)
class Change:
    """A change of a series, with what it could be at least.

    Attributes:
        effect: Size of the change.
        least: Its lower confidence limit: effect − 4.5·√2·error of a window.
        error: Standard error of a window's mean.
    """

    effect: float
    least: float
    error: float

    @property
    def sigmas(self) -> float:
        """The effect in standard errors of a difference of two windows."""
        return self.effect / max(2**0.5 * self.error, 1e-300)

    def passes(self, effect: float, least: float) -> bool:
        """Whether the effect exceeds one bound, and its confidence limit a lower one."""
        return self.effect > effect and self.least > least


def change(effect: float, error: float) -> Change:
    """A change between two windows whose means have this standard error."""
    return Change(effect, effect - SIGMAS * float(np.sqrt(2)) * error, error)
