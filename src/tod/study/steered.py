"""Runs under controllers of their own, side by side in one array: arms × worlds × contexts.

A run of `tod.study.training.train` in world w under arm a is the rows (w, a, 0 … C − 1) of the
stack; all arms of a world draw with the same random numbers, so that only what steers differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from tod.diagnostics.activation import changed
from tod.diagnostics.path import PathSums, path_sums
from tod.operators import Batch, Credit, Operator, UpdateRule
from tod.study.policy import Adam, slope_of_choices
from tod.study.sampled import rows_at, uniforms
from tod.study.swap.exact_spec import UTILITY
from tod.study.swap.exact_stack import CandidateStack, Sampler, Stack, by_symbol, law_of
from tod.study.world import FiniteWorld, Law, log_softmax
from tod.targets import ScalarReward

__all__ = ["BatchReadings", "Pace", "SharedSettings", "Steered"]


@dataclass(frozen=True)
class SharedSettings:
    """What all arms share.

    Attributes:
        action: The update rule.
        steps: Batches; one update each.
        size: Candidates K of every context.
        rate: First learning rate of Adam, with linear decay.
        refresh: Batches between copies of the policy into μ.
        burst: Share of the run at which refreshing slows down, share at which it ends, and the
            batches between copies in between; None: never.
        seed: Of every draw, with the number of the world.
    """

    action: UpdateRule
    steps: int = 300
    size: int = 16
    rate: float = 0.1
    refresh: int = 4
    burst: tuple[float, float, int] | None = None
    seed: int = 0

    def refreshes(self) -> list[int]:
        """Steps at which μ becomes the policy."""
        found, step = [], 0
        while step < self.steps:
            found.append(step)
            slow = self.burst is not None and (
                self.burst[0] * self.steps <= step < self.burst[1] * self.steps
            )
            step += self.burst[2] if slow and self.burst is not None else self.refresh
        return found


@dataclass(frozen=True)
class Pace:
    """Sharpness in force in every run, and the factor of its learning rate, [W, A] each."""

    eta: Float[np.ndarray, "W A"]
    rate: Float[np.ndarray, "W A"]


@dataclass(frozen=True, eq=False)
class BatchReadings:
    """What a batch told of every run, before its update.

    Attributes:
        informative: Contexts whose utilities differ, [W, A, C].
        path: Sums of the path by context, [W, A, C].
        policy_proposal: Median ESS_rel(π/μ), [W, A].
        batch: The batch of all runs.
        credit: Its credit.
        stack: The runs.
    """

    informative: Bool[np.ndarray, "W A C"]
    path: PathSums
    policy_proposal: Float[np.ndarray, "W A"]
    batch: Batch
    credit: Credit
    stack: Stack

    def damage(self) -> dict[str, Float[np.ndarray, "W A"]]:
        """``delta``, ``within`` and ``variance`` of the path over informative contexts; NaN: none.

        A context that is left out adds nothing to any sum.
        """
        some, sums = self.informative, self.path
        gap = np.where(some, sums.gap, 0.0)
        read = PathSums(sums.size, np.where(some, sums.tilt, 0.0), sums.cross * some, gap)
        count = np.where(some.any(axis=2), some.sum(axis=2), np.nan)
        share = some.shape[2] / count
        return {name: getattr(read, name) * share for name in ("delta", "within", "variance")}

    def weights(
        self, arms: Sequence[int]
    ) -> tuple[Float[np.ndarray, "W n"], Float[np.ndarray, "W n"]]:
        """Median ESS_rel(q*/μ) and median largest weight over informative contexts of some arms."""
        log_w = self.stack.by_run(np.asarray(self.batch.log_w))[:, arms]
        w = np.exp(log_w - log_w.max(axis=3, keepdims=True))
        total = w.sum(axis=3)
        effective = total**2 / np.einsum("wack,wack->wac", w, w) / w.shape[3]
        some = self.informative[:, arms]
        return _middle(effective, some), _middle(w.max(axis=3) / total, some)

    def activation(self) -> Float[np.ndarray, "W A"]:
        """Share of the gradient's weight that the trust region changed; NaN without one."""
        if self.credit.gate is None or self.credit.token_advantage is None:
            return np.full(self.informative.shape[:2], np.nan)
        gate, advantage = (
            self.stack.by_run(np.asarray(x)).reshape(*self.informative.shape[:2], -1)
            for x in (changed(self.credit.gate), self.credit.token_advantage)
        )
        weight = np.abs(advantage)
        total = weight.sum(axis=2)
        part = (weight * gate).sum(axis=2)
        return np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)  # type: ignore[no-any-return]

    def drift(self) -> Float[np.ndarray, "W A"]:
        """KL(π‖b), nats a sequence, draws of μ weighted by π/μ."""
        batch, contexts = self.batch, self.batch.contexts
        log_pi = batch.sequences.sum(batch.log_policy)
        weight = contexts.softmax(log_pi - batch.log_mu)
        gap = contexts.sum(weight * (log_pi - batch.log_base))
        return self.stack.by_run(np.asarray(gap)).mean(axis=(2, 3))  # type: ignore[no-any-return]

    def entropy(self) -> Float[np.ndarray, "W A"]:
        """Entropy of the sampled tokens, nats a token."""
        drawn = -np.asarray(self.batch.log_mu) / self.batch.sequences.sizes
        return self.stack.by_run(drawn).mean(axis=(2, 3))  # type: ignore[no-any-return]


def _middle(x: Any, some: Any) -> Any:
    """The median of some contexts, an order statistic; NaN where there is none."""
    count = some.sum(axis=2)
    ordered = np.sort(np.where(some, x, np.inf), axis=2)
    at = np.maximum((count + 1) // 2 - 1, 0)[..., None]
    return np.where(count > 0, np.take_along_axis(ordered, at, axis=2)[..., 0], np.nan)


Steer = Callable[[int, BatchReadings], Pace]
"""What sets the sharpness and the rate of the next batch of every run."""


@dataclass(eq=False)
class Steered:
    """The runs of some arms in some worlds.

    Attributes:
        setting: What they share.
        worlds: The worlds, of one language and one number of contexts.
        arms: How many arms.
    """

    setting: SharedSettings
    worlds: Sequence[FiniteWorld]
    arms: int
    stack: Stack = field(init=False)
    logits: Float[np.ndarray, "V NS"] = field(init=False)

    def __post_init__(self) -> None:
        """All runs at the base."""
        self.stack = Stack.of(tuple(self.worlds), tuple(range(self.arms)))
        self.logits = by_symbol(self.stack.whole.base_logits)
        target = ScalarReward(utility=UTILITY, eta=1.0)
        self._target = target.target

    def train(
        self, pace: Pace, steer: Steer, watch: Callable[[int, "Steered"], None] | None = None
    ) -> Law:
        """Train all runs; the final laws, [W·A·C, Y], nats.

        Args:
            pace: Sharpness and rate of the first batch.
            steer: Sets those of the next one.
            watch: Called after every update.
        """
        adam = Adam.start(self.logits.ravel())
        gradient, uniform = np.zeros_like(self.logits), self._uniforms()
        due, rule = set(self.setting.refreshes()), Operator(action=self.setting.action).update
        for step in range(self.setting.steps):
            if step in due:
                mu = Sampler.of_choices(self.stack, log_softmax(self.logits, axis=0))
            drawn = CandidateStack.of(
                self.stack, self._target, rows_at(mu.table, uniform(step)), mu
            )
            log_cond = log_softmax(self.logits.take(drawn.states, axis=1), axis=0)
            batch = self._at(drawn.batch, pace, log_cond.ravel()[drawn.place])
            credit = rule.credit(batch)
            taken = np.bincount(drawn.place, np.asarray(credit.per_token), log_cond.size)
            gradient[:, drawn.states] = slope_of_choices(
                log_cond, taken.reshape(log_cond.shape), axis=0
            )
            adam = self._update(adam, gradient, pace, step)
            gradient[:, drawn.states] = 0.0
            pace = steer(step, self._seen(batch, credit))
            if watch is not None:
                watch(step, self)
        return law_of(self.stack, log_softmax(self.logits, axis=0))

    def _uniforms(self) -> Callable[[int], Float[np.ndarray, "N K"]]:
        """The random numbers of a step: those of `train` in every world, the same in every arm."""
        w, a, c = self.stack.shape

        def at(step: int) -> Float[np.ndarray, "N K"]:
            drawn = [uniforms(c, self.setting.size, self.seed_of(i), step) for i in range(w)]
            return np.repeat(np.stack(drawn)[:, None], a, axis=1).reshape(w * a * c, -1)

        return at

    def seed_of(self, world: int) -> int:
        """The seed of the draws in a world."""
        return self.setting.seed + self.worlds[world].seed

    def spread(self, by_run: Float[np.ndarray, "W A"], size: int = 1) -> Float[np.ndarray, " n"]:
        """A number of every run, for each of its contexts' ``size`` members."""
        return np.repeat(by_run.ravel(), self.stack.shape[2] * size)

    def _at(self, batch: Batch, pace: Pace, log_policy: Any) -> Batch:
        """The batch at the sharpness of every run."""
        tilt = self.spread(pace.eta, self.setting.size) * np.asarray(batch.value)
        log_w = tilt + np.asarray(batch.log_base) - np.asarray(batch.log_mu)
        return replace(batch, log_policy=log_policy, tilt=tilt, log_w=log_w, sharpness=None)

    def _update(self, adam: Adam, gradient: Any, pace: Pace, step: int) -> Adam:
        rate = self.setting.rate * (1.0 - step / self.setting.steps)
        plain = bool((pace.rate == 1.0).all())
        before = None if plain else self.logits.copy()
        adam = adam.step_in_place(self.logits.ravel(), gradient.ravel(), rate)
        if before is not None:
            states = self.stack.whole.language.state_count
            factor = self.spread(pace.rate, states)
            self.logits -= before
            self.logits *= factor
            self.logits += before
        return adam

    def _seen(self, batch: Batch, credit: Credit) -> BatchReadings:
        log_pi = batch.sequences.sum(batch.log_policy)
        sums = path_sums(
            np.asarray(batch.tilt), np.asarray(log_pi - batch.log_base), batch.contexts
        )
        by_run = {
            name: self.stack.by_run(getattr(sums, name))[..., 0]
            for name in ("size", "tilt", "cross", "gap")
        }
        value = self.stack.by_run(np.asarray(batch.value))
        log_r = self.stack.by_run(np.asarray(log_pi - batch.log_mu))
        rho = np.exp(log_r - log_r.max(axis=3, keepdims=True))
        leg = rho.sum(axis=3) ** 2 / np.einsum("wack,wack->wac", rho, rho) / rho.shape[3]
        return BatchReadings(
            informative=value.max(axis=3) > value.min(axis=3),
            path=PathSums(**by_run),
            policy_proposal=np.quantile(leg, 0.5, axis=2, method="inverted_cdf"),
            batch=batch,
            credit=credit,
            stack=self.stack,
        )
