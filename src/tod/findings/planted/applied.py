"""Remedies applied: what a promise said of one half of a planted run, measured on its other half.

One world of constant skill is drawn with 64 rollouts of every prompt. The first half of the steps,
with fewer rollouts, is the run; in the second half the remedy is in force.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.findings.change import window
from tod.findings.finding import Finding, Remedy
from tod.findings.findings import find
from tod.findings.pass_rates import fit_pass_rates
from tod.findings.planted.world import PlantedWorld
from tod.findings.reward_parts import shares
from tod.findings.run import RolloutTable, TrainingRun

MOST = 64
"""Rollouts of a prompt that are drawn: the largest group size that a remedy names."""
RESAMPLES = 40
"""Resamples of groups for the error of a promise."""
ERRORS = 2.0
"""Standard errors by which a promise may be off."""


@dataclass(frozen=True)
class Applied:
    """One remedy in force.

    Attributes:
        promised: The figure that was promised.
        before: The same figure in the run.
        after: The same figure with the remedy in force, in fresh draws.
        error: Standard error of ``after − promised``: of the promise and of the fresh draws.
        better: Whether what the remedy is for improved.
    """

    promised: float
    before: float
    after: float
    error: float
    better: bool

    @property
    def kept(self) -> bool:
        """Whether it improved, and the promise was within two standard errors."""
        return self.better and abs(self.after - self.promised) <= ERRORS * self.error


@dataclass(frozen=True)
class Halves:
    """Passes of a world of constant skill: the run, and fresh draws of the same.

    Attributes:
        passes: Passes of every rollout, [2T, C, 64].
        prompt: Code of every prompt, [2T, C].
        k: Rollouts of a prompt in the run.
        rng: Random numbers for what is drawn beside.
    """

    passes: Float[np.ndarray, "T2 C M"]
    prompt: Int[np.ndarray, "T2 C"]
    k: int
    rng: np.random.Generator

    @property
    def steps(self) -> int:
        """Steps of the run, T."""
        return len(self.passes) // 2

    def run(self, total: Float[np.ndarray, "T C K"], **parts: np.ndarray) -> TrainingRun:
        """The run of a total reward and its parts."""
        steps, prompts, k = total.shape
        return TrainingRun(
            rollouts=RolloutTable(
                groups=Groups.equal(steps * prompts, k),
                step=np.repeat(np.arange(1, steps + 1), prompts),
                reward=total.reshape(-1),
                rewards={name: values.reshape(-1) for name, values in parts.items()},
                prompt=self.prompt[:steps].reshape(-1),
            )
        )


def halves(
    seed: int,
    skill: tuple[float, float],
    spread: float,
    repeated: bool,
    sizes: tuple[int, ...] = (4, 8, 32, 64),
) -> Halves:
    """A world of 2 × 40 steps, of 24 to 64 prompts and of 4 to 64 rollouts.

    Args:
        seed: Of all random numbers.
        skill: Bounds of the skill, in logits.
        spread: Standard deviation of the prompts' difficulty, in logits.
        repeated: Whether prompts come from one set.
        sizes: Rollouts of a prompt to choose from.
    """
    rng = np.random.default_rng(seed)
    prompts, k = int(rng.integers(24, 65)), int(rng.choice(sizes))
    world = PlantedWorld(np.arange(80), prompts, MOST, rng, repeated=repeated)
    world.skill, world.spread, world.alike = np.full(80, rng.uniform(*skill)), spread, 0.0
    drawn = world.draw()
    return Halves(drawn.reward, drawn.prompt, k, rng)


def promise_of(run: TrainingRun, kind: str) -> tuple[Finding, Remedy] | None:
    """The first remedy of a kind with a promise, and its finding; None without one."""
    for finding in find(run).all:
        for remedy in finding.remedies:
            if remedy.kind == kind and remedy.promise:
                return finding, remedy
    return None


def equal(passes: Float[np.ndarray, "... K"]) -> np.ndarray:
    """Which groups have rewards that are all equal."""
    same: np.ndarray = passes.min(axis=-1) == passes.max(axis=-1)
    return same


def error_of_share(share: float, count: int) -> float:
    """Standard error of a share of ``count`` groups, of half a group at least."""
    return float(np.sqrt(max(share * (1 - share), 0.25 / count) / count))


def group_size(seed: int) -> Applied | None:
    """Another group size: the zero-variance share that it leaves, and useful groups a sample."""
    # prompts of every kind, or hard ones all alike: a beta law fits neither by construction
    skill, spread = ((-2.0, 2.0), 6.0) if seed % 2 else ((-6.0, -4.0), 1.0)
    world = halves(seed, skill, spread, repeated=False, sizes=(16, 32, 64))
    mine, fresh = world.passes[: world.steps, :, : world.k], world.passes[world.steps :]
    told = promise_of(world.run(mine), "group_size")
    if told is None:
        return None
    _, remedy = told
    promised = remedy.promise["zero_variance"]
    size = round(remedy.promise["samples"])
    recent = mine[-window(world.steps) :].reshape(-1, world.k)
    before, after = float(equal(recent).mean()), float(equal(fresh[..., :size]).mean())
    count, refitted = recent.sum(axis=1).astype(np.int64), []
    for _ in range(RESAMPLES):
        law = fit_pass_rates(world.rng.choice(count, len(count)), np.full(len(count), world.k))
        if law is not None:
            refitted.append(1 - law.informative(size))
    error = float(np.hypot(np.std(refitted), error_of_share(after, fresh[..., 0].size)))
    better = (1 - after) / size > (1 - before) / world.k
    return Applied(promised, before, after, error, better)


def skip_equal_groups(seed: int) -> Applied | None:
    """Draw on until every group of the batch differs: samples drawn for one that is used."""
    world = halves(seed, (-5.0, -3.0), 1.5, repeated=False, sizes=(4, 8, 16))
    mine, fresh = world.passes[: world.steps, :, : world.k], world.passes[world.steps :]
    told = promise_of(world.run(mine), "skip_equal_groups")
    if told is None:
        return None
    recent = equal(mine[-window(world.steps) :]).reshape(-1)
    informative = ~equal(fresh[..., : world.k]).reshape(-1)
    used = int(informative.sum())
    drawn = int(np.flatnonzero(informative)[-1]) + 1 if used else 0
    if not used:
        return None
    after = drawn / used
    promised = told[1].promise["cost"]
    # of a cost 1/(1 − z): its error is that of the share, times its square
    of_promise = error_of_share(1 - 1 / promised, len(recent)) * promised**2
    of_draws = error_of_share(1 - 1 / after, drawn) * after**2
    return Applied(promised, 1.0, after, float(np.hypot(of_promise, of_draws)), better=True)


def drop_prompts(seed: int) -> Applied | None:
    """Prompts that were never solved left out: the share of a step that is freed."""
    world = halves(seed, (-4.0, -1.5), 2.5, repeated=True)
    mine, fresh = world.passes[: world.steps, :, : world.k], world.passes[world.steps :]
    told = promise_of(world.run(mine), "drop_prompts")
    if told is None:
        return None
    old, new = world.prompt[: world.steps], world.prompt[world.steps :]
    solved = np.unique(old[mine.any(axis=-1)])
    codes, visits = np.unique(old, return_counts=True)
    dropped = np.setdiff1d(codes[visits >= 3], solved)
    out = np.isin(new, dropped)
    after, same = float(out.mean()), equal(fresh[..., : world.k])
    late = float(np.isin(old[world.steps // 2 :], dropped).mean())
    error = float(np.hypot(error_of_share(late, old.size // 2), error_of_share(after, new.size)))
    better = float(same[~out].mean()) < float(same.mean())
    return Applied(told[1].promise["share"], 0.0, after, error, better)


def reward_weights(seed: int) -> Applied | None:
    """A part's weight multiplied: it then carries half of the differences within prompts."""
    world = halves(seed, (-0.5, 0.5), 1.5, repeated=False)
    weight, ready = world.rng.uniform(0.05, 0.15), world.rng.uniform(0.3, 0.7)
    style = (world.rng.random(world.passes.shape) < ready).astype(float)

    def run_of(task: float, steps: slice) -> TrainingRun:
        parts = {"task": task * world.passes[steps, :, : world.k],
                 "format": style[steps, :, : world.k]}  # fmt: skip
        return world.run(parts["task"] + parts["format"], **parts)

    def share_of(run: TrainingRun) -> tuple[float, float]:
        carried = None if run.rollouts is None else shares(run.rollouts)
        if carried is None:
            return float("nan"), float("nan")
        return carried.of("task", np.ones(len(carried.variance), dtype=bool))

    mine = run_of(weight, slice(0, world.steps))
    told = promise_of(mine, "reward_weights")
    if told is None:
        return None
    factor = told[1].promise["factor"]
    before, _ = share_of(mine)
    after, error = share_of(run_of(weight * factor, slice(world.steps, None)))
    # the factor comes from half of the run: its own error is √2 times that of the fresh draws
    return Applied(0.5, before, after, error * float(np.sqrt(3)), after > before)


APPLIED: Mapping[str, Callable[[int], Applied | None]] = {
    "group_size": group_size,
    "skip_equal_groups": skip_equal_groups,
    "drop_prompts": drop_prompts,
    "reward_weights": reward_weights,
}
"""By the kind of remedy: what it brings in the world of a seed; None where it is not printed."""
