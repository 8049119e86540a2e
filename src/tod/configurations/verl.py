"""verl configurations: YAML, Hydra overrides, or a script that runs its trainer."""

from collections.abc import Mapping
from typing import Any

from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.draft import Draft, auxiliary, coefficient, proposal_of, reward_tilt
from tod.configurations.located import Located
from tod.configurations.outside import VERL_ESTIMATORS, VERL_LOSSES, why
from tod.configurations.settings import Settings, flat, number
from tod.configurations.verl_changes import NORM, other_changes, reward_changes, trust_changes
from tod.configurations.verl_facts import DEFAULTS, NEUTRAL, PREFIXES, VERSION, A, C, R
from tod.operators import (
    Clip,
    ConstantLength,
    DatasetProposal,
    DualClip,
    Gae,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Mask,
    PolicyGradient,
    ReturnToGo,
    SequenceMask,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SequenceTruncation,
    SoftGate,
    TokenMask,
    TokenMean,
    TokenTruncation,
    Truncate,
    TrustRegionSpec,
    Unbounded,
    Uniform,
    WeightedRegression,
    Whitening,
)
from tod.targets import Data

_ESTIMATORS = {
    "rloo": LeaveOneOut(),
    "rloo_vectorized": LeaveOneOut(),
    "gpg": GroupMean(),
}
_LEVELS = {"gspo": "sequence_mean", "geo_mean": "sequence_mean_of_clipped"}
_AGGREGATION = {
    "token-mean": TokenMean(),
    "seq-mean-token-mean": SequenceMeanTokenMean(),
    "seq-mean-token-sum": SequenceMeanTokenSum(),
}
_PROGRAMS = ("main_ppo", "main_dapo", "fully_async_main", "main_ppo_split")
_LIKELY = {
    "gspo": ("gspo",),
    "sapo": ("sapo",),
    "cispo": ("cispo",),
    "geo_mean": ("gmpo",),
}
_KINDS = {
    "kl": "k1",
    "k1": "k1",
    "mse": "k2",
    "k2": "k2",
    "low_var_kl": "k3",
    "k3": "k3",
}


def locate_verl(values: Mapping[str, Any], program: str | None = None, where: str = "") -> Located:
    """A verl configuration as a point of the atlas; see `VERSION` for whose defaults.

    Raises:
        SpecError: A program that has no reader.
    """
    name = (program or "main_ppo").rsplit(".", 1)[-1]
    if "sft" in name:
        return _sft(values, name)
    if name not in _PROGRAMS:
        raise SpecError(
            f"{where}: no reader for {program}. Known: {', '.join(_PROGRAMS)} and the sft trainers."
        )
    s = Settings(flat(values), DEFAULTS, NEUTRAL, PREFIXES)
    estimator, mode = str(s["algorithm.adv_estimator"]), _mode(s)
    draft = Draft("verl", VERSION, f"{estimator}, {mode}", s, "proximal_rl", updates=_updates(s))
    draft.method = f"{program or 'main_ppo'}: {draft.method}"
    draft.family = "proximal_rl" if estimator == "gae" else "verifier_rl"
    draft.proposal = _proposal(s)
    pulls, beta = _pulls(draft, s)
    draft.target = reward_tilt(beta)
    if beta == 0.0 and not draft.no_target:
        draft.no_target = "no KL in the loss or the reward: no finite target, only a trust region"
    advantage = _advantage(s, estimator)
    region = _region(s, mode)
    if mode == "geo_mean" and isinstance(advantage, Gae | ReturnToGo):
        mode, region = "geo_mean by token", None
    if advantage is None:
        draft.no_target = why(estimator, VERL_ESTIMATORS, "algorithm.adv_estimator")
    elif region is None:
        draft.no_target = why(mode, VERL_LOSSES, A + "policy_loss.loss_mode")
    rules = [
        PolicyGradient(
            level=_level(s, mode),
            trust_region=region or Unbounded(),
            advantage=advantage or GroupMean(),
            aggregation=_aggregation(s, mode),
            pull=pull,
            correction=_correction(s),
        )
        for pull, _ in pulls
    ]
    if advantage is None or region is None or draft.law:
        spelled = [{"pull": said} for _, said in pulls]
        draft.known = list(zip(rules, spelled, strict=True))
    else:
        draft.action, draft.said["pull"] = rules[0], pulls[0][1]
    draft.auxiliary = auxiliary(s.number(A + "entropy_coeff"), critic=estimator == "gae")
    draft.likely = _LIKELY.get(mode, _by_estimator(estimator))
    draft.said |= _said(s)
    trust_changes(draft, s, mode)
    reward_changes(draft, s, estimator)
    other_changes(draft, s)
    return draft.located()


def _sft(values: Mapping[str, Any], name: str) -> Located:
    sections = (*PREFIXES, "model.", "optim.", "engine.", "checkpoint.", "ulysses", "use_remove")
    s = Settings(flat(values), {}, frozenset(), sections)
    draft = Draft("verl", VERSION, name, s, "supervised", target=Data(), updates=None)
    draft.proposal, draft.likely = DatasetProposal(source="dataset"), ("sft",)
    draft.action = WeightedRegression(weights=Uniform(), aggregation=TokenMean())
    return draft.located()


def _mode(s: Settings) -> str:
    """The loss in force: bypass mode puts its own in the place of the one that is named."""
    named = str(s[A + "policy_loss.loss_mode"])
    if not s.flag(C + "bypass_mode") and named != "bypass_mode":
        return named
    return "reinforce" if s[C + "loss_type"] == "reinforce" else "vanilla"


def _level(s: Settings, mode: str) -> Any:
    if mode == "reinforce" and s[C + "rollout_is"] == "sequence":
        return "sequence_sum"
    return _LEVELS.get(mode, "token")


def _by_estimator(estimator: str) -> tuple[str, ...]:
    return {
        "gae": ("ppo", "ppo_clip"),
        "grpo": ("grpo", "dapo"),
        "rloo": ("rloo",),
        "reinforce_plus_plus": ("reinforce_plus_plus",),
    }.get(estimator, ())


def _updates(s: Settings) -> int:
    """Mini-batches of a batch of prompts, times epochs."""
    batch, mini = s.whole("data.train_batch_size"), max(1, s.whole(A + "ppo_mini_batch_size"))
    return max(1, -(-batch // mini)) * s.whole(A + "ppo_epochs")


def _proposal(s: Settings) -> Any:
    names = {name: R + name for name in ("temperature", "top_p", "top_k")}
    names |= {"prompts": "data.train_batch_size", "size": R + "n"}
    return proposal_of(s, names | {"max_new_tokens": "data.max_response_length"})


Pulls = list[tuple[KLPull | None, str]]


def _pulls(draft: Draft, s: Settings) -> tuple[Pulls, float]:
    """The pulls as they are spelled, and their β together; the law where no pull of ours says it.

    No pull is one that is None.
    """
    pulls: Pulls = []
    total = 0.0
    for place, on in (("loss", A + "use_kl_loss"), ("reward", "algorithm.use_kl_in_reward")):
        if s.flag(on):
            pull, beta = _pull(draft, s, place)
            total += beta
            if beta:
                name = _PLACES[place][0]
                known = str(s[name]).rstrip("+") in _KINDS
                plain = place == "reward" and pull.kind == "k1"
                pulls.append((pull, s.said(on if plain else name) if known else ""))
    if len(pulls) > 1:
        draft.no_target = "a KL in the loss and one in the reward: two pulls, no composition here"
        draft.law, draft.said["eta"] = Law("other", why=draft.no_target), "β⁻¹"
    none = f"{s.said(A + 'use_kl_loss')}, {s.said('algorithm.use_kl_in_reward')}"
    return (pulls, total) if pulls else ([(None, none)], 0.0)


_PLACES = {
    "loss": (A + "kl_loss_type", A + "kl_loss_coef"),
    "reward": ("algorithm.kl_penalty", "algorithm.kl_ctrl.kl_coef"),
}
"""Estimator and weight of a pull."""


def _pull(draft: Draft, s: Settings, place: str) -> tuple[KLPull, float]:
    """The pull in the loss or in the reward; k2 stands in where it estimates no KL."""
    name, weight = _PLACES[place]
    beta, spelled = coefficient(s, weight), str(s[name])
    kind = _KINDS.get(spelled.rstrip("+"))
    if kind is None:
        draft.no_target = f"{s.said(name)} is no estimator of a KL's gradient"
        draft.law = Law("other", why=draft.no_target)
        draft.change(name, "no estimator of a KL's gradient: where it rests is not known")
        return KLPull(kind="k2", place=place), beta
    if place == "reward":
        return KLPull(kind=kind, place="reward"), beta
    if spelled.endswith("+") and kind != "k2":
        draft.notes.append(f"{spelled}: the value of {spelled[:-1]}, the gradient of k2")
        kind = "k2"
    if kind == "k3" and beta:
        draft.change(name, "k3 is clamped to 10 and its log-ratio to ±20: no pull beyond")
    return KLPull(kind=kind), beta


def _advantage(s: Settings, estimator: str) -> Any:
    if estimator in ("grpo", "grpo_vectorized"):
        z = s.flag("algorithm.norm_adv_by_std_in_grpo")
        return GroupZScore(epsilon=1e-6) if z else GroupMean()
    whiten = Whitening(epsilon=1e-8, ddof=1)
    gamma = s.number("algorithm.gamma")
    if estimator == "gae":
        return Gae(discount=gamma, trace=s.number("algorithm.lam"), whiten=whiten)
    if estimator == "reinforce_plus_plus":
        return ReturnToGo(discount=gamma, whiten=whiten)
    if estimator == "reinforce_plus_plus_baseline":
        return ReturnToGo(discount=gamma, baseline=GroupMean(), whiten=whiten)
    return _ESTIMATORS.get(estimator)


def _region(s: Settings, mode: str) -> TrustRegionSpec | None:
    low, high = (
        s.number(A + name) if s[A + name] is not None else s.number(A + "clip_ratio")
        for name in ("clip_ratio_low", "clip_ratio_high")
    )
    cap = s.number(A + "clip_ratio_c")
    if mode == "vanilla":
        return DualClip(low=low, high=high, cap=cap)
    if mode in ("gspo", "geo_mean"):
        return _log_clip(low, high) if mode == "geo_mean" else Clip(low=low, high=high)
    if mode == "sapo":
        return SoftGate(tau_pos=s.number(A + "tau_pos"), tau_neg=s.number(A + "tau_neg"))
    if mode == "cispo":
        return Truncate(cap=1 + high, floor=1 - low if low < 1 else None)
    plain = Truncate(cap=1.0, floor=1.0)
    if mode == "reinforce" and s[C + "rollout_is"] is not None:
        bounds = _bounds(s)
        return Truncate(cap=bounds[1]) if bounds[0] is None else Mask(low=bounds[0], high=bounds[1])
    return plain if mode in ("gpg", "reinforce") else None


def _log_clip(low: float, high: float) -> Clip:
    """Bounds on log ρ as bounds on ρ."""
    import math

    return Clip(low=-math.expm1(-low), high=math.expm1(high))


def _aggregation(s: Settings, mode: str) -> Any:
    if mode in ("geo_mean", "sapo"):
        return SequenceMeanTokenMean()
    given = s[A + "loss_scale_factor"] is not None
    length = s.whole(A + "loss_scale_factor" if given else "data.max_response_length")
    return s.choice(A + "loss_agg_mode", {**_AGGREGATION, NORM: ConstantLength(length=length)})


def _correction(s: Settings) -> Any:
    kind = s[C + "rollout_is"]
    if kind is None or s.flag(C + "bypass_mode"):
        return None
    low, high = _bounds(s)
    if low is not None:
        return (SequenceMask if kind == "sequence" else TokenMask)(low=low, high=high)
    return SequenceTruncation(cap=high) if kind == "sequence" else TokenTruncation(cap=high)


def _bounds(s: Settings) -> tuple[float | None, float]:
    """Of a sampler's weights: a cap, or `lo_hi`, outside of which they are 0."""
    name = C + "rollout_is_threshold"
    low, bar, high = str(s[name]).partition("_")
    return (number(name, low), number(name, high)) if bar else (None, s.number(name))


def _said(s: Settings) -> dict[str, str]:
    said = {name: s.said(R + name) for name in ("temperature", "top_p", "top_k")}
    said["advantage"] = s.said("algorithm.norm_adv_by_std_in_grpo")
    if str(s["algorithm.adv_estimator"]) not in ("grpo", "grpo_vectorized"):
        said["advantage"] = s.said("algorithm.adv_estimator")
    said["refresh"] = s.said(A + "ppo_epochs")
    said["entropy"] = s.said(A + "entropy_coeff")
    return said
