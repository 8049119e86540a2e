"""Which law a composition aims at when that is not its declared target: read off its parts."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tod.base import Groups
from tod.operators import (
    Accepted,
    Dpo,
    Exponentiated,
    Ipo,
    KLPull,
    Listwise,
    NoCredit,
    PolicyGradient,
    Preference,
    Residual,
    ReturnToGo,
    TargetWeights,
    Uniform,
    WeightedRegression,
    WithinBudget,
)
from tod.operators.dual import kl_budget
from tod.operators.token_advantages import Gae
from tod.procedure import Procedure
from tod.study.choices import chooser_noise
from tod.study.laws import (
    squared_choices,
    standardised_sharpness,
    tilted,
    token_exponential,
    token_rational,
    weighted,
)
from tod.study.measures import geometric
from tod.study.population import Policies
from tod.study.world import Law
from tod.targets import Mixture

MOVING, STILL = ("old", "mu"), ("ref", "teacher")
"""Anchors that follow the policy when it is iterated on-policy, and those that do not."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A law by name.

    Attributes:
        formula: The law in words and letters.
        law: log-probs, [C, Y]; None when there is no finite one.
    """

    formula: str
    law: Law | None


UNBOUNDED = Prediction("none: all mass goes to the best sequences", None)


def predicted_on_policy(
    procedure: Procedure, policies: Policies, label_scale: float = 1.0
) -> Prediction | None:
    """The rest point with μ = π_old = π at every step; None where nothing is derived."""
    action = procedure.operator.update
    if isinstance(action, NoCredit) or procedure.operator.auxiliary.any_loss:
        return _of_auxiliary(procedure, policies)
    if isinstance(action, Preference):
        return _of_choices(procedure, policies, None, label_scale)
    if isinstance(action, WeightedRegression):
        plain = isinstance(action.weights, TargetWeights) and not action.by_probability
        if isinstance(action.weights, Uniform | Accepted):
            return None
        if isinstance(action.weights, WithinBudget) and not action.by_probability:
            return _within_budget(procedure, action.weights.budget, policies)
        return _at_residual(procedure, policies) if plain else UNBOUNDED
    if isinstance(action, Listwise):
        return _at_residual(procedure, policies)
    return _of_policy_gradient(procedure, action, policies)


def predicted_off_policy(
    procedure: Procedure, policies: Policies, proposal: Law, label_scale: float = 1.0
) -> Prediction | None:
    """The rest point on one batch of a fixed μ; None where nothing is derived."""
    action = procedure.operator.update
    if procedure.operator.auxiliary.any_loss:
        return _of_auxiliary(procedure, policies)
    if isinstance(action, Preference):
        return _of_choices(procedure, policies, proposal, label_scale)
    if not isinstance(action, WeightedRegression) or action.by_probability:
        return None
    u = policies.world.named(procedure.tilt.utilities[0]) if procedure.tilt.utilities else None
    if isinstance(action.weights, Uniform):
        return Prediction("μ", proposal)
    if isinstance(action.weights, Accepted) and u is not None:
        with np.errstate(divide="ignore"):
            kept = np.log((u >= action.weights.threshold).astype(np.float64))
        return Prediction("μ·1{U ≥ u}", weighted(proposal, kept))
    if isinstance(action.weights, Exponentiated) and u is not None:
        x = procedure.tilt.sharpness * u
        if action.weights.baseline.kind != "raw":
            x = x - (np.exp(proposal) * x).sum(axis=1, keepdims=True)
        capped = np.minimum(x, np.log(action.weights.cap))
        return Prediction("μ·min(exp(ηU), cap)", weighted(proposal, capped))
    return None


def _of_auxiliary(procedure: Procedure, policies: Policies) -> Prediction | None:
    """Distillation alone ends at the teacher, whatever the divergence and the states visited."""
    terms = procedure.operator.auxiliary
    alone = isinstance(procedure.operator.action, NoCredit) and terms.entropy is None
    return Prediction("π_T", policies.teacher) if alone and terms.distillation else None


def _of_policy_gradient(
    procedure: Procedure, action: PolicyGradient, policies: Policies
) -> Prediction | None:
    if action.pull is None or _is_no_pull(action.pull):
        return UNBOUNDED
    if isinstance(action.advantage, ReturnToGo | Gae) and procedure.tilt.utilities:
        return None
    if isinstance(action.pull, Residual):
        return _at_residual(procedure, policies)
    found = _pulled(procedure, policies)
    if found is None:
        return None
    log_b, eta = found
    u = policies.world.named(procedure.tilt.utilities[0])
    if action.pull.place == "reward":
        formula = "q*" if set(procedure.tilt.names) <= set(STILL) else "b·exp(r/β)"
        law = tilted(log_b, eta, u)
        return Prediction(formula, law) if action.pull.kind == "k1" else None
    return _beside_loss(action, policies, log_b, eta, u)


def _beside_loss(
    action: PolicyGradient, policies: Policies, log_b: Law, eta: float, u: Law
) -> Prediction | None:
    """A utility with a KL term in the loss, token by token; every token weighs the same."""
    pull: Any = action.pull
    language = policies.world.language
    by_length = action.aggregation.kind == "sequence_mean_token_mean"
    if by_length and not language.sequences.uniform:
        return None
    if pull.kind == "k3" and not pull.importance:
        law, formula = partial(token_rational, language, log_b), "b/(1 − s(U − Ū)) by token"
    elif pull.kind == "k2" and pull.importance:
        return None
    else:
        law, formula = partial(token_exponential, language, log_b), "b·exp(sE[U]) by token"
    if not action.advantage.scale_free:
        return Prediction(formula.replace("s", "η"), law(eta, u))
    sharpness = standardised_sharpness(lambda s: law(s, u), eta, u)
    if sharpness is None:
        return UNBOUNDED
    return Prediction(formula + ", s = η/σ_q", law(sharpness, u))


def _is_no_pull(pull: Any) -> bool:
    """K1 in the loss: its expected gradient is zero."""
    in_loss = isinstance(pull, KLPull) and pull.place == "loss"
    return in_loss and pull.kind == "k1" and not pull.importance


def _at_residual(procedure: Procedure, policies: Policies) -> Prediction | None:
    """Where the residual stays constant while moving anchors follow the policy."""
    target = procedure.tilt
    if isinstance(target.anchor, Mixture) or target.selectivity is not None or target.support:
        return None
    rest = 1.0 - sum(rho for name, rho in target.anchor.items() if name in MOVING)
    moving = any(name in MOVING for name in target.names)
    if abs(rest) < 1e-12:
        return UNBOUNDED if target.tilts else None
    known = {"ref": policies.world.base, "teacher": policies.teacher}
    still = [(rho / rest, known[name]) for name, rho in target.anchor.items() if name in known]
    log_b = geometric(still)
    for tilt in target.tilts:
        log_b = tilted(log_b, tilt.eta / rest, policies.world.named(tilt.utility))
    return Prediction("b·exp(r/β)" if moving else "q*", log_b)


def _within_budget(procedure: Procedure, budget: float, policies: Policies) -> Prediction | None:
    """b·exp(ηU) with a mean KL from b of the budget; no end where b moves with the policy."""
    target = procedure.tilt
    if isinstance(target.anchor, Mixture) or target.support or len(target.tilts) != 1:
        return None
    if any(name in MOVING for name in target.names):
        return UNBOUNDED
    known = {"ref": policies.world.base, "teacher": policies.teacher}
    log_b = geometric([(rho, known[name]) for name, rho in target.anchor.items()])
    u = policies.world.named(target.tilts[0].utility)
    eta = kl_budget(u.ravel(), Groups.equal(*u.shape), budget, log_w0=log_b.ravel()).eta
    return Prediction("b·exp(ηU), KL(q‖b) = ε", tilted(log_b, eta, u))


def _pulled(procedure: Procedure, policies: Policies) -> tuple[Law, float] | None:
    """The anchor that a KL pull draws to, and the utility's weight over the pull's."""
    target = procedure.tilt
    if isinstance(target.anchor, Mixture) or len(target.tilts) != 1:
        return None
    known = {"ref": policies.world.base, "teacher": policies.teacher}
    parts = [(rho, known[name]) for name, rho in target.anchor.items() if name in known]
    total = sum(rho for rho, _ in parts)
    if total <= 0:
        return None
    log_b = geometric([(rho / total, log_p) for rho, log_p in parts])
    return log_b, target.tilts[0].eta / total


def _of_choices(
    procedure: Procedure, policies: Policies, proposal: Law | None, label_scale: float
) -> Prediction | None:
    """DPO and IPO on drawn choices; hard labels have no finite optimum."""
    action, target = procedure.operator.update, procedure.tilt
    assert isinstance(action, Preference)  # noqa: S101 - the caller asked
    found = _pulled(procedure, policies)
    if found is None or not isinstance(action.loss, Dpo | Ipo):
        return None
    log_b, eta = found
    noise = chooser_noise(procedure)
    if isinstance(action.loss, Dpo) and noise is None:
        return UNBOUNDED
    if noise is None:
        return None
    kappa = label_scale * target.noise_scale / noise
    u = policies.world.named(target.utilities[0])
    if isinstance(action.loss, Dpo):
        return Prediction("q*" if kappa == 1.0 else "b·exp(κηU)", tilted(log_b, kappa * eta, u))
    if proposal is None:
        return None
    beta = 1.0 / (target.sharpness * target.noise_scale)
    if action.loss.by_length:
        if not policies.world.language.sequences.uniform:
            return None
        beta = beta / policies.world.language.length
    formula = "b·exp(E tanh(ΔU/2s)/2β)"
    return Prediction(formula, squared_choices(log_b, proposal, beta, label_scale * u, noise))
