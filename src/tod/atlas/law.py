"""Laws: fixed points of procedures whose updates are iterated, in a normal form.

Two procedures share a target when their laws are equal, whatever their settings are called. The
law is read off the structure: the pull, the advantage, the weights, and what moves with the policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import tod.operators as op
from tod.procedure import Procedure
from tod.targets import Mixture, Target

Shape = Literal["exponential", "rational", "accepted", "capped", "climbs", "other"]
Scale = Literal["constant", "group_std", "batch_std"]

_SCALES: dict[str, Scale] = {
    "group_zscore": "group_std",
    "leave_one_out_zscore": "group_std",
    "batch_zscore": "batch_std",
    "return_to_go": "batch_std",
    "gae": "batch_std",
}
PROJECTING = ("target", "target_of_step")
"""Weights q*/μ."""
_SAME = 1e-9


@dataclass(frozen=True)
class Law:
    """Fixed point of iterated updates; of a selection, what it puts out as K → ∞.

    Attributes:
        shape: ``exponential``: b·exp(Σ η_k U_k); ``rational``: b/(1 − η(U − Ū)); ``accepted``:
            b·1{U ≥ bound}; ``capped``: b·min(exp(ηU), bound); ``climbs``: no finite law, the
            utility's argmax is approached as far as the trust region and the number of steps
            allow; ``other``: none of these, see ``why``.
        anchor: Exponents of b over policies that stay put.
        etas: Sharpness η_k by utility; per unit of U/σ where ``scale`` says so.
        scale: Whether η is constant, or is divided by the spread of U in the context or the step.
        epsilon: Added to that spread.
        holds: ``always``, or ``on_policy``: only while μ follows π.
        why: One sentence, where the shape is not exponential.
        by_token: The pull is credited to its own token alone, so that the law holds of single
            tokens and, beyond one, of b·exp(ηE[U]) token by token in the place of sequences.
        by_length: A sequence of L tokens counts 1/L: the law is divided by L, or, by token, its
            tokens are weighed so.
        bound: Least utility that is accepted, or largest weight.
        centred: Whether a capped ηU is less its mean under b.
        support: Utilities that are 0 or less only outside the law.
    """

    shape: Shape
    anchor: Mapping[str, float] = field(default_factory=dict)
    etas: Mapping[str, float] = field(default_factory=dict)
    scale: Scale = "constant"
    epsilon: float = 0.0
    holds: Literal["always", "on_policy"] = "always"
    why: str = ""
    by_token: bool = False
    by_length: bool = False
    bound: float = 0.0
    centred: bool = False
    support: tuple[str, ...] = ()

    def same(self, other: "Law") -> bool:
        """Whether both have one fixed point; never for two that have none."""
        return (
            self.finite
            and self._form == other._form
            and close(self.anchor, other.anchor)
            and close(self.etas, other.etas)
        )

    @property
    def finite(self) -> bool:
        """Whether there is a law, in letters."""
        return self.shape not in ("climbs", "other")

    @property
    def _form(self) -> tuple[Any, ...]:
        """All but the numbers that are compared up to rounding, and but where it holds."""
        kept = (self.shape, self.scale, self.by_token, self.by_length, self.centred)
        return (*kept, self.bound, frozenset(self.support))

    @property
    def letters(self) -> str:
        """The law in one line of letters."""
        if not self.finite:
            return self._nowhere
        b = base_letters(self.anchor)
        b += "".join(f"·1{{{name} > 0}}" for name in self.support)
        spread = {"constant": "", "group_std": "/σ_c", "batch_std": "/σ_batch"}[self.scale]
        terms = " + ".join(_times(eta, name) + spread for name, eta in self.etas.items() if eta)
        tail = ", token by token" if self.by_token else ""
        if self.by_length:
            tail = f"{tail}, each weighed by 1/L" if self.by_token else "/L"
        if self.shape == "rational":
            return f"{b}/(1 − η(U − Ū)), ηU = {terms}{tail}"
        if self.shape == "accepted":
            return f"{b}·1{{{terms} ≥ {self.bound:.4g}}}{tail}"
        if self.shape == "capped":
            inner = f"{terms} − mean" if self.centred else terms
            return f"{b}·min(exp({inner}), {self.bound:.4g}){tail}"
        return (f"{b}·exp({terms})" if terms else b) + tail

    @property
    def _nowhere(self) -> str:
        if self.shape != "climbs":
            return f"other: {self.why}"
        if not self.anchor:
            return "no finite law: argmax U"
        terms = " + ".join(_times(eta, name) for name, eta in self.etas.items())
        what = base_letters(self.anchor) + (f"·exp({terms})" if terms else "")
        return f"no finite law: argmax {what}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "shape": self.shape,
            "letters": self.letters,
            "anchor": dict(self.anchor),
            "etas": dict(self.etas),
            "scale": self.scale,
            "holds": self.holds,
            "why": self.why or None,
            "by_token": self.by_token,
            "by_length": self.by_length,
        }


def _times(eta: float, name: str) -> str:
    return name if eta == 1.0 else f"{eta:.4g}·{name}"


def base_letters(anchor: Mapping[str, float]) -> str:
    """Π_j π_j^ρ_j in letters."""
    names = {"mu": "μ", "data": "q̂_data"}
    parts = [
        names.get(name, f"π_{name}") + ("" if abs(rho - 1.0) <= _SAME else f"^{rho:.4g}")
        for name, rho in anchor.items()
        if rho != 0.0
    ]
    return "·".join(parts) or "uniform"


def close(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether two maps hold the same numbers, absent ones being 0, to 1e-9 relative."""
    keys = {*a, *b}
    return all(
        abs(a.get(k, 0.0) - b.get(k, 0.0))
        <= _SAME * max(1.0, abs(a.get(k, 0.0)), abs(b.get(k, 0.0)))
        for k in keys
    )


def law_of(procedure: Procedure) -> Law:
    """The law of a procedure; see the module for what is read."""
    target, operator = procedure.tilt, procedure.operator
    action = operator.action
    if isinstance(target.anchor, Mixture) and len(target.anchor.weights) > 1:
        return Law("other", why="the anchor is an arithmetic mixture: no exponents to compare")
    if target.selectivity is not None:
        return Law("other", why="a selectivity gives every prompt its own η")
    if operator.auxiliary.entropy is not None:
        return Law("other", why="an entropy bonus pulls to the uniform law, token by token")
    if isinstance(action, op.PolicyGradient):
        return _of_gradient(target, operator, action)
    if isinstance(action, op.WeightedRegression):
        return _of_regression(target, operator, action)
    if isinstance(action, op.Preference):
        return _of_preference(target, operator, action)
    if isinstance(action, op.NoCredit):
        return _of_auxiliary(operator)
    if isinstance(action, op.Listwise):
        return _of_vanishing(target, operator)
    return _of_selection(target, operator)


def exponents(target: Target, operator: op.Operator) -> dict[str, float]:
    """Exponents ρ_j of the target's anchor, μ read as the policy it is; a data target's as data.

    At test time nothing is updated: π_old is π_ref, the model that is searched.
    """
    anchor = target.anchor
    given = anchor.weights if isinstance(anchor, Mixture) else anchor
    if set(given) == {"mu"} and not target.tilts and not target.support:
        return {"data": 1.0}
    samplers = operator.proposal.samplers
    source = str(samplers[0]) if len(samplers) == 1 else "mu"
    merged: dict[str, float] = {}
    for name, rho in given.items():
        known = source if name == "mu" else str(name)
        if known == "old" and not isinstance(operator.action, op.UpdateRule):
            known = "ref"
        merged[known] = merged.get(known, 0.0) + rho
    return {name: rho for name, rho in merged.items() if rho != 0.0}


def follows(operator: op.Operator) -> bool:
    """Whether μ is the policy as it was at the last refresh, and nothing older or beside it."""
    fresh = operator.proposal.source in ("old", "pairs")
    return fresh and operator.proposal.samplers == ("old",) and moves(operator)


def moves(operator: op.Operator) -> bool:
    """Whether μ changes with the policy at all, as a buffer or a mixture may in part."""
    return "old" in operator.proposal.samplers and operator.proposal.refresh is not None


def biased(operator: op.Operator) -> bool:
    """Whether fixed points of groups of K are off the law by O(1/K).

    They are for weights q*/μ of an uncentred regression. While μ follows π those weights are even
    at the fixed point, and nothing is left.
    """
    action = operator.action
    return (
        isinstance(action, op.WeightedRegression)
        and action.weights.kind in PROJECTING
        and not (action.centred or follows(operator))
    )


def _etas(target: Target) -> dict[str, float]:
    return {tilt.utility: tilt.eta for tilt in target.tilts if tilt.eta != 0.0}


def _of_vanishing(
    target: Target, operator: op.Operator, holds: Literal["always", "on_policy"] = "always"
) -> Law:
    """The fixed point of an update that vanishes at π = q*, π_old moving with π."""
    powers = exponents(target, operator)
    if "mu" in powers and moves(operator):
        return Law("other", etas=_etas(target), why="its anchor μ moves in part with the policy")
    stays = operator.proposal.samplers == ("old",) and operator.proposal.refresh is None
    moving = 0.0 if stays else powers.pop("old", 0.0)
    left = 1.0 - moving
    if moving and not powers:
        return Law("climbs", etas=_etas(target), why="its only anchor moves with the policy")
    if left <= _SAME:
        why = f"π_old moves with exponent {moving:.4g}: every update adds to the last, unbounded"
        drift = powers if left >= -_SAME else {}
        return Law("climbs", drift, _etas(target), why=why)
    etas = {name: eta / left for name, eta in _etas(target).items()}
    anchor = {name: rho / left for name, rho in powers.items()}
    return Law("exponential", anchor, etas, holds=holds, support=target.support)


def _of_gradient(target: Target, operator: op.Operator, action: op.PolicyGradient) -> Law:
    scale = _SCALES.get(action.advantage.kind, "constant")
    if not action.advantage.scale_free:
        scale = "constant"
    epsilon = float(getattr(action.advantage, "epsilon", 0.0))
    hard = isinstance(action.trust_region, op.Clip | op.DualClip)
    if action.pull is None:
        why = "no pull to an anchor: only the trust region bounds a step"
        return Law("climbs", etas=_etas(target), scale=scale, why=why)
    by_length = action.aggregation.kind == "sequence_mean_token_mean"
    in_loss = isinstance(action.pull, op.KLPull) and action.pull.place == "loss"
    if action.advantage.kind == "raw" and by_length and not in_loss:
        why = "no baseline, and sequences are divided by their lengths: short ones are pushed up"
        return Law("other", etas=_etas(target), why=why)
    if isinstance(action.pull, op.Residual):
        frozen = action.pull.at == "old"
        return _of_vanishing(target, operator, "on_policy" if hard or frozen else "always")
    if target.support:
        return Law("other", why="a hard constraint beside a KL pull: nothing here says its law")
    law = _of_pull(target, action.pull, scale, epsilon)
    return replace(law, by_length=by_length) if in_loss and law.finite else law


def _of_pull(target: Target, pull: op.KLPull, scale: Scale, epsilon: float) -> Law:
    powers = {
        str(name): rho
        for name, rho in (target.anchor if isinstance(target.anchor, dict) else {}).items()
        if name not in ("old", "mu") and rho != 0.0
    }
    total = sum(powers.values())
    if total <= 0.0:
        why = "the pull draws to π_old alone, which moves with the policy"
        return Law("climbs", etas=_etas(target), scale=scale, why=why)
    anchor = {name: rho / total for name, rho in powers.items()}
    etas = {name: eta / total for name, eta in _etas(target).items()}
    if pull.place == "reward":
        if pull.kind == "k1":
            return Law("exponential", anchor, etas, holds="on_policy")
        return Law("other", why=f"{pull.kind} in the reward does not have the gradient of a KL")
    if pull.kind == "k1" and not pull.importance:
        why = "k1 in the loss has no expected gradient: there is no pull"
        return Law("climbs", etas=etas, scale=scale, why=why)
    if pull.kind == "k2" and pull.importance:
        return Law("other", why="ρ·k2 with ρ differentiable also lowers the spread of log π/b")
    if pull.kind == "k3" and not pull.importance:
        why = "k3 in the loss has the gradient of the forward KL(b‖π)"
        return Law("rational", anchor, etas, scale, epsilon, "on_policy", why, by_token=True)
    return Law("exponential", anchor, etas, scale, epsilon, "on_policy", by_token=True)


def _of_regression(target: Target, operator: op.Operator, action: op.WeightedRegression) -> Law:
    """A projection of the weighted sample; divided by lengths, of another one."""
    law = _of_weights(target, operator, action)
    kind = "" if action.aggregation is None else action.aggregation.kind
    by_length = kind == "sequence_mean_token_mean" and not action.centred and law.finite
    return replace(law, by_length=by_length)


def _of_weights(target: Target, operator: op.Operator, action: op.WeightedRegression) -> Law:
    kind = action.weights.kind
    powers, source = exponents(target, operator), operator.proposal.samplers
    if action.by_probability:
        return Law("other", why="tokens weigh by their own π: what is likely gets likelier")
    if powers == {"data": 1.0} and kind in ("uniform", *PROJECTING):
        return Law("exponential", {"data": 1.0})
    if kind in PROJECTING:
        return _of_vanishing(target, operator)
    etas = _etas(target)
    if kind == "kl_budget" and "old" not in powers:
        return Law("other", etas=etas, why="η is what the KL budget allows, whatever is declared")
    if moves(operator):
        return _of_moving(kind, etas)
    mu = {str(source[0]) if len(source) == 1 else "mu": 1.0}
    if kind == "uniform":
        return Law("exponential", mu)
    if isinstance(action.weights, op.Exponentiated):
        centred = action.weights.baseline.kind != "raw"
        return Law("capped", mu, etas, bound=action.weights.cap, centred=centred)
    if isinstance(action.weights, op.Accepted) and etas:
        shares = {name: eta / target.sharpness for name, eta in etas.items()}
        return Law("accepted", mu, shares, bound=action.weights.threshold)
    return Law("other", etas=etas, why=f"weights {kind!r} of K rollouts: no tilt of μ")


def _of_moving(kind: str, etas: Mapping[str, float]) -> Law:
    """Weights without b/μ, of candidates of the policy itself."""
    if kind == "uniform":
        return Law("other", why="the policy's own draws, all alike: nothing but noise moves it")
    if kind == "accepted":
        why = "all mass goes to what is accepted; how it is shared there depends on the way"
        return Law("other", etas=etas, why=why)
    why = f"weights {kind!r} have no b/μ: the target is μ tilted, sharper at every refresh"
    return Law("climbs", etas=etas, why=why)


def _of_preference(target: Target, operator: op.Operator, action: op.Preference) -> Law:
    kind = action.loss.kind
    if kind in ("simpo", "orpo"):
        return Law("climbs", etas=_etas(target), why=f"{kind} has no anchor")
    if kind == "robust_dpo":
        return Law("other", why="right only for labels that are flipped with probability ε")
    if kind == "dpo":
        return _of_vanishing(target, operator)
    return Law("other", why=f"{kind} does not fit the choice model that defines the target")


def _of_auxiliary(operator: op.Operator) -> Law:
    term = operator.auxiliary.distillation
    if term is None:
        return Law("other", why="no credit and no distillation: nothing is aimed at")
    if term.top_k is not None:
        why = "of tokens outside the teacher's top ones at most their whole mass is fitted"
        return Law("other", why=why)
    return Law("exponential", {"teacher": 1.0})


def _of_selection(target: Target, operator: op.Operator) -> Law:
    kind = operator.action.kind
    if kind in ("resample", "rejection", "smc"):
        powers = exponents(target, operator)
        return Law("exponential", powers, _etas(target), support=target.support)
    why = f"{kind} puts out one of K rollouts: no tilt of b has that law"
    return Law("other", etas=_etas(target), why=why)
