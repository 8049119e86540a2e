"""A planted run with its truth: what kind of fault, from which step, as a jump or a ramp."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from tod.findings.planted.metrics import autoregressive
from tod.findings.planted.world import Before, Change, PlantedWorld
from tod.findings.run import TrainingRun

Shape = Literal["jump", "ramp", "whole"]
GROUP_SIZES = (2, 4, 8, 16, 32, 64)
ROLLOUTS = 40_000
"""Rollouts of a planted run, at most."""


@dataclass(frozen=True)
class Sizes:
    """From how many steps, prompts and rollouts a scenario draws, both ends included.

    Attributes:
        steps: Training steps T.
        prompts: Prompts of a step.
        k: Rollouts of a prompt.
        rollouts: Rollouts of a step, at least.
        pairs: Pairs of rollouts of one prompt in the run, at least.
    """

    steps: tuple[int, int] = (20, 500)
    prompts: tuple[int, int] = (8, 256)
    k: tuple[int, int] = (2, 64)
    rollouts: int = 16
    pairs: int = 0

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Steps, prompts and rollouts, evenly in their logarithms, of a run that is not too big."""
        groups = [size for size in GROUP_SIZES if self.k[0] <= size <= self.k[1]]
        while True:
            steps, prompts = (
                round(float(np.exp(rng.uniform(*np.log(span)))))
                for span in (self.steps, self.prompts)
            )
            k = int(rng.choice(groups))
            pairs = steps * prompts * k * (k - 1) // 2
            fits = steps * prompts * k <= ROLLOUTS
            if fits and prompts * k >= self.rollouts and pairs >= self.pairs:
                return steps, prompts, k


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Attributes:
        kinds: Kinds of findings that name it rightly.
        step: First step with the fault; None where it holds from the first step on.
        shape: ``jump``, ``ramp``, or ``whole`` for a property of the run without a beginning.
        grid: Steps between two values of the series that shows it.
        blur: Root-mean-square error, in steps, that noise leaves of a ramp's onset; 0 for a jump.
        causes: Kinds of causes of which the first that is named must be one; empty for any.
    """

    kinds: tuple[str, ...]
    step: int | None
    shape: Shape
    grid: int = 1
    blur: float = 0.0
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """What must be reached over many seeds, as shares of runs.

    Attributes:
        named: Runs in which a finding of the planted kind is a fault.
        within: Steps (of the grid) by which the onset may be off.
        onset: Named runs whose onset is within them; 0 where no onset is asked.
        covered: Named runs whose interval holds the onset; 0 where none is asked.
    """

    named: float = 0.95
    within: int = 1
    onset: float = 0.95
    covered: float = 0.0


@dataclass(frozen=True)
class Planted:
    """A run and what was planted in it; no truth for a healthy one."""

    run: TrainingRun
    truth: Truth | None


@dataclass(frozen=True)
class Scenario:
    """One way to plant a run.

    Attributes:
        name: Name for people, unique.
        kinds: Kinds of findings that name it; none for a healthy family.
        before: Changes the world before it is drawn.
        after: Changes what was drawn.
        shape: How the fault begins.
        start: Whether it holds from the first step on.
        sizes: Steps, prompts and rollouts to draw from.
        place: Share of the run before the onset, from and to.
        bounds: What must be reached.
        grid: Steps between two values of the series that shows it, by the number of steps.
        recorded: Whether rollouts were recorded beside the log.
        causes: Kinds of causes of which the first that is named must be one; empty for any.
    """

    name: str
    kinds: tuple[str, ...] = ()
    before: Before | None = None
    after: Change | None = None
    shape: Shape = "jump"
    start: bool = False
    sizes: Sizes = Sizes()
    place: tuple[float, float] = (0.3, 0.7)
    bounds: Bounds = Bounds()
    grid: Callable[[int], int] | None = None
    recorded: bool = True
    causes: tuple[str, ...] = ()

    def plant(self, seed: int, sizes: tuple[int, int, int] | None = None) -> Planted:
        """The run of a seed: equal seeds give equal runs.

        Args:
            seed: Of all random numbers, with the scenario's name.
            sizes: Steps, prompts and rollouts of a prompt; drawn from the seed if None.
        """
        rng = np.random.default_rng([seed, crc32(self.name.encode())])
        steps, prompts, k = sizes or self.sizes.draw(rng)
        world = learning(steps, prompts, k, rng)
        world.at = 0 if self.start else max(3, round(rng.uniform(*self.place) * steps))
        if self.before is not None:
            self.before(world)
        drawn = world.draw()
        if self.after is not None:
            self.after(drawn)
        truth = None
        if self.kinds:
            step = None if self.start or self.shape == "whole" else int(world.steps[world.at])
            grid = 1 if self.grid is None else self.grid(steps)
            truth = Truth(self.kinds, step, self.shape, grid, world.blur, self.causes)
        return Planted(drawn.run(self.recorded), truth)


def learning(steps: int, prompts: int, k: int, rng: np.random.Generator) -> PlantedWorld:
    """A healthy world that learns: skill rises by 1 to 3 logits, evenly or ever more slowly."""
    t = np.linspace(0, 1, steps)
    pace = rng.uniform(0.1, 4)
    rise = (1 - np.exp(-pace * t)) / (1 - np.exp(-pace))
    skill = rng.uniform(-1.5, 0.0) + rng.uniform(1.0, 3.0) * rise
    skill = skill + autoregressive(rng, steps, rng.uniform(0, 0.1))
    world = PlantedWorld(np.arange(steps) + int(rng.integers(0, 2)), prompts, k, rng, skill=skill)
    world.repeated = bool(rng.random() < 0.5)
    world.spread = float(rng.uniform(0.8, 2.0))
    drift = rng.uniform(-0.2, 0.3) * t + autoregressive(rng, steps, 0.03)
    world.length = rng.uniform(40, 400) * np.exp(drift)
    world.logged = True
    return world
