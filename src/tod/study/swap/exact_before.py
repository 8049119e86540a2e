"""What a diagnosis reads in an exact world before training, from batches as a run would draw them.

The legs, tails, coverage and classes are those of `tod.examine`. Oracles, which no run can know,
have names that begin with ``oracle_``.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from tod.base import Groups
from tod.candidates import Candidates, Labels
from tod.diagnostics.coverage import missing_mass
from tod.diagnostics.ess import ess_rel
from tod.operators import Operator
from tod.procedure import Declared, Examined, examine, log_weights
from tod.study.distances import mean_variation, uncovered
from tod.study.population import Policies
from tod.study.sampled import draw, sampled
from tod.study.swap.exact_spec import ExactSpec, GridPoint, procedure_of
from tod.study.swap.exact_stack import run_seed
from tod.study.world import FiniteWorld, Law

__all__ = ["before_training", "oracles"]

BATCHES = 16
"""Batches that are looked at: 16 × 8 contexts of 16 candidates, as many as a short run draws."""
_PROBE = 11


def before_training(
    spec: ExactSpec, world: FiniteWorld, setting: GridPoint, operator: Operator
) -> dict[str, float | None]:
    """Diagnostics by name; None where one could not be read.

    Args:
        spec: Candidates of a context.
        world: The world.
        setting: Sharpness and proposal.
        operator: Any operator of the target: no number here depends on which.
    """
    log_mu = setting.proposal.law(world, setting.eta)
    candidates = probe(spec, world, log_mu)
    procedure = procedure_of(operator, setting.eta)
    seen = examine(procedure, candidates, declared=Declared(one_engine=True))
    log_w = np.asarray(log_weights(procedure.tilt, candidates))
    answers = candidates.labels.answer
    assert answers is not None  # noqa: S101 - the probe labels them
    prompts = Groups.equal(len(world), BATCHES * spec.size)
    return {
        **of_summary(seen),
        "missing_mass": float(missing_mass(log_w, answers, candidates.contexts).mean()),
        "ess_pooled": float(np.asarray(ess_rel(log_w, Groups.equal(1, log_w.size)))[0]),
        "ess_prompt": float(np.median(np.asarray(ess_rel(log_w, prompts)))),
        **oracles(world, setting, log_mu, BATCHES * spec.size),
    }


def of_summary(seen: Examined) -> dict[str, float | None]:
    """The numbers of a summary that a study asks about."""
    it = seen.summary
    counts = it.contexts
    return {
        "ess_median": it.ess_rel.median,
        "ess_q10": it.ess_rel.q10,
        "ess_mean": it.ess_rel.mean,
        "k_hat": it.tails.pareto_k_pooled,
        "max_weight": it.tails.max_weight_median,
        "var_log_w": it.tails.log_w_variance_median,
        "policy_proposal": it.overlap.policy_proposal,
        "target_policy": it.overlap.target_policy,
        "ess_tri": it.overlap.minimum,
        "mean_rho": it.coverage.mean_rho,
        "mean_rho_z": it.coverage.mean_rho_z,
        "zero_variance": None
        if counts.zero_information is None
        else counts.zero_information / counts.total,
    }


def probe(spec: ExactSpec, world: FiniteWorld, log_mu: Law) -> Candidates:
    """Several batches of μ with the base's log-probs as the policy's, prompt by prompt."""
    policies = Policies.of(world)
    rows: Int[np.ndarray, "C n"] = draw(
        log_mu, BATCHES * spec.size, run_seed(world.seed, 0), _PROBE, 0
    )
    target = procedure_of(next(iter(spec.operators.values())), 1.0).tilt
    drawn, _ = sampled(policies, target, rows, log_mu, world.base_tokens)
    return replace(
        drawn,
        contexts=Groups.equal(len(world) * BATCHES, spec.size),
        tokens=None,
        labels=Labels(answer=rows.ravel()),
    )


def oracles(
    world: FiniteWorld, setting: GridPoint, log_mu: Law, draws: int
) -> dict[str, float | None]:
    """What enumeration alone can tell: mass of q* that no draw holds, and the way to q*."""
    target = world.target(setting.eta)
    return {
        "oracle_uncovered": float(uncovered(target, log_mu, draws).mean()),
        "oracle_travel": mean_variation(target, world.base),
    }
