"""Whether answers grew because their limit was raised, in one step or in stages.

A limit of tokens is raised by the person, often in stages (8, 16, 24 thousand). Answers that needed
more grow in that step and stay there: no fault of the policy. Three signs of it, any of which is
enough: the greatest length stands at one value, then at a larger one; the share of cut answers
falls in the step in which answers grow; the mean length leaps in a step and is level before and
after it.
"""

import numpy as np
from jaxtyping import Float, Int

from tod.findings.change import MAD, SIGMAS, end_level, start_level, window
from tod.findings.run import Series, TrainingRun

HELD = 3
"""Steps at which the greatest length is the same from which that length is a limit."""
SPAN = 3
"""Steps before and after a leap whose levels are compared."""
CUT = 0.03
"""Share of cut answers before a limit was raised, at least."""
LEAP = float(np.log(1.15))
"""Growth in one step that can be a raised limit."""
MADE = 0.6
"""Share of the whole growth that several leaps must make."""
LEVEL = 0.2
"""Growth in the three steps before or after a leap, as a share of it, that is still level."""
ALONE = 0.8
"""Share of it that one leap must make."""
APART = 4
"""Steps between two leaps, at least: a steep ramp has none that stand alone."""
UNMADE = float(np.log(1.3))
"""Growth before the first raise, or over the growth of the limit, that needs no other cause."""


def raised_limit(run: TrainingRun) -> str:
    """What shows that the growth of answers is that of their limit, as a clause; "" for nothing."""
    length = run.get("length", 12)
    if length is None:
        return ""
    logs = np.log(np.maximum(length.values, 1e-9))
    return _by_greatest(run, logs) or _by_cuts(run, length, logs) or _by_leaps(length, logs)


def _by_greatest(run: TrainingRun, logs: Float[np.ndarray, " T"]) -> str:
    greatest = run.get("length_max", 12)
    if greatest is None:
        return ""
    held = limits(greatest.values)
    if len(held) < 2 or held[0][0] > max(3, len(greatest) // 5):
        return ""
    (_, low), (_, high) = held[0], held[-1]
    late = greatest.values[-window(len(greatest)) :].max() <= high
    grown = end_level(logs) - start_level(logs)
    if not late or grown - np.log(high / low) > UNMADE:
        return ""
    steps = [int(greatest.steps[at]) for at, _ in held[1:]]
    return f"the limit of answers went from {low:.0f} to {high:.0f} at {_steps(steps)}"


def limits(values: Float[np.ndarray, " T"]) -> list[tuple[int, float]]:
    """Lengths that a run's greatest ones stay at, ascending: position of the first, and the length.

    Such a length stands at 3 steps and more, and none between them is greater.
    """
    found: list[tuple[int, float]] = []
    levels, count = np.unique(values, return_counts=True)
    for level in levels[count >= HELD]:
        places = np.flatnonzero(values == level)
        first, last = int(places[0]), int(places[-1])
        inside = values[first : last + 1].max() <= level
        if inside and level > 0 and (not found or first > found[-1][0]):
            found.append((first, float(level)))
    return found


def _by_cuts(run: TrainingRun, length: Series, logs: Float[np.ndarray, " T"]) -> str:
    cut = run.get("truncated", 12)
    if cut is None or not np.array_equal(cut.steps, length.steps):
        return ""
    noise = MAD * float(np.median(np.abs(np.diff(cut.values)))) / np.sqrt(2 * SPAN)
    places = np.arange(SPAN, len(cut) - SPAN + 1)
    before, after = _levels(cut.values, places)
    fell = (before > CUT) & (after < before / 2)
    fell &= before - after > SIGMAS * np.sqrt(2) * noise
    short, long = _levels(logs, places)
    raised = places[fell & (long - short > LEAP / 3)]
    if not len(raised):
        return ""
    first = int(raised[0])
    if float(np.median(logs[first - SPAN : first])) - start_level(logs) > UNMADE:
        return ""
    starts = raised[np.diff(raised, prepend=-APART) >= APART] + 1
    steps = [int(length.steps[min(at, len(length) - 1)]) for at in starts]
    return f"the share of cut answers fell where answers grew, at about {_steps(steps)}"


def _levels(
    values: Float[np.ndarray, " T"], places: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Medians of the steps before and from each place on."""
    windows = np.median(np.lib.stride_tricks.sliding_window_view(values, SPAN), axis=1)
    return windows[places - SPAN], windows[places]


def _by_leaps(length: Series, logs: Float[np.ndarray, " T"]) -> str:
    places = leaps(logs)
    before, after = _levels(logs, places)
    made = float((after - before).sum())
    grown = end_level(logs) - start_level(logs)
    if not len(places) or made < (MADE if len(places) > 1 else ALONE) * grown:
        return ""
    at = _steps([int(length.steps[place]) for place in places])
    return f"answers leap at {at}, and are level before and after"


def leaps(logs: Float[np.ndarray, " T"]) -> Int[np.ndarray, " n"]:
    """Positions at which the level of a series rises in one step and is level around it.

    A leap is beyond 4.5 standard errors of the noise of its neighbours and makes most of what the
    levels three steps before and after it differ by.
    """
    moves = np.diff(logs)
    noise = MAD * float(np.median(np.abs(moves))) / np.sqrt(2)
    places = np.arange(SPAN, len(logs) - SPAN + 1)
    if not len(places):
        return places
    before, after = _levels(logs, places)
    rise = after - before
    evident = (rise > LEAP) & (rise > SIGMAS * np.sqrt(2 / SPAN) * noise)
    evident &= (moves[places - 1] > MADE * rise) & (_drift(logs, places) < LEVEL * rise)
    found: list[int] = []
    for place, size in sorted(
        zip(places[evident], rise[evident], strict=True), key=lambda x: -x[1]
    ):
        if all(abs(int(place) - other) >= APART for other in found) and size > 0:
            found.append(int(place))
    return np.array(sorted(found), dtype=np.int64)


def _drift(logs: Float[np.ndarray, " T"], places: Int[np.ndarray, " n"]) -> np.ndarray:
    """Growth over the three steps before those next to each place, or after them: the larger."""
    windows = np.median(np.lib.stride_tricks.sliding_window_view(logs, SPAN), axis=1)
    last = len(windows) - 1
    before = windows[places - SPAN] - windows[np.maximum(places - 2 * SPAN, 0)]
    after = windows[np.minimum(places + SPAN, last)] - windows[places]
    drift: np.ndarray = np.maximum(before, after)
    return drift


def _steps(steps: list[int]) -> str:
    """``step 40``, ``steps 40 and 80``."""
    words = [str(step) for step in steps]
    if len(words) == 1:
        return f"step {words[0]}"
    return f"steps {', '.join(words[:-1])} and {words[-1]}"
