"""Date a change that is known to be there: jumps, ramps and shares, each with an interval.

These fits never decide whether something happened (`noise` does): every healthy run changes.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from tod.findings.change import MAD, rss_of_lines, sums_of_lines
from tod.findings.finding import Onset

RAMP = 0.5
"""Share of the whole change that a ramp must carry itself."""
SPAN = 10.0
"""Rise of the scaled residual sum of squares that an interval of the onset allows."""


def _variance_inflation(rest: Float[np.ndarray, " T"]) -> float:
    """(1 + ρ)/(1 − ρ) of the residuals' lag-one correlation, from 1 to 9."""
    rest = rest - rest.mean()
    total = float((rest * rest).sum())
    if len(rest) < 4 or total <= 0:
        return 1.0
    rho = min(max(float((rest[1:] * rest[:-1]).sum()) / total, 0.0), 0.8)
    return (1 + rho) / (1 - rho)


def _interval(
    steps: Int[np.ndarray, " T"], splits: np.ndarray, loss: np.ndarray, best: int
) -> Onset:
    """Steps whose loss, in units of 2·log-likelihood, is within ``SPAN`` of the best, ± 1."""
    near = splits[loss <= loss.min() + SPAN]
    low, high = max(int(near.min()) - 1, 0), min(int(near.max()) + 1, len(steps) - 1)
    return Onset(int(steps[best]), int(steps[low]), int(steps[high]))


def share_change(count: Int[np.ndarray, " T"], total: Int[np.ndarray, " T"]) -> int:
    """Position of the change of a share of groups: the exact binomial likelihood ratio over s.

    Args:
        count: Groups that have the property, [T].
        total: Groups, [T].

    Returns:
        Position of the first step of the last segment; 0 where one segment explains the counts.
    """
    splits, loss = _share_loss(count, total)
    if not len(splits):
        return 0
    one = _deviance(count.sum(), total.sum())
    best = int(np.argmin(loss))
    return int(splits[best]) if one - loss[best] > SPAN else 0


def share_onset(
    steps: Int[np.ndarray, " T"], count: Int[np.ndarray, " T"], total: Int[np.ndarray, " T"]
) -> Onset:
    """Onset of a share of groups, with its interval; from the first step if nothing changes."""
    at = share_change(count, total)
    if at == 0:
        return Onset(None, int(steps[0]), int(steps[0]))
    splits, loss = _share_loss(count, total)
    return _interval(steps, splits, loss, at)


def _deviance(count: np.ndarray | int, total: np.ndarray | int) -> np.ndarray:
    """−2·log-likelihood of counts under their own share, the binomial coefficient left out."""
    k, n = np.asarray(count, dtype=float), np.asarray(total, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(k > 0, k * np.log(k / n), 0.0) + np.where(
            n > k, (n - k) * np.log((n - k) / n), 0.0
        )
    return -2 * inside


def _share_loss(
    count: Int[np.ndarray, " T"], total: Int[np.ndarray, " T"]
) -> tuple[np.ndarray, np.ndarray]:
    splits = np.arange(1, len(count))
    before_k, before_n = np.cumsum(count)[:-1], np.cumsum(total)[:-1]
    after_k, after_n = count.sum() - before_k, total.sum() - before_n
    return splits, _deviance(before_k, before_n) + _deviance(after_k, after_n)


def jump_onset(steps: Int[np.ndarray, " T"], values: Float[np.ndarray, " T"]) -> Onset:
    """Onset of a jump: the best split into two constants or two lines, by BIC, then nearer by.

    A second pass looks only at max(15, T/4) steps on either side of the first answer.
    """
    size = len(values)
    best, _, _ = _best_split(values)
    reach = max(15, size // 4)
    low, high = max(best - reach, 0), min(best + reach, size)
    inner, splits, loss = _best_split(values[low:high])
    return _interval(steps[low:high], splits, loss, inner)


def _best_split(values: Float[np.ndarray, " T"]) -> tuple[int, np.ndarray, np.ndarray]:
    """Best split, all splits and their scaled losses, of two constants or of two lines."""
    size = len(values)
    sums = sums_of_lines(values)
    found: list[tuple[float, np.ndarray, np.ndarray, int]] = []
    for degree in (0, 1):
        least = degree + 1
        splits = np.arange(least, size - least + 1)
        if not len(splits):
            continue
        start, end = np.zeros_like(splits), np.full_like(splits, size)
        rss = rss_of_lines(sums, start, splits, degree) + rss_of_lines(sums, splits, end, degree)
        parameters = 2 * (degree + 1)
        scale = max(
            float(rss.min()) / max(size - parameters, 1), 1e-24 * float(sums[4, -1]) + 1e-300
        )
        bic = size * np.log(scale) + (parameters + 1) * np.log(size)
        found.append((bic, splits, rss / scale, parameters))
    if not found:
        return 0, np.zeros(1, dtype=np.int64), np.zeros(1)
    _, splits, loss, _ = min(found, key=lambda item: item[0])
    best = int(splits[np.argmin(loss)])
    rest = np.concatenate([x - x.mean() for x in (values[:best], values[best:])])
    return best, splits, loss / _variance_inflation(rest)


def ramp_onset(steps: Int[np.ndarray, " T"], values: Float[np.ndarray, " T"]) -> Onset:
    """Onset of a slow change: a line, a continuous bend at s, from e on a free line.

    (s, e) are fitted together; a jump and a single line compete by BIC. The window starts at most
    0.45·T before the step that passes 60 % of the way. Where the single line wins, or the slope
    before the bend is at least 0.6 of the slope after it, it began with the first step.
    """
    size = len(values)
    if size < 8:
        return jump_onset(steps, values)
    width = max(3, size // 25)
    smooth = np.convolve(np.pad(values, width // 2, mode="edge"), np.ones(width) / width, "valid")
    low, high = float(smooth[: max(3, size // 5)].mean()), float(smooth[-3:].mean())
    if _abrupt(values, abs(high - low)):
        return jump_onset(steps, values)
    beyond = np.flatnonzero((smooth - low) * np.sign(high - low) >= 0.6 * abs(high - low))
    passage = int(beyond[0]) if len(beyond) else size - 1
    first = max(0, passage - int(0.45 * size))
    y = values[first:]
    splits, loss, slopes, kind = _bend(y, RAMP * abs(high - low))
    began = Onset(None, int(steps[0]), int(steps[0]))
    if kind == "line":
        return began
    best = int(splits[np.argmin(loss)])
    before = values[: first + best]
    if kind == "bend" and first:
        slopes = (float(np.polyfit(np.arange(len(before)), before, 1)[0]), slopes[1])
    if kind == "bend" and _same_way(slopes):
        return began
    return _interval(steps[first:], splits, loss, best)


def _abrupt(values: Float[np.ndarray, " T"], change: float) -> bool:
    """Whether one step alone makes half of the change, beyond four standard errors of noise."""
    moves = np.abs(np.diff(values))
    noise = MAD * float(np.median(moves)) / np.sqrt(2)
    return bool(moves.max() >= max(0.5 * change, 4 * np.sqrt(2) * noise))


def _same_way(slopes: tuple[float, float]) -> bool:
    """Whether the slope before the bend is already 0.6 of the slope after it."""
    before, after = slopes
    return after != 0 and before / after >= 0.6


def _bend(
    y: Float[np.ndarray, " T"], least: float
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], Literal["line", "bend", "jump"]]:
    """Best bend: its places, their scaled losses, slopes before and after, and what won by BIC.

    Only bends whose ramp itself moves by ``least``: else the free line would do the work of a jump.
    """
    size = len(y)
    sums = sums_of_lines(y)
    line = float(rss_of_lines(sums, np.array([0]), np.array([size]))[0])
    rss, slopes = _hinges(y, least)
    ends = np.arange(size + 1)
    tail = rss_of_lines(sums, ends, np.full(size + 1, size))
    # a free line takes four steps at least; without one the bend runs to the end
    tail[size - 3 : size] = np.inf
    whole = rss + tail[None, :]
    splits = np.arange(2, size - 2)
    profile = whole[splits].min(axis=1)
    free = whole[splits].argmin(axis=1) < size
    bent = float(profile.min())
    at = int(np.argmin(profile))
    parameters = 5 if free[at] else 3
    jump, jump_splits, jump_loss = _best_split(y)
    pieces = [
        float(rss_of_lines(sums, np.array([a]), np.array([b]))[0])
        for a, b in ((0, jump), (jump, size))
    ]
    tiny = 1e-24 * float(sums[4, -1]) + 1e-300

    def bic(residual: float, count: int) -> float:
        # few steps for many parameters fit noise: the penalty grows as for corrected criteria
        penalty = count * np.log(size) * size / max(size - count, 1)
        return float(size * np.log(residual / size + tiny) + penalty)

    # a place that is searched for costs two parameters
    searched = 4 if free[at] else 2
    scores = {
        "line": bic(line, 2),
        "bend": bic(bent, parameters + searched),
        "jump": bic(sum(pieces), 4 + 2),
    }
    best = min(scores, key=lambda name: scores[name])
    if best == "jump":
        return jump_splits, jump_loss, (0.0, 0.0), "jump"
    if best == "line":
        return splits, profile, (0.0, 0.0), "line"
    s, e = int(splits[at]), int(whole[splits[at]].argmin())
    scale = max(bent / max(size - parameters, 1), tiny)
    rest = _hinge_rest(y, s, e)
    return splits, profile / (scale * _variance_inflation(rest)), slopes(s, e), "bend"


def _hinges(
    y: Float[np.ndarray, " T"], least: float
) -> tuple[np.ndarray, Callable[[int, int], tuple[float, float]]]:
    """RSS of a line with one bend at s over steps before e, [T, T+1]; ∞ where e < s + 3.

    Closed form by prefix sums: the line's RSS less what the hinge max(0, t − s) adds to it.
    """
    size = len(y)
    sums = sums_of_lines(y)
    zeros = np.zeros(size + 1, dtype=np.int64)
    ends = np.arange(size + 1)
    n, t, total, ty, _, tt = sums[:, ends]
    rows = np.arange(size)[:, None]
    s = rows - (size - 1) / 2
    part = sums[:, None, :] - sums[:, :size, None]  # over s <= t < e
    h = part[1] - s * part[0]
    hh = part[5] - 2 * s * part[1] + s * s * part[0]
    ht = part[5] - s * part[1]
    hy = part[3] - s * part[2]
    safe = np.maximum(n, 1)
    spread = np.where(tt - t * t / safe > 0, tt - t * t / safe, 1.0)
    t_y, t_h = ty - t * total / safe, ht - t * h / safe
    own = hh - h * h / safe - t_h * t_h / spread
    gain = hy - h * total / safe - t_h * t_y / spread
    line = rss_of_lines(sums, zeros, ends)
    with np.errstate(divide="ignore", invalid="ignore"):
        rss = line[None, :] - np.where(own > 1e-9, gain * gain / np.where(own > 0, own, 1), 0.0)
        moved = np.abs(gain / np.where(own > 1e-9, own, np.inf)) * (ends[None, :] - rows)
    late = (ends[None, :] < rows + 3) | (moved < least)
    rss = np.where(late, np.inf, np.maximum(rss, 0.0))

    def slopes(s_at: int, e_at: int) -> tuple[float, float]:
        bend = float(gain[s_at, e_at] / own[s_at, e_at])
        before = float((t_y[e_at] - bend * t_h[s_at, e_at]) / spread[e_at])
        return before, before + bend

    return rss, slopes


def _hinge_rest(y: Float[np.ndarray, " T"], s: int, e: int) -> Float[np.ndarray, " T"]:
    """Residuals of the bent line before e and the free line from it on."""
    t = np.arange(len(y), dtype=float)
    design = np.zeros((len(y), 5))
    design[:e, 0], design[:e, 1], design[:e, 2] = 1, t[:e], np.maximum(0, t[:e] - s)
    design[e:, 3], design[e:, 4] = 1, t[e:]
    used = design[:, np.abs(design).sum(axis=0) > 0]
    rest: np.ndarray = y - used @ np.linalg.lstsq(used, y, rcond=None)[0]
    return rest
