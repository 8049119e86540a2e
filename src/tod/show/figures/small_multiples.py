"""Learning curves of a sweep: a panel for every value of most settings, a colour for one's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tod.base.text import DASH
from tod.show.figures.plot import HEIGHT, WIDTH, Plot, PlotLine
from tod.show.figures.scales import nice
from tod.study.sweep.axis import OPERATOR, Axis
from tod.study.sweep.compare import Combination
from tod.study.sweep.ends import End

__all__ = ["COLOURS", "Colouring", "colouring", "panels"]

COLOURS = 8
SMALL = (340.0, 196.0)
MOST = 120
"""Steps that a curve of rewards draws, at most: it is averaged over stretches of them."""


@dataclass(frozen=True)
class Colouring:
    """Which setting has colours; the others have panels.

    Attributes:
        place: Of the axis among all; None: none has.
        names: Its values in words, in the order of the colours.
    """

    place: int | None
    names: tuple[str, ...] = ()

    def of(self, axes: Sequence[Axis], values: Sequence[Any]) -> int:
        """The colour of a combination of values."""
        return 0 if self.place is None else axes[self.place].values.index(values[self.place])


def colouring(axes: Sequence[Axis]) -> Colouring:
    """The operator where it differs, else the axis of the fewest values; none of too many."""
    few = [place for place, axis in enumerate(axes) if len(axis.values) <= COLOURS]
    if not few:
        return Colouring(None)
    place = min(few, key=lambda place: (axes[place].path != OPERATOR, len(axes[place].values)))
    axis = axes[place]
    return Colouring(place, tuple(axis.told(value) for value in axis.values))


def panels(axes: Sequence[Axis], cells: Sequence[Combination]) -> list[Plot]:
    """A plot for every combination of all settings but the coloured one; all have one height.

    Solid: held-out pass@1, mean over seeds with one standard error. Dashed: rewards of training.
    """
    colours = colouring(axes)
    by_panel: dict[str, list[Combination]] = {}
    for cell in cells:
        rest = [
            axis.told(value)
            for place, (axis, value) in enumerate(zip(axes, cell.values, strict=True))
            if place != colours.place
        ]
        by_panel.setdefault(", ".join(rest) or "all runs", []).append(cell)
    made = {
        name: [line for cell in mine for line in _lines(cell, axes, colours)]
        for name, mine in by_panel.items()
    }
    known = [line for lines in made.values() for line in lines if line.known()]
    if not known:
        return []
    domain = nice([value for line in known for value in line.y])
    steps = [step for line in known for step in line.x]
    span = (min(steps), max(steps))
    size = SMALL if len(made) > 2 else (WIDTH, HEIGHT)
    return [
        Plot(name, [line for line in lines if line.known()], domain, _three, size=size, span=span)
        for name, lines in made.items()
    ]


def _three(value: float | None) -> str:
    """Three decimals; a dash for unknown."""
    return DASH if value is None else f"{value:.3f}"


def _lines(cell: Combination, axes: Sequence[Axis], colours: Colouring) -> list[PlotLine]:
    """The curves of one setting, averaged over its seeds."""
    colour = f"r{colours.of(axes, cell.values)}"
    name = colours.names[colours.of(axes, cell.values)] if colours.names else "held-out"
    steps = sorted({one.step for run in cell.runs for one in run.evaluations})
    held = [_at(cell.runs, step) for step in steps]
    means = [float(np.mean(values)) for values in held]
    errors = [
        float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
        for values in held
    ]
    x, rewards = _rewards(cell.runs)
    return [
        PlotLine("", x, rewards, f"{colour} train", dashed=True),
        PlotLine(name, steps, means, colour, errors),
    ]


def _at(runs: Sequence[End], step: int) -> list[float]:
    return [one.value for run in runs for one in run.evaluations if one.step == step]


def _rewards(runs: Sequence[End]) -> tuple[list[float], list[float]]:
    """Mean reward over seeds by stretches of steps, with the last step of each."""
    steps = sorted({step for run in runs for step in run.reward})
    stretch = -(-len(steps) // MOST) if steps else 1
    parts = [steps[i : i + stretch] for i in range(0, len(steps), stretch)]
    means = [
        float(np.mean([run.reward[step] for run in runs for step in own if step in run.reward]))
        for own in parts
    ]
    return [float(own[-1]) for own in parts], means
