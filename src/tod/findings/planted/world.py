"""A planted run: rollouts of a world whose law and whose fault are known.

Prompt c has difficulty α_c; at step t a rollout passes with probability σ(s_t − α_c), where s_t is
the skill. Texts are codes, lengths lognormal. All numbers come from one seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.findings.run import Rollouts

Curve = Float[np.ndarray, " T"]


@dataclass
class World:
    """What a run draws from; a scenario changes its columns after some step.

    Attributes:
        steps: Training steps, [T].
        prompts: Prompts of a step.
        k: Rollouts of a prompt.
        rng: Its random numbers.
        repeated: Whether prompts return every epoch of a fixed set; else every step has new ones.
        skill: Skill by step, [T], in logits.
        spread: Standard deviation of the prompts' difficulty, in logits.
        length: Mean length by step, [T], in tokens.
    """

    steps: Int[np.ndarray, " T"]
    prompts: int
    k: int
    rng: np.random.Generator
    repeated: bool = False
    skill: Curve = field(default_factory=lambda: np.zeros(0))
    spread: float = 1.5
    length: Curve = field(default_factory=lambda: np.zeros(0))
    limit: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Steps, prompts, rollouts."""
        return len(self.steps), self.prompts, self.k

    def draw(self) -> "Drawn":
        """Rewards, texts and lengths by step, prompt and rollout."""
        size = self.shape
        if self.repeated:
            pool = 4 * self.prompts
            alpha = self.rng.normal(0, self.spread, pool)
            order = np.concatenate(
                [self.rng.permutation(pool) for _ in range(-(-size[0] * size[1] // pool))]
            )
            prompt = order[: size[0] * size[1]].reshape(size[:2])
            difficulty = alpha[prompt]
        else:
            prompt = np.arange(size[0] * size[1]).reshape(size[:2])
            difficulty = self.rng.normal(0, self.spread, size[:2])
        p = 1 / (1 + np.exp(-(self.skill[:, None] - difficulty)))
        reward = (self.rng.random(size) < p[:, :, None]).astype(float)
        level = self.length if len(self.length) else np.full(size[0], 60.0)
        length = level[:, None, None] * np.exp(self.rng.normal(0, 0.3, size))
        again = (self.rng.random(size) < 0.05) & (np.arange(size[2]) > 0)
        text = np.arange(int(np.prod(size))).reshape(size)
        for i in range(1, self.k):  # an equal text has the same reward and length
            for column in (text, reward, length):
                column[..., i] = np.where(again[..., i], column[..., i - 1], column[..., i])
        return Drawn(self, prompt, p, reward, np.maximum(length, 1), text)


@dataclass
class Drawn:
    """Columns of a planted run by step, prompt and rollout, [T, C, K].

    Attributes:
        world: Where they were drawn.
        prompt: Code of every prompt, [T, C].
        p: Pass rates, [T, C].
        reward: Rewards.
        length: Lengths, in tokens.
        text: Codes of the texts.
        rewards: Parts of the reward by name.
    """

    world: World
    prompt: np.ndarray
    p: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    text: np.ndarray
    rewards: dict[str, np.ndarray] = field(default_factory=dict)

    def rollouts(self) -> Rollouts:
        """The table that detectors read."""
        steps, prompts, k = self.world.shape
        length = np.rint(self.length).astype(np.int64)
        if self.world.limit is not None:
            length = np.minimum(length, self.world.limit)
        return Rollouts(
            groups=Groups.equal(steps * prompts, k),
            step=np.repeat(self.world.steps, prompts),
            reward=self.reward.reshape(-1),
            rewards={name: x.reshape(-1) for name, x in self.rewards.items()},
            prompt=self.prompt.reshape(-1),
            input=np.repeat(self.prompt.reshape(-1), k),
            text=self.text.reshape(-1).astype(np.int64),
            length=length.reshape(-1),
        )


Change = Callable[[Drawn, int], None]
"""Changes the columns from position ``at`` of the steps on."""
