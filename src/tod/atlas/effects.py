"""Silent changes: settings that make a procedure aim elsewhere than its target says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import tod.operators as op
from tod.atlas.law import PROJECTING, biased, close, exponents, law_of
from tod.procedure import Procedure

ChangeKind = Literal["law", "target", "operator", "push"]
"""See `SilentChange.kind`."""


@dataclass(frozen=True)
class SilentChange:
    """A setting and what it does to the target.

    Attributes:
        setting: As its framework spells it, with its value; ``(default)`` if nobody set it.
        effect: What it makes of q*, in letters where there are letters for it.
        kind: ``law``: it moves the target, and the law says so; ``target``: it moves the target,
            and no law of ours says how; ``operator``: the target stays, and the composition says
            it; ``push``: the target stays, and only this says it.
    """

    setting: str
    effect: str
    kind: ChangeKind = "target"

    @property
    def moves_target(self) -> bool:
        """Whether it is the target that it changes."""
        return self.kind in ("law", "target")

    @property
    def name(self) -> str:
        """The setting without its value."""
        return self.setting.partition("=")[0]

    @property
    def plain(self) -> str:
        """The setting with its value, wherever that comes from."""
        return self.setting.removesuffix(" (default)")


_IN_LOSS = {
    ("k1", False): "k1 in the loss has no expected gradient: no pull at all, no finite target",
    ("k2", False): "k2 in the loss without the weight ρ is biased off-policy",
    ("k2", True): "ρ·k2 with ρ differentiable is not the gradient of a KL",
    ("k3", False): "k3 in the loss has the gradient of the forward KL(π_ref‖π): the law is "
    "b/(1 − η(U − Ū)), a rational tilt, not an exponential one",
}
"""By estimator and whether it carries the differentiable weight ρ; absent: the reverse KL."""
_REST = {
    "bucket": "of the others their whole mass is fitted, which of them stays the policy's own",
    "dropped": "the others count nothing, and their mass is free",
    "renormalised": "both laws are renormalised on them, and the mass of the others is free",
}
_ITS_OWN = (
    "a KL in the loss is credited to its own token alone: beyond one token the law holds token by "
    "token, with E[U] in the place of U, and not of sequences"
)


def structural(
    procedure: Procedure, said: Mapping[str, str] | None = None, updates: int = 1
) -> tuple[SilentChange, ...]:
    """What the structure of a procedure changes.

    Args:
        procedure: The triple.
        said: How the framework spells ``advantage``, ``pull``, ``refresh``, ``weights``; our own
            spelling where it is absent.
        updates: Optimiser steps on every batch.
    """
    spelled = {**_ours(procedure), **(said or {})}
    action = procedure.operator.action
    found: list[SilentChange] = []
    if isinstance(action, op.PolicyGradient):
        found += _advantage(procedure, action, spelled)
        found += _pull(procedure, action, spelled, updates)
    if isinstance(action, op.WeightedRegression):
        found += _weights(procedure, action, spelled)
    if isinstance(action, op.Preference):
        found += _labels(action, spelled)
    if not isinstance(action, op.UpdateRule) and not law_of(procedure).finite:
        found.append(SilentChange(spelled["action"], law_of(procedure).why))
    term = procedure.operator.auxiliary.distillation
    if term is not None and term.top_k is not None:
        effect = (
            f"only the teacher's {term.top_k} likeliest tokens are compared: {_REST[term.rest]}"
        )
        found.append(SilentChange(spelled["distillation"], effect))
    if procedure.operator.auxiliary.entropy is not None:
        effect = "an entropy bonus: a second anchor, uniform over tokens"
        found.append(SilentChange(spelled["entropy"], effect))
    if isinstance(action, op.NoCredit) and term is not None and not _states_teacher(procedure):
        effect = "the auxiliary loss alone decides; the target's tilt and form are not read"
        found.append(SilentChange(spelled["target"], effect))
    found += _moving(procedure, spelled)
    in_law = [replace(change, kind="law") for change in found]
    return (*in_law, *decoding(procedure, spelled))


def _states_teacher(procedure: Procedure) -> bool:
    """Whether the target is the teacher itself, which is what a distillation term fits."""
    target = procedure.tilt
    plain = not any(tilt.eta for tilt in target.tilts) and not target.support
    powers = exponents(target, procedure.operator)
    return plain and target.selectivity is None and close(powers, {"teacher": 1.0})


def _ours(procedure: Procedure) -> dict[str, str]:
    action, proposal = procedure.operator.action, procedure.operator.proposal
    spelled = {
        "refresh": f"operator.proposal.refresh={proposal.refresh}",
        "temperature": f"operator.proposal.temperature={proposal.temperature}",
        "top_p": f"operator.proposal.top_p={proposal.top_p}",
        "top_k": f"operator.proposal.top_k={proposal.top_k}",
        "action": f"operator.action.kind={action.kind}",
        "entropy": "operator.auxiliary.entropy",
        "distillation": "operator.auxiliary.distillation.top_k",
        "target": f"target.kind={procedure.target.kind}",
    }
    if isinstance(action, op.PolicyGradient):
        spelled["advantage"] = f"operator.action.advantage={action.advantage.kind}"
        pull = "null" if action.pull is None else action.pull.kind
        place = f", place: {action.pull.place}" if isinstance(action.pull, op.KLPull) else ""
        spelled["pull"] = f"operator.action.pull={{kind: {pull}{place}}}"
        spelled["trust_region"] = f"operator.action.trust_region={action.trust_region.kind}"
    if isinstance(action, op.WeightedRegression):
        spelled["weights"] = f"operator.action.weights={action.weights.kind}"
        kind = None if action.aggregation is None else action.aggregation.kind
        spelled["aggregation"] = f"operator.action.aggregation={kind}"
        spelled["by_probability"] = "operator.action.by_probability=True"
        spelled["size"] = f"operator.proposal.source={proposal.source}"
    if isinstance(action, op.Preference):
        spelled["loss"] = f"operator.action.loss={action.loss.kind}"
    return spelled


def _advantage(
    procedure: Procedure, action: op.PolicyGradient, said: Mapping[str, str]
) -> list[SilentChange]:
    advantage, pull = action.advantage, action.pull
    whitening = getattr(advantage, "whiten", None)
    if whitening is None and not isinstance(
        advantage, op.GroupZScore | op.LeaveOneOutZScore | op.BatchZScore
    ):
        return []
    epsilon = getattr(whitening or advantage, "epsilon", 0.0)
    inside = isinstance(pull, op.Residual) or (
        isinstance(pull, op.KLPull) and pull.place == "reward"
    )
    if inside:
        return []
    by_step = whitening is not None or isinstance(advantage, op.BatchZScore)
    spread = "σ_batch" if by_step else "σ_c"
    if pull is None:
        whom = "prompts whose rollouts rarely differ are pushed hardest"
        if spread == "σ_batch":
            whom = "a step's size does not tell how good its answers were"
        effect = f"rewards are divided by {spread}: their scale is connected to nothing, and {whom}"
    else:
        where = (
            "one sharpness for the step, but it moves with the policy"
            if spread == "σ_batch"
            else "another sharpness for every prompt, sharper as the policy gets surer"
        )
        eta = said.get("eta") or f"{_strength(procedure):.4g}"
        effect = (
            f"the reward is divided by {spread} and the KL is not: "
            f"η = {eta}/{_divisor(spread, epsilon, inside=whitening is not None)}, {where}"
        )
    return [SilentChange(said["advantage"], effect)]


def _divisor(spread: str, epsilon: float, inside: bool) -> str:
    if not epsilon:
        return spread
    return f"√({spread}² + {epsilon:g})" if inside else f"({spread} + {epsilon:g})"


def _strength(procedure: Procedure) -> float:
    """1/β in units of the reward: sharpness over the weight of the anchors a KL pull draws to."""
    powers = exponents(procedure.tilt, procedure.operator)
    fixed = sum(rho for name, rho in powers.items() if name not in ("old", "mu"))
    return procedure.tilt.sharpness / fixed if fixed > 0 else float("inf")


def _pull(
    procedure: Procedure, action: op.PolicyGradient, said: Mapping[str, str], updates: int
) -> list[SilentChange]:
    pull, found = action.pull, []
    if pull is None:
        bound = "only the trust region bounds a step"
        if ratio_is_one(procedure, updates):
            bound = (
                "and with one update a batch the trust region never acts: the learning rate alone "
                "bounds a step"
            )
        effect = f"no KL: no finite target, {bound}; iterated it climbs"
        return [SilentChange(said["pull"], effect)]
    if isinstance(pull, op.Residual):
        if pull.at == "old" and updates > 1:
            effect = "the residual is frozen at π_old: its own weight τ there is a dead knob"
            found.append(SilentChange(said["pull"], effect))
        return found
    if pull.place == "loss":
        text = _IN_LOSS.get((pull.kind, pull.importance), "")
        if pull.kind == "k2" and not pull.importance and updates == 1:
            text = ""
        if pull.kind == "k1" and not pull.importance:
            return [SilentChange(said["pull"], text)]
        return [SilentChange(said["pull"], f"{text}; {_ITS_OWN}" if text else _ITS_OWN)]
    if pull.kind != "k1":
        effect = f"{pull.kind} as a reward: ∇KL(π‖b) − ∇KL(b‖π), which cancels near the anchor"
        found.append(SilentChange(said["pull"], effect))
    elif updates > 1 or procedure.operator.proposal.refresh != 1:
        effect = (
            "the KL is a number taken at π_old: right only while μ is refreshed, and off by the "
            "drift within a batch of several updates"
        )
        found.append(SilentChange(said["pull"], effect))
    return found


def ratio_is_one(procedure: Procedure, updates: int | None) -> bool:
    """Whether π is π_old in every update, so that no trust region acts on their ratio.

    One update a batch, drawn by the policy itself. A ratio to the sampler's own log-probs is
    another one; what knows of it does not ask.

    Args:
        procedure: The triple.
        updates: Optimiser steps on every batch; None: not known, and nothing is claimed.
    """
    proposal = procedure.operator.proposal
    return updates == 1 and proposal.source == "old" and proposal.refresh == 1


def _weights(
    procedure: Procedure, action: op.WeightedRegression, said: Mapping[str, str]
) -> list[SilentChange]:
    """What the law of a regression is, where it is not the target."""
    law, found = law_of(procedure), []
    data = exponents(procedure.tilt, procedure.operator) == {"data": 1.0}
    if isinstance(action.weights, op.WithinBudget):
        declared = ", ".join(f"{tilt.eta:g}" for tilt in procedure.tilt.tilts)
        effect = (
            f"η is what {action.weights.budget:g} nats of KL allow in every step; the declared "
            f"{declared} is not read"
        )
        effect += "; the anchor moves, so it is sharper at every refresh" * (law.shape == "climbs")
        found.append(SilentChange(said["weights"], effect))
    elif action.weights.kind not in PROJECTING and not data:
        if not law.finite:
            without = "no b/μ in the weights: the target is μ·exp(ηU), sharper at every refresh"
            effect = without if law.shape == "climbs" else law.why
        else:
            effect = f"no b/μ in the weights: the law is {law.letters}, whatever q* says"
        found.append(SilentChange(said["weights"], effect))
    elif not law.finite and not action.by_probability and _drifts(procedure):
        sharper = ", iterated it is sharper every time" if law.shape == "climbs" else ""
        effect = f"{law.why}: q* is the target of one update{sharper}"
        found.append(SilentChange(said["target"], effect))
    if action.by_probability:
        effect = "every token is weighted by its own π: sharper than the data"
        found.append(SilentChange(said["by_probability"], effect))
    if law.by_length:
        effect = f"every sequence is divided by its length: it converges to {law.letters}"
        found.append(SilentChange(said["aggregation"], effect))
    if biased(procedure.operator):
        size = procedure.operator.proposal.size
        effect = f"self-normalised weights of K = {size} that μ ≠ π drew are off by O(1/K)"
        found.append(SilentChange(said["size"], effect))
    return found


def _labels(action: op.Preference, said: Mapping[str, str]) -> list[SilentChange]:
    kind = action.loss.kind
    text = {
        "dpo": "aims at b·exp(r/β) only if labels are random choices; hard (argmax) labels put the "
        "optimum at infinity",
        "cdpo": "every pair is fitted to the margin logit(1 − ε)/β, whatever its true score gap",
        "robust_dpo": "right only for labels flipped with probability ε, too sharp for others; "
        "unbounded below",
        "ipo": "every pair is fitted to one margin 1/(2β): σ(ΔU) is fitted, not ΔU"
        + (
            ", per token: longer answers weigh less" if getattr(action.loss, "by_length", 0) else ""
        ),
        "hinge": "stops at the margin 1/β: a classifier's boundary, not a tilt",
        "sigmoid_norm": "log-ratios per token: the law tilts by length, not b·exp(r/β)",
        "simpo": "no reference: nothing is tilted, the policy drifts as far as the data push",
        "orpo": "no reference: odds of per-token means, plus the likelihood of the chosen",
        "exo": "reverse KL to labels smoothed by ε: margin logit(1 − ε)/β for every pair",
        "nca": "absolute likelihoods are held: another law than b·exp(r/β) for pairs",
        "kto": "a prospect-theory value of single answers: no choice model, no tilt at its optimum",
    }.get(kind, "")
    return [SilentChange(said.get("loss", f"loss={kind}"), text)] if text else []


def _moving(procedure: Procedure, said: Mapping[str, str]) -> list[SilentChange]:
    proposal, found = procedure.operator.proposal, []
    powers = exponents(procedure.tilt, procedure.operator)
    action = procedure.operator.action
    moves = powers.get("old", 0.0) > 0.0 and set(powers) != {"old"}
    if moves and proposal.refresh is not None and _drawn_to_base(action):
        effect = _iterated(procedure, isinstance(getattr(action, "pull", None), op.KLPull))
        found += [SilentChange(said["target"], effect)] if effect else []
    gradient = isinstance(action, op.PolicyGradient)
    if gradient and proposal.refresh is None:
        region = action.trust_region if isinstance(action, op.PolicyGradient) else None
        if isinstance(region, op.Clip | op.DualClip):
            effect = "μ is never refreshed: a hard clip freezes the policy at its boundary"
            found.append(SilentChange(said["refresh"], effect))
    return found


def _drifts(procedure: Procedure) -> bool:
    """Whether q* moves with the policy; with a selectivity every context stays at its mass s."""
    powers = exponents(procedure.tilt, procedure.operator)
    return procedure.tilt.selectivity is None and bool({"old", "mu"} & powers.keys())


def _drawn_to_base(action: object) -> bool:
    """Whether an update vanishes at π = q*, or at the anchor its KL draws to."""
    if isinstance(action, op.WeightedRegression):
        return action.weights.kind in PROJECTING and not action.by_probability
    return isinstance(action, op.PolicyGradient) and action.pull is not None


def _iterated(procedure: Procedure, by_kl: bool) -> str:
    """What becomes of q* when its π_old moves; of a regression that climbs `_weights` tells."""
    law, target = law_of(procedure), procedure.tilt
    if target.selectivity is not None:
        return ""
    if by_kl:
        return (
            f"the pull draws to π_ref alone: it aims at sharpness {_strength(procedure):.4g} = "
            f"1/β, not at q* (sharpness {target.sharpness:.4g}), whatever τ is"
        )
    if law.finite:
        rest = f"{sum(law.etas.values()):.4g}"
        return (
            f"π_old moves: q* (sharpness {target.sharpness:.4g}) is the target of one "
            f"update; iterated the sharpness tends to {rest}"
        )
    if isinstance(procedure.operator.action, op.WeightedRegression):
        return ""
    where = f", {law.letters}" if law.shape == "climbs" else ""
    return f"π_old moves{where}: q* is the target of one update"


def decoding(procedure: Procedure, said: Mapping[str, str]) -> list[SilentChange]:
    """What the decoding settings of the proposal change."""
    proposal, found = procedure.operator.proposal, []
    if proposal.scoring_temperature != 1.0:
        effect = (
            f"every law is that of logits/{proposal.scoring_temperature:g}, π, π_ref and q* alike: "
            "at T = 1 the trained model is another, flatter or sharper, policy"
        )
        found.append(SilentChange(said["temperature"], effect))
    if proposal.scoring_temperature != proposal.temperature:
        effect = (
            f"candidates are draws of logits/{proposal.temperature:g} and the policy is that of "
            f"logits/{proposal.scoring_temperature:g}: no sample is on-policy, however fresh"
        )
        found.append(SilentChange(said["temperature"], effect))
    cut = [said[name] for name in ("top_p", "top_k") if _cuts(getattr(proposal, name), name)]
    if cut:
        effect = (
            "tokens are cut from μ's support: what q* has there is never proposed, and unprocessed "
            "log-probs are not log μ"
        )
        found.append(SilentChange(", ".join(cut), effect))
    return found


def _cuts(value: float | None, name: str) -> bool:
    return value is not None and (name != "top_p" or value < 1.0)
