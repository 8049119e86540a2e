"""A training run as findings see it: figures by training step, and the table of its rollouts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import DataError, Groups
from tod.base.brief import Brief
from tod.base.text import counted
from tod.diagnostics import GapProfile


@dataclass(frozen=True, eq=False, repr=False)
class Series(Brief):
    """One figure of a run by training step.

    Attributes:
        name: Its canonical name, such as ``reward`` or ``zero_variance``.
        steps: Training steps, ascending, each once, [T].
        values: The figure at each of them, [T]; NaN where it is unknown.
        error: Standard error of each value by the data that it averages, [T]; None if unknown.
        unit: Unit of the values, ``""`` for a share or a plain number.
        key: What the person's file calls it.
    """

    name: str
    steps: Int[np.ndarray, " T"]
    values: Float[np.ndarray, " T"]
    error: Float[np.ndarray, " T"] | None = None
    unit: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse steps that do not ascend and arrays of unequal length."""
        if len(self.steps) != len(self.values):
            raise DataError(
                f"{self.name}: {counted(len(self.steps), 'step')}, {len(self.values)} values."
            )
        if len(self.steps) > 1 and not bool((np.diff(self.steps) > 0).all()):
            raise DataError(f"{self.name}: the steps of a series must ascend, each once.")

    def __len__(self) -> int:
        """Number of steps, those of unknown value included."""
        return len(self.steps)

    @cached_property
    def known(self) -> "Series":
        """Only the steps whose value is finite."""
        there = np.isfinite(self.values)
        if bool(there.all()):
            return self
        error = None if self.error is None else self.error[there]
        return Series(self.name, self.steps[there], self.values[there], error, self.unit, self.key)

    def from_step(self, step: int) -> "Series":
        """The part of it from one step on."""
        return self.part(self.steps >= step)

    def part(self, where: Bool[np.ndarray, " T"]) -> "Series":
        """Some of its steps."""
        error = None if self.error is None else self.error[where]
        return Series(self.name, self.steps[where], self.values[where], error, self.unit, self.key)


@dataclass(frozen=True, eq=False, repr=False)
class RolloutTable(Brief):
    """The rollouts of a run, a row each, ordered by step and prompt; texts only as codes.

    Attributes:
        groups: Rollouts of one prompt in one step, G groups over N rollouts.
        step: Training step of every group, ascending, [G].
        reward: Total reward of every rollout, [N].
        rewards: Parts of the reward by name, [N] each; empty where there is one alone.
        prompt: Code of the prompt of every group, equal for equal prompts in all steps, [G]; None
            where prompts are not told apart across steps.
        input: Code of the input text of every rollout, [N], to check the groups; None if unread.
        text: Code of the completion of every rollout, equal for equal texts, [N]; None if unread.
        length: Length of every completion, [N]; None if unknown.
        length_unit: ``tokens`` or ``characters``.
        truncated: What the file itself says of a completion cut at the limit, [N]; None if silent.
        advantage: Advantage that the trainer logged, [N], NaN where it did not; None without any.
        lag: Trainer version less the version that sampled a rollout, [N]; None where one of the two
            was not recorded.
        error: Whether the environment, a tool or the grader failed on a rollout, [N]; None if the
            files do not say.
        evaluation: Whether a rollout was drawn to evaluate, not to train, [N]; None likewise.
        turns: Turns that the policy had in a rollout, [N], NaN where unknown; None likewise.
        failed: Further rollouts by step that failed and left no reward.
        grouped: Whether the files say which rollouts share a prompt.
    """

    groups: Groups
    step: Int[np.ndarray, " G"]
    reward: Float[np.ndarray, " N"]
    rewards: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)
    prompt: Int[np.ndarray, " G"] | None = None
    input: Int[np.ndarray, " N"] | None = None
    text: Int[np.ndarray, " N"] | None = None
    length: Int[np.ndarray, " N"] | None = None
    length_unit: Literal["tokens", "characters"] = "tokens"
    truncated: Bool[np.ndarray, " N"] | None = None
    advantage: Float[np.ndarray, " N"] | None = None
    lag: Int[np.ndarray, " N"] | None = None
    error: Bool[np.ndarray, " N"] | None = None
    evaluation: Bool[np.ndarray, " N"] | None = None
    turns: Float[np.ndarray, " N"] | None = None
    failed: Mapping[int, int] = field(default_factory=dict)
    grouped: bool = True

    def __post_init__(self) -> None:
        """Refuse columns of another length than the groups say."""
        rows, groups = self.groups.total, len(self.groups)
        if len(self.reward) != rows or len(self.step) != groups:
            raise DataError(
                f"{groups} groups of {rows} rollouts, {counted(len(self.step), 'step')} and "
                f"{len(self.reward)} rewards."
            )
        if groups > 1 and not bool((np.diff(self.step) >= 0).all()):
            raise DataError("the groups of a run must be ordered by step.")

    @cached_property
    def steps(self) -> Int[np.ndarray, " T"]:
        """The training steps, ascending, each once."""
        return np.unique(self.step)

    @cached_property
    def by_step(self) -> Groups:
        """Groups of one step, T steps over G groups."""
        return Groups(np.unique(self.step, return_counts=True)[1])

    @cached_property
    def step_of_row(self) -> Int[np.ndarray, " N"]:
        """Training step of every rollout."""
        return np.repeat(self.step, self.groups.sizes)

    @cached_property
    def rows_of_step(self) -> Groups:
        """Rollouts of one step, T steps over N rollouts."""
        return self.groups.within(self.by_step)

    @cached_property
    def binary(self) -> bool:
        """Whether every reward is one of two values: a pass and a fail."""
        return len(self.levels) == 2

    @cached_property
    def levels(self) -> Float[np.ndarray, " L"]:
        """The distinct rewards if they are few (8 at most), else an empty array."""
        values = np.unique(self.reward[np.isfinite(self.reward)][:4096])
        if len(values) > 8:
            return values[:0]
        values = np.unique(self.reward[np.isfinite(self.reward)])
        return values if len(values) <= 8 else values[:0]

    @cached_property
    def range(self) -> tuple[float, float]:
        """Smallest and largest reward of the run; NaN without any."""
        known = self.reward[np.isfinite(self.reward)]
        if not len(known):
            return float("nan"), float("nan")
        return float(known.min()), float(known.max())


@dataclass(frozen=True, eq=False, repr=False)
class TrainingRun(Brief):
    """What is known of a run, from any of its files.

    Attributes:
        series: Figures by canonical name; those of the rollouts and those of metric logs.
        rollouts: The rollouts, or None where only logs were read.
        gaps: Shape of log π_old − log μ over the tokens by step; empty without both log-probs.
        not_finite: Canonical name → steps at which a log has NaN or an infinity for it.
        framework: Who wrote it (``trl``, ``verl``, …), for the names of settings; None if unknown.
        checkpoints: Steps and paths of checkpoints next to the files.
        expected: Settings of the run that the person's configuration states, by canonical name,
            such as ``advantage`` or ``samples_per_prompt``.
        names: What names the source for people: a directory, a file.
        notes: What was noticed while reading, for people.
        lost: What of the files is in no figure, a clause each, for people.
    """

    series: Mapping[str, Series] = field(default_factory=dict)
    rollouts: RolloutTable | None = None
    gaps: Mapping[int, GapProfile] = field(default_factory=dict)
    not_finite: Mapping[str, Int[np.ndarray, " n"]] = field(default_factory=dict)
    framework: str | None = None
    checkpoints: tuple[tuple[int, Path], ...] = ()
    expected: Mapping[str, object] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> Int[np.ndarray, " T"]:
        """All training steps of any series, ascending."""
        every = [s.steps for s in self.series.values()]
        every += [np.array(sorted(self.gaps), dtype=np.int64)] if self.gaps else []
        return np.unique(np.concatenate(every)) if every else np.zeros(0, dtype=np.int64)

    def get(self, name: str, least: int = 1) -> Series | None:
        """A figure with at least so many known values, without its unknown ones; else None."""
        series = self.series.get(name)
        if series is None or len(series.known) < least:
            return None
        return series.known

    def checkpoint_before(self, step: int) -> tuple[int, Path] | None:
        """The newest checkpoint that is not after a step."""
        earlier = [item for item in self.checkpoints if item[0] <= step]
        return max(earlier, default=None)
