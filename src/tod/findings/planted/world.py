"""A planted run: rollouts of a world whose law and whose fault are known.

Prompt c has difficulty α_c; at step t a rollout passes with probability σ(s_t − α_c), where s_t is
the skill. Texts are codes, lengths lognormal. All numbers come from one seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.diagnostics import GapProfile
from tod.findings.planted.metrics import healthy_metrics, pass_rates
from tod.findings.rollout_series import series_of
from tod.findings.run import RolloutTable, Series, TrainingRun

Curve = Float[np.ndarray, " T"]
EXTREME = 4.0
"""Difficulty, in logits, of the hard prompts of a mix; the easy ones have its negative."""
LOGGED = ("reward", "zero_variance", "length", "truncated")
"""Figures of the rollouts that stand in a log where they were not recorded themselves."""
WIDTH = 0.8
"""Logits of difficulty around a curriculum's own from which it takes its prompts."""


@dataclass
class PlantedWorld:
    """What a run draws from; a scenario changes its curves, then the columns that were drawn.

    Attributes:
        steps: Training steps, [T].
        prompts: Prompts of a step.
        k: Rollouts of a prompt.
        rng: Its random numbers.
        repeated: Whether prompts return every epoch of a fixed set; else every step has new ones.
        skill: Skill by step, [T], in logits.
        harder: Mean difficulty of the prompts of a step, [T], in logits; empty for 0.
        spread: Standard deviation of the prompts' difficulty, in logits.
        mixed: Share of prompts that are far too easy, and the same again far too hard.
        length: Mean length by step, [T], in tokens; empty for 60.
        limit: Greatest length, or None.
        alike: Share of rollouts that repeat the one before, text, length and reward.
        answers: Distinct answers where they are as short as a number; None for long texts.
        graded: Parts of which a reward is the passed share; 1 for a pass or a fail.
        logged: Whether a metric log stands beside the rollouts.
        at: Position of the step from which on a fault holds.
        blur: Root-mean-square error, in steps, that noise leaves of a planted ramp's onset.
    """

    steps: Int[np.ndarray, " T"]
    prompts: int
    k: int
    rng: np.random.Generator
    repeated: bool = False
    skill: Curve = field(default_factory=lambda: np.zeros(0))
    harder: Curve = field(default_factory=lambda: np.zeros(0))
    spread: float = 1.5
    mixed: float = 0.0
    length: Curve = field(default_factory=lambda: np.zeros(0))
    limit: int | None = None
    alike: float = 0.05
    answers: int | None = None
    graded: int = 1
    logged: bool = False
    at: int = 0
    blur: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Steps, prompts, rollouts."""
        return len(self.steps), self.prompts, self.k

    def draw(self) -> "PlantedDraws":
        """Rewards, texts and lengths by step, prompt and rollout."""
        size = self.shape
        prompt, difficulty = self._prompts()
        p = 1 / (1 + np.exp(-(self.skill[:, None] - difficulty)))
        if self.graded > 1:
            reward = self.rng.binomial(self.graded, p[:, :, None], size) / self.graded
        else:
            reward = (self.rng.random(size) < p[:, :, None]).astype(float)
        level = self.length if len(self.length) else np.full(size[0], 60.0)
        length = level[:, None, None] * np.exp(self.rng.normal(0, 0.3, size))
        if self.answers is not None:
            text = self._short(prompt, reward)
            length = 2.0 + text % 2
        else:
            again = (self.rng.random(size) < self.alike) & (np.arange(size[2]) > 0)
            text = np.arange(int(np.prod(size))).reshape(size)
            for i in range(1, self.k):  # an equal text has the same reward and length
                for column in (text, reward, length):
                    column[..., i] = np.where(again[..., i], column[..., i - 1], column[..., i])
        metrics = (
            healthy_metrics(pass_rates(self.skill, self.spread), self.rng) if self.logged else {}
        )
        return PlantedDraws(self, prompt, p, reward, np.maximum(length, 1), text, metrics=metrics)

    def _prompts(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes and difficulties of the prompts of every step, [T, C] each."""
        steps, prompts, _ = self.shape
        harder = self.harder if len(self.harder) else np.zeros(steps)
        if not self.repeated:
            difficulty = harder[:, None] + self._difficulty((steps, prompts))
            return np.arange(steps * prompts).reshape(steps, prompts), difficulty
        pool = 4 * prompts
        alpha = self._difficulty((pool,))
        if np.ptp(harder) > 0:  # a curriculum takes those near its own difficulty, at random
            chance = -(((alpha - harder[:, None]) / WIDTH) ** 2) / 2
            keys = chance + self.rng.gumbel(size=(steps, pool))
            prompt = np.argpartition(-keys, prompts - 1, axis=1)[:, :prompts]
        else:
            epochs = -(-steps * prompts // pool)
            order = np.concatenate([self.rng.permutation(pool) for _ in range(epochs)])
            prompt = order[: steps * prompts].reshape(steps, prompts)
        return prompt, alpha[prompt]

    def _difficulty(self, size: tuple[int, ...]) -> np.ndarray:
        difficulty = self.rng.normal(0, self.spread, size)
        if self.mixed:
            kind = self.rng.random(size)
            difficulty = np.where(kind < self.mixed, -EXTREME, difficulty)
            difficulty = np.where(kind > 1 - self.mixed, EXTREME, difficulty)
        return difficulty

    def _short(self, prompt: np.ndarray, reward: np.ndarray) -> np.ndarray:
        """Codes of answers such as numbers: one is right for a prompt, the others are wrong."""
        assert self.answers is not None  # noqa: S101 - the caller has them
        right = (prompt * 7919 + 13) % self.answers
        other = 1 + np.rint(self.rng.exponential(3.0, reward.shape)).astype(np.int64)
        wrong = (right[:, :, None] + other) % self.answers
        wrong = np.where(wrong == right[:, :, None], (wrong + 1) % self.answers, wrong)
        return np.where(reward > 0, right[:, :, None], wrong)


@dataclass
class PlantedDraws:
    """Columns of a planted run by step, prompt and rollout, [T, C, K].

    Attributes:
        world: Where they were drawn.
        prompt: Code of every prompt, [T, C].
        p: Pass rates, [T, C].
        reward: Rewards.
        length: Lengths, in tokens.
        text: Codes of the texts.
        rewards: Parts of the reward by name.
        advantage: Advantages as a trainer would log them; None where it does not.
        input: Codes of the input texts of every rollout, where they are not those of the prompts.
        cut: Whether the files say that a completion was cut; None where they are silent.
        single: Whether every rollout stands under an id of its own.
        metrics: Figures of a metric log by name, [T] each; NaN where it is silent.
        lag: Trainer version less the version that sampled; None where one is unknown.
        error: Whether the environment failed; None where the files are silent.
        gaps: Shape of log π_old − log μ by step; empty where no tokens were read.
        not_finite: Steps at which a figure of the log is NaN or infinite, by name.
        expected: Settings that the person's configuration states.
        bare: Whether the log tells nothing of rollouts, as that of a loss on given pairs or texts.
    """

    world: PlantedWorld
    prompt: np.ndarray
    p: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    text: np.ndarray
    rewards: dict[str, np.ndarray] = field(default_factory=dict)
    advantage: np.ndarray | None = None
    input: np.ndarray | None = None
    cut: np.ndarray | None = None
    single: bool = False
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    lag: np.ndarray | None = None
    error: np.ndarray | None = None
    gaps: dict[int, GapProfile] = field(default_factory=dict)
    not_finite: dict[str, np.ndarray] = field(default_factory=dict)
    expected: dict[str, object] = field(default_factory=dict)
    bare: bool = False

    def rollouts(self) -> RolloutTable:
        """The table that detectors read."""
        steps, prompts, k = self.world.shape
        length = np.rint(self.length).astype(np.int64)
        if self.world.limit is not None:
            length = np.minimum(length, self.world.limit)
        inputs = np.repeat(self.prompt.reshape(-1), k) if self.input is None else self.input
        groups, wide = Groups.equal(steps * prompts, k), prompts
        prompt = self.prompt.reshape(-1)
        if self.single:
            groups, wide = Groups.equal(steps * prompts * k, 1), prompts * k
            prompt = np.repeat(prompt, k)
        return RolloutTable(
            groups=groups,
            step=np.repeat(self.world.steps, wide),
            reward=self.reward.reshape(-1),
            rewards={name: x.reshape(-1) for name, x in self.rewards.items()},
            prompt=prompt,
            input=inputs.reshape(-1),
            text=self.text.reshape(-1).astype(np.int64),
            length=length.reshape(-1),
            truncated=None if self.cut is None else self.cut.reshape(-1),
            advantage=None if self.advantage is None else self.advantage.reshape(-1),
            lag=None if self.lag is None else self.lag.reshape(-1),
            error=None if self.error is None else self.error.reshape(-1),
        )

    def run(self, rollouts: bool = True) -> TrainingRun:
        """The run with its log, and its rollouts or what a trainer logs of them."""
        series = {
            name: Series(name, self.world.steps[there], values[there], key=name)
            for name, values in self.metrics.items()
            if (there := np.isfinite(values)).any()
        }
        told = TrainingRun(
            series=series, gaps=self.gaps, not_finite=self.not_finite, expected=self.expected
        )
        if self.bare:
            return told
        if rollouts:
            return replace(told, rollouts=self.rollouts())
        figures = series_of(self.rollouts())
        logged = {
            name: Series(name, figures[name].steps, figures[name].values, key=name)
            for name in LOGGED
            if name in figures
        }
        return replace(told, series={**series, **logged})


Before = Callable[[PlantedWorld], None]
"""Changes the curves, before anything is drawn."""
Change = Callable[[PlantedDraws], None]
"""Changes the columns that were drawn."""
