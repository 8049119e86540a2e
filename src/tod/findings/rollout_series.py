"""Figures by training step of rollouts: rewards, zero-variance groups, lengths, texts."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.diagnostics import GapProfile
from tod.findings.codes import bounded, distinct
from tod.findings.run import RolloutTable, Series

ATOM = 5
"""Completions at the greatest length from which that length is taken for the limit."""
SHORT = 12
"""Greatest lengths below this are no limit: answers such as numbers have few lengths."""


def series_of(rollouts: RolloutTable) -> dict[str, Series]:
    """Every figure that the rollouts tell, by canonical name."""
    named = [
        *_rewards(rollouts),
        *_groups(rollouts),
        *_lengths(rollouts),
        *_texts(rollouts),
        *recorded(rollouts),
    ]
    return {series.name: series for series in named}


def fail_level(rollouts: RolloutTable) -> float:
    """Reward of a failed answer: the smallest reward of the run; NaN if none can be named.

    Where all rewards of the run are equal, that reward is a failure if it is 0 or less.
    """
    low, high = rollouts.range
    return low if low < high or low <= 0 else float("nan")


def pass_level(rollouts: RolloutTable) -> float:
    """Reward of a passed answer: the greatest reward of the run; NaN if none can be named.

    Where all rewards of the run are equal, that reward is a pass if it is greater than 0.
    """
    low, high = rollouts.range
    return high if low < high or high > 0 else float("nan")


def passed(rollouts: RolloutTable) -> Bool[np.ndarray, " N"]:
    """Whether a rollout is right: its reward is nearer to the greatest than to the smallest."""
    low, high = rollouts.range
    return rollouts.reward > (low + high) / 2


def group_classes(rollouts: RolloutTable) -> dict[str, Bool[np.ndarray, " G"]]:
    """Groups of several rollouts by what they teach.

    ``zero_variance``, and of these ``all_fail``, ``all_pass`` and ``all_tie`` (equal rewards
    between the two).
    """
    low = np.asarray(rollouts.groups.min(rollouts.reward))
    high = np.asarray(rollouts.groups.max(rollouts.reward))
    several = rollouts.groups.sizes > 1
    same = several & (low == high)
    fail, good = same & (high == fail_level(rollouts)), same & (low == pass_level(rollouts))
    return {
        "zero_variance": same,
        "all_fail": fail,
        "all_pass": good & ~fail,
        "all_tie": same & ~fail & ~good,
    }


def _rewards(rollouts: RolloutTable) -> Iterator[Series]:
    means = _means(rollouts, rollouts.reward)
    yield _of_groups(rollouts, "reward", means)
    if not rollouts.rewards:
        return
    for name, values in rollouts.rewards.items():
        yield _of_groups(rollouts, f"reward.{name}", _means(rollouts, values))


def _means(rollouts: RolloutTable, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " G"]:
    """Mean of a figure over the rollouts of every prompt."""
    return np.asarray(rollouts.groups.mean(values))


def recorded(rollouts: RolloutTable) -> Iterator[Series]:
    """What the files themselves say of rollouts: their lag in versions, failures, turns."""
    if rollouts.lag is not None:
        lag = _means(rollouts, rollouts.lag.astype(float))
        yield _of_groups(rollouts, "staleness", lag, "versions")
    if rollouts.failed:
        yield _failures(rollouts)
    elif rollouts.error is not None:
        failed = _means(rollouts, rollouts.error.astype(float))
        yield _of_groups(rollouts, "environment_errors", failed)
    if rollouts.turns is not None and np.isfinite(rollouts.turns).all():
        yield _of_groups(rollouts, "turns", _means(rollouts, rollouts.turns), "turns")


def _failures(rollouts: RolloutTable) -> Series:
    """Share of failed rollouts, those that left no reward among them, by step."""
    steps = np.union1d(rollouts.steps, list(rollouts.failed)).astype(np.int64)
    at = np.searchsorted(steps, rollouts.steps)
    count, failed = np.zeros((2, len(steps)))
    count[at] = rollouts.rows_of_step.sizes
    if rollouts.error is not None:
        failed[at] = np.asarray(rollouts.rows_of_step.sum(rollouts.error.astype(float)))
    lost = np.array([rollouts.failed.get(step, 0) for step in steps.tolist()], dtype=float)
    total = count + lost
    share = (failed + lost) / total
    error = np.sqrt(np.maximum(share * (1 - share), 0.25 / total) / total)
    return Series("environment_errors", steps, share, error)


def of_gaps(gaps: Mapping[int, GapProfile]) -> Series | None:
    """Root mean square of log π_old − log μ by step, nats a token; None without tokens."""
    read = {step: profile for step, profile in sorted(gaps.items()) if profile.tokens}
    if not read:
        return None
    steps = np.array(list(read), dtype=np.int64)
    rms = np.array([profile.rms for profile in read.values()])
    return Series("mismatch", steps, rms, unit="nats per token")


def _of_groups(
    rollouts: RolloutTable, name: str, values: Float[np.ndarray, " G"], unit: str = ""
) -> Series:
    """Mean over the prompts of a step, with its standard error: prompts are the sample."""
    groups = rollouts.by_step
    count = groups.sizes
    error = np.sqrt(np.asarray(groups.variance(values)) / count)
    return Series(name, rollouts.steps, np.asarray(groups.mean(values)), error, unit)


def _groups(rollouts: RolloutTable) -> Iterator[Series]:
    several = (rollouts.groups.sizes > 1).astype(float)
    total = np.asarray(rollouts.by_step.sum(several))
    if not rollouts.grouped or not total.any():
        return
    for name, member in group_classes(rollouts).items():
        with np.errstate(invalid="ignore", divide="ignore"):
            share = rollouts.by_step.sum(member.astype(float)) / total
            error = np.sqrt(np.maximum(share * (1 - share), 0.25 / total) / total)
        yield Series(name, rollouts.steps, share, error)


WELL_BEFORE = 0.8
"""Share of the limit that the median of the uncut answers stays under."""


def length_limit(rollouts: RolloutTable) -> int | None:
    """The greatest length if several completions have exactly it, and the others end well before.

    Answers of one form, such as a word and a number, end within a few characters of each other and
    were cut nowhere: half of the others must be shorter than `WELL_BEFORE` of the limit.
    """
    if rollouts.length is None or not len(rollouts.length):
        return None
    top = int(rollouts.length.max())
    if top < SHORT:
        return None
    at_top = int((rollouts.length == top).sum())
    others = rollouts.length[rollouts.length < top]
    just_below = int((others >= 0.95 * top).sum())
    if not len(others) or float(np.median(others)) >= WELL_BEFORE * top:
        return None
    return top if at_top >= max(ATOM, just_below) else None


def at_limit(rollouts: RolloutTable) -> Bool[np.ndarray, " N"] | None:
    """Which completions were cut: by the files' own word, else those at the greatest length."""
    if rollouts.truncated is not None:
        return rollouts.truncated
    limit = length_limit(rollouts)
    if rollouts.length is None:
        return None
    return np.zeros(len(rollouts.length), bool) if limit is None else rollouts.length == limit


def _lengths(rollouts: RolloutTable) -> Iterator[Series]:
    if rollouts.length is None:
        return
    length, unit = rollouts.length.astype(float), rollouts.length_unit
    yield _of_groups(rollouts, "length", _means(rollouts, length), unit)
    right = passed(rollouts)
    low, high = rollouts.range
    if low < high:
        for name, member in (("length_right", right), ("length_wrong", ~right)):
            yield _of_rows(rollouts, name, length, member, unit)
    cut = at_limit(rollouts)
    if cut is not None and cut.any():
        yield _of_groups(rollouts, "truncated", _means(rollouts, cut.astype(float)))
    yield _of_groups(rollouts, "empty", _means(rollouts, (length == 0).astype(float)))


def _of_rows(
    rollouts: RolloutTable,
    name: str,
    values: Float[np.ndarray, " N"],
    member: Bool[np.ndarray, " N"],
    unit: str,
) -> Series:
    """Mean over some rollouts of a step; NaN where there are fewer than three."""
    rows = rollouts.rows_of_step
    count = rows.sum(member)
    total = rows.sum(np.where(member, values, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count >= 3, total / count, np.nan)
        square = rows.sum(np.where(member, (values - rows.spread(mean)) ** 2, 0.0))
        error = np.sqrt(square / np.maximum(count - 1, 1) / count)
    return Series(name, rollouts.steps, mean, error, unit)


def distinct_per_group(groups: Groups, codes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " G"]:
    """Number of different codes in every group, [G]."""
    small = bounded(codes)
    width = int(small.max(initial=0)) + 1
    return np.bincount(distinct(groups.owner * width + small) // width, minlength=len(groups))


def _texts(rollouts: RolloutTable) -> Iterator[Series]:
    if rollouts.text is None:
        return
    groups, text = rollouts.groups, rollouts.text
    several = groups.sizes > 1
    if several.any() and rollouts.grouped:
        with np.errstate(invalid="ignore", divide="ignore"):
            unique = (distinct_per_group(groups, text) - 1) / (groups.sizes - 1)
        of_several = np.where(several, unique, np.nan)
        yield _mean_of_known(rollouts, "unique", of_several)
    yield _of_groups(rollouts, "same_text", _has_modal_text(rollouts))


def _mean_of_known(rollouts: RolloutTable, name: str, values: Float[np.ndarray, " G"]) -> Series:
    there = np.isfinite(values)
    count = rollouts.by_step.sum(there)
    filled = np.where(there, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = rollouts.by_step.sum(filled) / count
        square = rollouts.by_step.sum(
            np.where(there, (filled - rollouts.by_step.spread(mean)) ** 2, 0)
        )
        error = np.sqrt(square / np.maximum(count - 1, 1) / count)
    return Series(name, rollouts.steps, mean, error)


def _has_modal_text(rollouts: RolloutTable) -> Float[np.ndarray, " G"]:
    """1 for a group that holds the most frequent completion of its step, else 0."""
    assert rollouts.text is not None  # noqa: S101 - the caller has texts
    step = np.repeat(np.arange(len(rollouts.steps)), rollouts.rows_of_step.sizes)
    text = bounded(rollouts.text)
    width = int(text.max(initial=0)) + 1
    ordered = np.sort(step * width + text)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    count, of_step = np.diff(starts, append=len(ordered)), ordered[starts] // width
    most = np.maximum.reduceat(count, np.flatnonzero(np.diff(of_step, prepend=-1)))
    frequent = np.flatnonzero(count == most[of_step])
    first = np.flatnonzero(np.diff(of_step[frequent], prepend=-1))  # of several the smallest code
    modal = ordered[starts[frequent[first]]]
    is_modal = step * width + text == modal[step]
    return np.asarray(rollouts.groups.max(is_modal.astype(float)))
