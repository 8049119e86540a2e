"""Where an operator comes to rest when it is iterated on infinitely many candidates."""

import numpy as np

from tod.procedure import Procedure
from tod.study.auxiliary import auxiliary_slope
from tod.study.credit import population_credit
from tod.study.optimiser import Adam
from tod.study.policy import Policy, Tabular, slope_of_logits
from tod.study.population import Policies
from tod.study.world import Law, log_softmax


def fixed_point(
    procedure: Procedure,
    policies: Policies,
    *,
    proposal: Law | None = None,
    policy: Policy | None = None,
    steps: int = 600,
    rate: float = 0.1,
    label_scale: float = 1.0,
) -> Law:
    """The law reached from the base by Adam with linear decay, on exact expected gradients.

    Args:
        procedure: Target and action; the action's own ``credit`` makes the gradient.
        policies: The world and its policies.
        proposal: A fixed μ that is never refreshed and opens the one batch there is; None: μ and
            π_old are the current policy at every step.
        policy: What is trained; a table if None.
        steps: Updates.
        rate: First learning rate.
        label_scale: Choices are drawn from the utility times this.

    Returns:
        log π of every sequence, [C, Y], nats. An operator without a fixed point is somewhere on
        its way after ``steps``.
    """
    world = policies.world
    trained = Tabular(world) if policy is None else policy
    parameters = trained.start()
    adam = Adam.start(parameters)
    for step in range(steps):
        log_cond = log_softmax(trained.logits(parameters))
        tokens = world.language.of_tokens(log_cond)
        credit = population_credit(procedure, policies, tokens, proposal, label_scale)
        slope = slope_of_logits(world, log_cond, credit)
        if procedure.operator.auxiliary.any_loss:
            log_mu = world.language.of_sequences(tokens) if proposal is None else proposal
            terms = procedure.operator.auxiliary
            slope = slope + auxiliary_slope(terms, policies, log_cond, log_mu)
        gradient = trained.pull_back(parameters, slope)
        parameters, adam = adam.step(parameters, gradient, rate * (1.0 - step / steps))
    final = world.language.of_tokens(log_softmax(trained.logits(parameters)))
    return np.asarray(world.language.of_sequences(final))
