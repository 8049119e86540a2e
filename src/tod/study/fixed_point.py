"""Fixed points of iterated operators: with infinitely many candidates, and with groups of K."""

from dataclasses import dataclass, replace

import numpy as np

from tod.base import Groups
from tod.operators import Gae, NoCredit, PolicyGradient, Preference, UpdateRule
from tod.procedure import Procedure, batch_of
from tod.study.auxiliary_slope import auxiliary_slope
from tod.study.distances import mean_variation
from tod.study.policy import Adam, FinitePolicy, Tabular, slope_of_logits
from tod.study.population import Policies
from tod.study.population_credit import population_credit
from tod.study.sampled import draw, sampled
from tod.study.world import Law, log_softmax, normalised


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Where iterated updates lead.

    Attributes:
        law: log π of every sequence, [C, Y], nats.
        moved: TV between the laws half-way and at the end, mean over contexts. An update that
            contracts moves less in what would follow than it did in that half.
    """

    law: Law
    moved: float


def fixed_point(
    procedure: Procedure,
    policies: Policies,
    *,
    proposal: Law | None = None,
    policy: FinitePolicy | None = None,
    steps: int = 600,
    rate: float = 0.1,
    label_scale: float = 1.0,
) -> FixedPoint:
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
        The law, and how far it still moved: an operator without a fixed point is somewhere on its
        way after ``steps``.
    """
    world = policies.world
    trained = Tabular(world) if policy is None else policy
    parameters = trained.start()
    adam = Adam.start(parameters)
    halfway = parameters
    for step in range(steps):
        halfway = parameters if step == steps // 2 else halfway
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
    before, law = (
        np.asarray(world.language.of_sequences(world.language.of_tokens(log_softmax(logits))))
        for logits in (trained.logits(halfway), trained.logits(parameters))
    )
    return FixedPoint(law, mean_variation(before, law))


SIZES = (2, 4, 8, 16, 64)
"""Candidates K at which an operator is audited."""
_DRAWS = 2048
"""Candidates of a context at every step, in groups of K."""


@dataclass(frozen=True)
class FiniteK:
    """Where groups of K lead.

    Attributes:
        k: K.
        on_policy: TV to the declared target with μ = π_old = π, mean over contexts.
        off_policy: The same on batches of a fixed μ.
    """

    k: int
    on_policy: float
    off_policy: float


def depends_on_k(action: object) -> bool:
    """Whether a group's size enters an action's expected push at all.

    Pairs are drawn two by two, a critic and a divergence look at one candidate at a time.
    """
    alone = isinstance(action, PolicyGradient) and isinstance(action.advantage, Gae)
    return isinstance(action, UpdateRule) and not (
        alone or isinstance(action, Preference | NoCredit)
    )


def finite_rows(
    procedure: Procedure,
    policies: Policies,
    target: tuple[Law, Law],
    off: Law,
    sizes: tuple[int, ...] = SIZES,
    steps: int = 300,
) -> tuple[FiniteK, ...]:
    """The fixed points at every K; none where K does not enter.

    Args:
        procedure: Target and action.
        policies: The world and its policies.
        target: The declared target on- and off-policy.
        off: The fixed μ of the off-policy half.
        sizes: K.
        steps: Updates of each.
    """
    if not depends_on_k(procedure.operator.action):
        return ()
    return tuple(
        FiniteK(
            size,
            mean_variation(finite_point(procedure, policies, size, steps=steps), target[0]),
            mean_variation(
                finite_point(procedure, policies, size, proposal=off, steps=steps), target[1]
            ),
        )
        for size in sizes
    )


def finite_point(
    procedure: Procedure,
    policies: Policies,
    size: int,
    *,
    proposal: Law | None = None,
    steps: int = 300,
    rate: float = 0.1,
    seed: int = 0,
) -> Law:
    """The law reached from the base on drawn groups of K, averaged over the last third, [C, Y].

    Every step draws many groups, so that what is left of the noise is small; the bias of a group
    of K stays, however many groups there are.

    Args:
        procedure: Target and action.
        policies: The world and its policies.
        size: K.
        proposal: A fixed μ, which is also π_old; None: both are the current policy.
        steps: Updates.
        rate: First rate of Adam, with linear decay.
        seed: Of every draw.
    """
    world, trained = policies.world, Tabular(policies.world)
    parameters = trained.start()
    adam = Adam.start(parameters)
    groups = max(1, _DRAWS // size)
    total, last = np.zeros_like(world.base), max(1, steps // 3)
    for step in range(steps):
        log_cond = log_softmax(trained.logits(parameters))
        tokens = world.language.of_tokens(log_cond)
        law = world.language.of_sequences(tokens)
        total += np.exp(law) if step >= steps - last else 0.0
        log_mu = law if proposal is None else proposal
        mu_tokens = tokens if proposal is None else world.tokens(proposal)
        rows = draw(log_mu, groups * size, seed, step)
        found, at = sampled(policies, procedure.tilt, rows, log_mu, mu_tokens, mu_tokens)
        found = replace(found, contexts=Groups.equal(len(world) * groups, size))
        seen = batch_of(procedure.tilt, found, tokens.ravel()[at], mu_tokens.ravel()[at])
        credit = np.asarray(procedure.operator.update.credit(seen).per_token)
        summed = np.bincount(at, credit, tokens.size).reshape(tokens.shape)
        gradient = trained.pull_back(parameters, slope_of_logits(world, log_cond, summed))
        parameters, adam = adam.step(parameters, gradient, rate * (1.0 - step / steps))
    return normalised(np.log(total / last))
