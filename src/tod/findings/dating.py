"""Date a change that is known to be there: jumps, ramps and shares, each with an interval.

These fits never decide whether something happened (`noise` does): every healthy run changes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tod.findings.change import MAD, rss_of_lines, sums_of_lines, window, window_error
from tod.findings.finding import Onset

PASSED = 0.75
"""Share of the whole change that is made when its way is followed back to the onset."""
ABRUPT = 0.5
"""Share of the whole change that one step makes of a jump."""
GAP = 0.6
"""Share of it by which two lines must miss each other to be a jump beside a steep ramp."""
EVIDENT = 16.0
"""Fall of the scaled residual sum of squares by which a bend must be better than a line."""
SAME_WAY = 0.6
"""Slope before a bend over the slope after it from which there was no onset."""
CURVED = 5.0
"""Scaled sum of squares of a curve in the ramp from which less of the ramp is used."""
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


@dataclass(frozen=True)
class Bend:
    """A line that bends once, fitted by least squares: y = a + b·t + c·max(0, t − s).

    Attributes:
        place: s, the last position on the first line.
        places: Positions that were tried.
        loss: Residual sum of squares of each of them, in units of the residual variance.
        gain: By how much the best is better than one line, in the same units.
        before: Slope b.
        after: Slope b + c.
        rest: Residuals.
    """

    place: int
    places: Int[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    gain: float
    before: float
    after: float
    rest: Float[np.ndarray, " T"]


def hinge_rss(y: Float[np.ndarray, " T"], places: Int[np.ndarray, " n"]) -> np.ndarray:
    """Residual sums of squares of a line with one bend, at each of some places.

    In closed form by prefix sums: the line's, less what the hinge max(0, t − s) adds to it.

    Args:
        y: Values at positions 0 … T−1.
        places: s of every bend; the line's own where no value lies beyond it.
    """
    size = len(y)
    sums = sums_of_lines(y)
    n, t, total, ty, _, tt = sums[:, -1]
    part = sums[:, [-1]] - sums[:, places]  # over s <= t
    s = places - (size - 1) / 2
    h = part[1] - s * part[0]
    hh = part[5] - 2 * s * part[1] + s * s * part[0]
    ht, hy = part[5] - s * part[1], part[3] - s * part[2]
    spread = max(float(tt - t * t / n), 1e-300)
    t_h, t_y = ht - t * h / n, ty - t * total / n
    own = hh - h * h / n - t_h * t_h / spread
    gain = hy - h * total / n - t_h * t_y / spread
    line = rss_of_lines(sums, np.array([0]), np.array([size]))
    part_of_hinge = np.where(own > 1e-9, gain**2 / np.where(own > 1e-9, own, 1.0), 0.0)
    rss: np.ndarray = np.maximum(line - part_of_hinge, 0.0)
    return rss


def bend(y: Float[np.ndarray, " T"], floor: float = 0.0) -> Bend:
    """The best place of one bend in a line, with two values before it and three after it.

    Args:
        y: At least six values.
        floor: Variance of the noise at least, so that a few values on a line are no proof.
    """
    size = len(y)
    places = np.arange(1, size - 2)
    rss = hinge_rss(y, places)
    best = int(places[np.argmin(rss)])
    t = np.arange(size, dtype=float)
    design = np.stack([np.ones(size), t, np.maximum(0, t - best)], axis=1)
    (_, before, more), *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    variance = float(rss.min()) / max(size - 4, 1) * _variance_inflation(rest)
    scale = max(variance, floor, 1e-24 * float((y * y).sum()) + 1e-300)
    line = float(rss_of_lines(sums_of_lines(y), np.array([0]), np.array([size]))[0])
    gain = (line - float(rss.min())) / scale
    return Bend(best, places, rss / scale, gain, float(before), float(before + more), rest)


def ramp_onset(
    steps: Int[np.ndarray, " T"],
    values: Float[np.ndarray, " T"],
    best: tuple[int, float] | None = None,
) -> Onset:
    """Onset of a slow change, or of a jump if it is one.

    From the step that has passed three quarters of the change its way is followed back, over ever
    longer stretches, to the first evident bend of a line. Then only as much of the ramp is fitted
    as its slope and the noise ask for, and as is straight: the rest could only bias the bend. Where
    no bend is evident it began with the first step.

    Args:
        steps: Training steps, [T].
        values: The series, in logarithms if it changes by factors.
        best: Position and level that the change left, where they are not the series' start.
    """
    size = len(values)
    if size < 8:
        return jump_onset(steps, values)
    change, passage = _passage(values, best)
    if _abrupt(values, change, passage):
        left = 0 if best is None else best[0]  # a larger jump may lead up to the best level
        return jump_onset(steps[left:], values[left:])
    jump = _jump_beside_a_ramp(steps, values, change, passage)
    if jump is not None:
        return jump
    floor = 2 * _variance(values)
    reach, first, rough = 8, passage, None
    while first > 0 and rough is None:
        first = max(0, passage + 1 - reach)
        rough = _evident(values[first : passage + 1], floor, float(np.sign(change)))
        reach = reach if rough is not None else round(1.5 * reach)
    if rough is None:
        return Onset(None, int(steps[0]), int(steps[0]))
    first, fine = _refined(values, first, rough, passage, 2 * reach, floor)
    near = fine.places[fine.loss <= fine.loss.min() + SPAN] + first + 1
    low, high = max(int(near.min()) - 1, 0), min(int(near.max()) + 1, size - 1)
    at = min(first + fine.place + 1, size - 1)
    return Onset(int(steps[at]), int(steps[low]), int(steps[high]))


def abrupt(values: Float[np.ndarray, " T"], best: tuple[int, float] | None = None) -> bool:
    """Whether one step makes half of the change of a series, beyond four errors of its noise.

    Args:
        values: The series, [T].
        best: As in `ramp_onset`.
    """
    return len(values) > 1 and _abrupt(values, *_passage(values, best))


def _passage(values: Float[np.ndarray, " T"], best: tuple[int, float] | None) -> tuple[float, int]:
    """The whole change, with its sign, and the position that has passed three quarters of it."""
    size = len(values)
    width = _smoothing(size)
    padded = np.pad(values, width // 2, mode="edge")
    smooth = np.convolve(padded, np.ones(width) / width, "valid")
    after, low = best or (0, float(np.median(values[: max(3, size // 5)])))
    change = float(smooth[-3:].mean()) - low
    beyond = (smooth - low) * np.sign(change) >= PASSED * abs(change)
    beyond[: after + (width // 2 if after else 0)] = (
        False  # there it is smoothed with what was before
    )
    return change, int(np.argmax(beyond)) if beyond.any() else size - 1


def _smoothing(size: int) -> int:
    """Values of a moving mean, an odd number."""
    return max(3, size // 25) | 1


def _variance(values: Float[np.ndarray, " T"]) -> float:
    """Variance of the noise of a step, by the median move."""
    moves = np.diff(values)
    return float(MAD * np.median(np.abs(moves - np.median(moves)))) ** 2 / 2


def _abrupt(values: Float[np.ndarray, " T"], change: float, passage: int) -> bool:
    """Whether one step near the passage makes half of the change, beyond four errors of noise."""
    moves = np.diff(values) * np.sign(change)
    noise = MAD * float(np.median(np.abs(moves))) / np.sqrt(2)
    near = _smoothing(len(values)) + 2
    largest = moves[max(0, passage - near) : passage + near].max(initial=-np.inf)
    return bool(largest >= max(ABRUPT * abs(change), 4 * np.sqrt(2) * noise))


def _jump_beside_a_ramp(
    steps: Int[np.ndarray, " T"], values: Float[np.ndarray, " T"], change: float, passage: int
) -> Onset | None:
    """The jump, if two lines around the passage miss each other and no ramp explains it better."""
    reach = max(12, int(0.15 * len(values)))
    first = max(0, passage - reach)
    y = values[first : passage + reach]
    size = len(y)
    if size < 8:
        return None
    at, splits, loss = _best_split(y)
    if not 2 <= at <= size - 2:
        return None
    t = np.arange(size)
    before, after = np.polyfit(t[:at], y[:at], 1), np.polyfit(t[at:], y[at:], 1)
    if abs(np.polyval(after, at) - np.polyval(before, at - 1)) < GAP * abs(change):
        return None
    sums = sums_of_lines(y)
    pieces = rss_of_lines(sums, np.array([0, at]), np.array([at, size])).sum()
    ramp = _ramp_rss(y, sums)
    if pieces - ramp > 6 * max(ramp / max(size - 5, 1), 1e-300):
        return None
    return _interval(steps[first:], splits, loss, at)


def _ramp_rss(y: Float[np.ndarray, " T"], sums: np.ndarray) -> float:
    """Least residual sum of squares of a line with a bend, and from some step on a free line."""
    size = len(y)
    ends = [end for end in range(5, size + 1) if end <= size - 4 or end == size]
    tails = rss_of_lines(sums, np.array(ends), np.full(len(ends), size))
    bent = [hinge_rss(y[:end], np.arange(1, end - 2)).min() for end in ends]
    return float((np.array(bent) + tails).min())


def _evident(y: Float[np.ndarray, " n"], floor: float, sign: float) -> Bend | None:
    """The bend into the direction of the change, where it is beyond noise and not the same way."""
    if len(y) < 6:
        return None
    fit = bend(y, floor)
    same = fit.after * sign <= 0 or fit.before / fit.after >= SAME_WAY
    return None if same or fit.gain < EVIDENT else fit


def _refined(
    values: Float[np.ndarray, " T"],
    first: int,
    fit: Bend,
    passage: int,
    most: int,
    floor: float,
) -> tuple[int, Bend]:
    """The bend by as much of the ramp as its slope c and the noise ask for: 25·σ²/c² steps.

    Over m steps the error of a bend is about 3·σ/(c·√m), σ² the long-run variance: 0.6 steps then.
    """
    noise = window_error(values) * float(np.sqrt(window(len(values))))
    straight = len(values)
    for _ in range(8):
        at, turn = first + fit.place, abs(fit.after - fit.before)
        wanted = np.ceil(25 * noise**2 / max(turn, 1e-150) ** 2)
        after = max(4, min(int(min(wanted, len(values))), passage + 1 - at, straight))
        before = min(max(10, 2 * after), most)
        start, end = max(0, at - before), min(len(values), at + after + 1)
        if end - start < 7:
            break
        first, fit = start, bend(values[start:end], floor)
        if after > 4 and _curve(fit.rest[fit.place :]) >= CURVED * floor:
            straight = int(0.7 * after)
    return first, fit


def _curve(rest: Float[np.ndarray, " n"]) -> float:
    """Sum of squares that a parabola takes out of residuals; 0 of fewer than six."""
    if len(rest) < 6:
        return 0.0
    t = np.arange(len(rest)) - (len(rest) - 1) / 2
    parabola = t * t - (t * t).mean()
    return float((parabola * rest).sum() ** 2 / (parabola * parabola).sum())
