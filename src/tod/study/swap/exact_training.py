"""Training of several operators in all runs of a stack, in lockstep on the same random numbers."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.diagnostics.activation import activation_sums, share_of
from tod.operators import Batch, Operator
from tod.operators.proposals import gumbel
from tod.procedure import LEGS, legs_of
from tod.study.auxiliary_slope import divergence_slope
from tod.study.policy import Adam, slope_of_choices
from tod.study.sampled import rows_at
from tod.study.swap.exact_spec import ExactSpec, GridPoint, in_nats, label_noise, procedure_of
from tod.study.swap.exact_stack import CandidateStack, Sampler, Stack, by_symbol, law_of
from tod.study.world import log_softmax

__all__ = ["Ends", "ExactOperator", "train_stack"]


@dataclass(frozen=True, eq=False)
class ExactOperator:
    """An operator of a study.

    Attributes:
        name: What tables call it.
        operator: The operator; its proposal is the setting's.
        eta: Sharpness that it aims at; the setting's if None.
        stream: Its random numbers; equal ones are common.
    """

    name: str
    operator: Operator
    eta: float | None = None
    stream: int = 0


@dataclass(frozen=True, eq=False)
class Ends:
    """Where the arms of one setting ended, and what was seen on the way.

    Attributes:
        laws: Final log-probs of every sequence, [A, W, S, C, Y], nats.
        legs: Means over contexts and measured steps, [A, W, S] each: of every leg, and
            ``off_path``, the deviation of log π/b from the path b·exp(η̂U), nats.
        activation: Share of the gradient's weight that the trust region changed, [A, W, S]; NaN of
            an operator without one.
        directions: Cosine of the first ascent directions of two arms, [W, S, A, A].
    """

    laws: Float[np.ndarray, "A W S C Y"]
    legs: dict[str, Float[np.ndarray, "A W S"]]
    activation: Float[np.ndarray, "A W S"]
    directions: Float[np.ndarray, "W S A A"]


def train_stack(
    spec: ExactSpec, stack: Stack, setting: GridPoint, arms: tuple[ExactOperator, ...]
) -> Ends:
    """Train every arm from the base in every run of the stack.

    One update of an arm is one call of its operator; what `train` does in a run is done in all.

    Args:
        spec: How long, how fast, and how many candidates.
        stack: The runs.
        setting: Sharpness and proposal.
        arms: The operators.
    """
    log_mu = stack.law(lambda world: setting.proposal.law(world, setting.eta))
    start = Sampler.of_law(stack, log_mu)
    gradient = np.zeros_like(start.by_choice)
    learners = [_Learner.of(spec, stack, setting, arm, start, gradient) for arm in arms]
    for step in range(spec.steps):
        shared: dict[Any, CandidateStack] = {}
        for learner in learners:
            learner.update(step, shared)
    return _ends(stack, learners)


@dataclass(eq=False)
class _Learner:
    """One arm on its way."""

    spec: ExactSpec
    stack: Stack
    arm: ExactOperator
    refresh: int | None
    mu: Sampler
    logits: Float[np.ndarray, "V NS"]
    gradient: Float[np.ndarray, "V NS"]
    adam: Adam
    eta: float
    teacher: Float[np.ndarray, "V NS"] | None
    rows: Any = None
    first: Any = None
    legs: list[Float[np.ndarray, "4 W S"]] = field(default_factory=list)
    active: list[Float[np.ndarray, "2 W S"]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        spec: ExactSpec,
        stack: Stack,
        setting: GridPoint,
        arm: ExactOperator,
        mu: Sampler,
        gradient: Any,
    ) -> "_Learner":
        logits = by_symbol(stack.whole.base_logits)
        eta = setting.eta if arm.eta is None else arm.eta
        adam = Adam.start(logits.ravel())
        teacher = None
        if arm.operator.auxiliary.distillation is not None:
            target = stack.law(lambda world: world.target(eta))
            teacher = by_symbol(stack.whole.language.conditionals(target))
        return cls(
            spec,
            stack,
            arm,
            setting.proposal.refresh,
            mu,
            logits,
            gradient,
            adam,
            eta,
            teacher,
        )

    def __post_init__(self) -> None:
        self.procedure = procedure_of(self.arm.operator, self.eta)
        self.scale, self.noise = in_nats(self.procedure), label_noise(self.procedure)

    def update(self, step: int, shared: dict[Any, CandidateStack]) -> None:
        """One batch and one update."""
        drawn = self._drawn(step, shared)
        log_cond = log_softmax(self.logits.take(drawn.states, axis=1), axis=0)
        seen = replace(drawn.batch, log_policy=log_cond.ravel()[drawn.place])
        if self.noise is not None:
            seen = replace(seen, value=self._choices(seen, step))
        credit = self.procedure.operator.update.credit(seen)
        if step % self.spec.legs_every == 0:
            self._measure(seen, credit)
        taken = np.bincount(drawn.place, np.asarray(credit.per_token), log_cond.size)
        slope = slope_of_choices(log_cond, taken.reshape(log_cond.shape), axis=0)
        slope *= self.scale
        if self.teacher is not None:
            slope -= self._divergence(seen, drawn, log_cond)
        self.gradient[:, drawn.states] = slope
        rate = self.spec.rate * (1.0 - step / self.spec.steps)
        self.adam = self.adam.step_in_place(self.logits.ravel(), self.gradient.ravel(), rate)
        self.first = self.gradient.copy() if step == 0 else self.first
        self.gradient[:, drawn.states] = 0.0

    def _drawn(self, step: int, shared: dict[Any, CandidateStack]) -> CandidateStack:
        """The candidates of a step; arms of one target and stream share a μ that stands still."""
        due = self.refresh is not None and step % self.refresh == 0
        if due and step:
            self.mu = Sampler.of_choices(self.stack, log_softmax(self.logits, axis=0))
        if due or self.rows is None:
            self._draw(step)
        key = (self.arm.stream, self.eta)
        if self.refresh is None and key in shared:
            return shared[key]
        rows = self.rows[:, step - self.drawn_at]
        drawn = CandidateStack.of(self.stack, self.procedure.tilt, rows, self.mu)
        if self.refresh is None:
            shared[key] = drawn
        return drawn

    def _draw(self, step: int) -> None:
        """The candidates of all steps that this μ serves."""
        last = self.spec.steps if self.refresh is None else step + self.refresh
        every = self.stack.uniforms(self.spec.steps, self.spec.size, self.arm.stream)
        some = every[step:last].transpose(1, 0, 2)
        rows = rows_at(self.mu.table, some.reshape(len(some), -1))
        self.rows, self.drawn_at = rows.reshape(some.shape), step

    def _choices(self, batch: Batch, step: int) -> Any:
        """U + s·G: the larger of two wins with probability σ(ΔU/s)."""
        every = self.stack.label_uniforms(self.spec.steps, self.spec.size, self.arm.stream)
        assert self.noise is not None  # noqa: S101 - the caller asked
        return batch.value + self.noise * gumbel(every[step].ravel())

    def _divergence(self, batch: Batch, drawn: CandidateStack, log_cond: Any) -> Any:
        """The slope of the divergence from the target's conditionals, over the states visited."""
        term: Any = self.arm.operator.auxiliary.distillation
        share = term.aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
        visits = np.bincount(drawn.place % len(drawn.states), share, len(drawn.states))
        log_p = self.teacher[:, drawn.states].T  # type: ignore[index]
        return term.weight * (visits[:, None] * divergence_slope(term, log_p, log_cond.T)).T

    def _measure(self, batch: Batch, credit: Any) -> None:
        """Legs and activation of a batch before it is used, run by run."""
        columns = legs_of(batch)
        means = [self.stack.by_run(columns[leg]).mean(axis=(2, 3)) for leg in LEGS]
        self.legs.append(np.stack([*means, self._off_path(batch)]))
        if credit.gate is not None and credit.token_advantage is not None:
            self.active.append(self._active(credit))

    def _off_path(self, batch: Batch) -> Float[np.ndarray, "W S"]:
        """Standard deviation of log π/b that no multiple of U explains, nats, run by run.

        One slope for all contexts of a run; constants of a context are no matter.
        """
        gap = batch.sequences.sum(batch.log_policy) - batch.log_base
        x, u = (
            self.stack.by_run(
                np.asarray(values - batch.contexts.spread(batch.contexts.mean(values)))
            )
            for values in (gap, batch.tilt)
        )
        inside = (2, 3)
        square = (u * u).sum(axis=inside, keepdims=True)
        slope = (x * u).sum(axis=inside, keepdims=True) / np.where(square > 0, square, 1.0)
        size = self.spec.size
        return np.sqrt(((x - slope * u) ** 2).mean(axis=inside) * size / (size - 1))  # type: ignore[no-any-return]

    def _active(self, credit: Any) -> Float[np.ndarray, "2 W S"]:
        gate, advantage = (
            self.stack.by_run(np.asarray(x)) for x in (credit.gate, credit.token_advantage)
        )
        w, s, _ = self.stack.shape
        sums = [[activation_sums(gate[i, j], advantage[i, j]) for j in range(s)] for i in range(w)]
        return np.moveaxis(np.array(sums), 2, 0)


def _ends(stack: Stack, learners: list[_Learner]) -> Ends:
    """What the arms leave."""
    first = np.stack([learner.first for learner in learners])
    laws = [law_of(stack, log_softmax(learner.logits, axis=0)) for learner in learners]
    w, s, _ = stack.shape
    g = first.reshape(len(first), first.shape[1], w, s, -1)
    dots = np.einsum("avwsn,bvwsn->wsab", g, g)
    length = np.sqrt(np.maximum(np.einsum("wsaa->wsa", dots), np.finfo(float).tiny))
    legs = np.stack([np.mean(learner.legs, axis=0) for learner in learners])
    return Ends(
        laws=np.stack([stack.by_run(law) for law in laws]),
        legs={name: legs[:, i] for i, name in enumerate((*LEGS, "off_path"))},
        activation=np.stack([_share(learner.active, (w, s)) for learner in learners]),
        directions=dots / (length[..., :, None] * length[..., None, :]),
    )


def _share(active: list[Float[np.ndarray, "2 W S"]], shape: tuple[int, int]) -> Any:
    """Mean activation over measured steps; NaN where the operator has no gate."""
    if not active:
        return np.full(shape, np.nan)
    shares = [
        [share_of(a, b) for a, b in zip(*step.reshape(2, -1), strict=True)] for step in active
    ]
    return np.nanmean(np.array(shares, dtype=float), axis=0).reshape(shape)
