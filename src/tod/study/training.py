"""Training on drawn candidates in an exact world: a small engine with the same operators."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tod.diagnostics import Summary
from tod.diagnostics.activation import activation
from tod.procedure import Declared, Procedure, batch_of, examine
from tod.study.policy import Adam, FinitePolicy, Tabular, slope_of_logits
from tod.study.population import Policies
from tod.study.sampled import draw, sampled
from tod.study.world import Law, log_softmax

Steer = Callable[[int, Summary], float | None]
"""What sets the sharpness of the next batch, from the step and the summary of this one."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast.

    Attributes:
        steps: Batches; one update each.
        size: Candidates K of every context.
        rate: First learning rate of Adam, with linear decay.
        refresh: Batches between copies of the policy into μ; None never refreshes.
        seed: Of every draw.
    """

    steps: int = 250
    size: int = 16
    rate: float = 0.03
    refresh: int | None = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it.

    Attributes:
        log_p: The final law, [C, Y], nats.
        eta: Sharpness in force at every step; NaN where every context has its own.
        ess_median: Median ESS_rel of every step's batch; NaN where it had none.
        activation: Share of the gradient's weight that the trust region changed; NaN without one.
    """

    log_p: Law
    eta: list[float] = field(default_factory=list)
    ess_median: list[float] = field(default_factory=list)
    activation: list[float] = field(default_factory=list)


def train(
    procedure: Procedure,
    policies: Policies,
    plan: TrainingPlan,
    *,
    proposal: Law | None = None,
    steer: Steer | None = None,
    policy: FinitePolicy | None = None,
) -> Trained:
    """Train from the base on drawn candidates; runs with equal seeds share their random numbers.

    Args:
        procedure: Target and action.
        policies: The world and its policies.
        plan: How long and how fast.
        proposal: μ until the first refresh, and for ever without one; the base if None.
        steer: Sets the sharpness of the next batch; None leaves it.
        policy: What is trained; a table if None.
    """
    world, trained = policies.world, policy or Tabular(policies.world)
    parameters = trained.start()
    adam = Adam.start(parameters)
    log_mu = world.base if proposal is None else proposal
    mu_tokens = world.tokens(log_mu)
    found = Trained(log_mu)
    for step in range(plan.steps):
        log_cond = log_softmax(trained.logits(parameters))
        tokens = world.language.of_tokens(log_cond)
        if plan.refresh is not None and step % plan.refresh == 0 and (step or proposal is None):
            log_mu, mu_tokens = world.language.of_sequences(tokens), tokens
        rows = draw(log_mu, plan.size, plan.seed, step)
        batch, at = sampled(policies, procedure.tilt, rows, log_mu, tokens, mu_tokens)
        log_old = mu_tokens.ravel()[at]
        seen = batch_of(procedure.tilt, batch, tokens.ravel()[at], log_old)
        credit = procedure.operator.update.credit(seen)
        summed = np.bincount(at, np.asarray(credit.per_token), tokens.size).reshape(tokens.shape)
        gradient = trained.pull_back(parameters, slope_of_logits(world, log_cond, summed))
        rate = plan.rate * (1.0 - step / plan.steps)
        parameters, adam = adam.step(parameters, gradient, rate)
        active = None
        if credit.gate is not None and credit.token_advantage is not None:
            active = activation(credit.gate, credit.token_advantage)
        summary = examine(
            procedure, batch, declared=Declared(activation=active, one_engine=True)
        ).summary
        _note(found, procedure, summary)
        eta = None if steer is None else steer(step, summary)
        if eta is not None:
            procedure = procedure.revised(target=procedure.target.turned({"eta": eta}))
    final = world.language.of_tokens(log_softmax(trained.logits(parameters)))
    law = world.language.of_sequences(final)
    return Trained(law, found.eta, found.ess_median, found.activation)


def _note(found: Trained, procedure: Procedure, summary: Summary) -> None:
    for series, value in (
        (found.eta, procedure.tilt.common_sharpness),
        (found.ess_median, summary.ess_rel.median),
        (found.activation, summary.activation),
    ):
        series.append(float("nan") if value is None else value)
