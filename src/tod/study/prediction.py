"""The numbers of a composition's law on an exact world: what `law_of` says, sequence by sequence.

Choices are the one exception: their fixed point depends on how they were drawn.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from tod.atlas.law import Law as Rest
from tod.atlas.law import close, exponents, law_of
from tod.operators import (
    Dpo,
    Gae,
    Ipo,
    PolicyGradient,
    Preference,
    Proposal,
    ReturnToGo,
)
from tod.procedure import Procedure
from tod.study.distances import geometric
from tod.study.laws import (
    squared_choices,
    standardised_sharpness,
    tilted,
    token_exponential,
    token_rational,
    weighted,
)
from tod.study.population import Policies
from tod.study.population_credit import chooser_noise
from tod.study.world import Law
from tod.targets import Mixture


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
    """The fixed point with μ = π_old = π at every step; None where nothing is derived."""
    action = procedure.operator.update
    if isinstance(action, Preference):
        return _of_choices(procedure, policies, None, label_scale)
    whole = isinstance(action, PolicyGradient) and isinstance(action.advantage, ReturnToGo | Gae)
    return None if whole and procedure.tilt.utilities else _numbers(procedure, 1, policies, {})


def predicted_off_policy(
    procedure: Procedure, policies: Policies, proposal: Law, label_scale: float = 1.0
) -> Prediction | None:
    """The fixed point on one batch of a fixed μ; None where nothing is derived."""
    action = procedure.operator.update
    if isinstance(action, Preference):
        return _of_choices(procedure, policies, proposal, label_scale)
    if isinstance(action, PolicyGradient):
        return None
    fixed = {"old": proposal, "data": proposal}
    return _numbers(procedure, None, policies, fixed)


def _numbers(
    procedure: Procedure, refresh: int | None, policies: Policies, fixed: dict[str, Law]
) -> Prediction | None:
    """The law with μ = π_old, refreshed or standing still.

    Args:
        procedure: Whatever its own proposal is.
        refresh: Of μ.
        policies: The world and its policies.
        fixed: What stands still beside them, by name.
    """
    proposal = Proposal(source="old", refresh=refresh)
    there = procedure.revised(operator=procedure.operator.revised(proposal=proposal))
    law = law_of(there)
    if law.shape == "climbs":
        return UNBOUNDED if law.etas else None
    known = {"ref": policies.world.base, "teacher": policies.teacher, **fixed}
    if law.shape == "other" or law.support or not set(law.anchor) <= set(known):
        return None
    log_b = geometric([(rho, known[name]) for name, rho in law.anchor.items()])
    numbers = _density(law, policies, log_b)
    stated = law.shape == "exponential" and not (law.by_token or law.by_length)
    stated = stated and close(law.anchor, exponents(there.tilt, there.operator))
    stated = stated and close(law.etas, {t.utility: t.eta for t in there.tilt.tilts})
    return numbers if numbers is None or not stated else Prediction("q*", numbers.law)


def _density(law: Rest, policies: Policies, log_b: Law) -> Prediction | None:
    """A law in numbers, its anchor being given."""
    if law.by_token:
        return _token_by_token(law, policies, log_b)
    u = np.zeros_like(log_b)
    for name, eta in law.etas.items():
        u = u + eta * policies.world.named(name)
    sizes = policies.world.language.sequences.sizes
    divided, tail = (-np.log(sizes), "/L") if law.by_length else (0.0 * sizes, "")
    if law.shape == "accepted":
        with np.errstate(divide="ignore"):
            kept = np.log((u >= law.bound).astype(np.float64))
        return Prediction("μ·1{U ≥ u}" + tail, weighted(log_b, kept + divided))
    if law.shape == "capped":
        x = u - (np.exp(log_b) * u).sum(axis=1, keepdims=True) if law.centred else u
        capped = np.minimum(x, np.log(law.bound))
        return Prediction("μ·min(exp(ηU), cap)" + tail, weighted(log_b, capped + divided))
    formula = "b·exp(r/β)" if law.etas else "b"
    if set(law.anchor) <= {"old", "data"}:
        formula = "μ·exp(ηU)" if law.etas else "μ"
    return Prediction(formula + tail, weighted(log_b, u + divided))


def _token_by_token(law: Rest, policies: Policies, log_b: Law) -> Prediction | None:
    """A utility beside a KL in the loss; only where every token weighs the same."""
    language = policies.world.language
    if (law.by_length and not language.sequences.uniform) or len(law.etas) != 1:
        return None
    ((name, eta),) = law.etas.items()
    u = policies.world.named(name)
    found, formula = partial(token_exponential, language, log_b), "b·exp({}E[U]) by token"
    if law.shape == "rational":
        found, formula = partial(token_rational, language, log_b), "b/(1 − {}(U − Ū)) by token"
    if law.scale == "constant":
        return Prediction(formula.format("η"), found(eta, u))
    sharpness = standardised_sharpness(lambda s: found(s, u), eta, u)
    if law.scale == "batch_std" or sharpness is None:
        return UNBOUNDED if sharpness is None else None
    return Prediction(formula.format("s") + ", s = η/σ_q", found(sharpness, u))


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
