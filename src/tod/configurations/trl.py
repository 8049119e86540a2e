"""TRL configurations: one function a configuration class."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tod.configurations.configuration as common
import tod.operators as op
from tod.atlas.effects import SilentChange
from tod.atlas.law import Law
from tod.atlas.nearest import NO_BOUND
from tod.base import SpecError
from tod.configurations.configuration import Configuration
from tod.configurations.framework import Facts, Settings, facts
from tod.configurations.point import Located
from tod.configurations.without_effect import NoEffect
from tod.targets import Teacher

_AGGREGATION: dict[str, op.AggregationSpec] = {
    "grpo": op.SequenceMeanTokenMean(),
    "sapo": op.SequenceMeanTokenMean(),
    "bnpo": op.TokenMean(),
    "dapo": op.TokenMean(),
    "cispo": op.TokenMean(),
    "luspo": op.SequenceMeanTokenSum(),
}
_NONE, _GROUP = op.GroupMean(), op.GroupZScore(epsilon=1e-4)
_SCALING: dict[str, op.AdvantageSpec] = {
    "group": _GROUP,
    "batch": op.BatchZScore(epsilon=1e-4),
    "none": _NONE,
    "True": _GROUP,
    "False": _NONE,
}
"""By ``scale_rewards``; true and false are its older spelling."""
_LIKELY = {"grpo": ("grpo",), "dr_grpo": ("dr_grpo",), "sapo": ("sapo",), "cispo": ("cispo",)}


def grpo(s: Settings) -> Configuration:
    """GRPOConfig (and GMPOConfig): every ``loss_type`` that has a composition here."""
    loss, beta = str(s["loss_type"]), common.coefficient(s, "beta")
    sequence = s["importance_sampling_level"] == "sequence"
    config = _drawn(s, beta, ("beta", "use_bias_correction_kl") if beta else ("beta",))
    config.likely = ("gspo",) if sequence else _LIKELY.get(loss, ("dapo", "grpo"))
    composed = loss in {*_AGGREGATION, "dr_grpo"}
    if not composed:
        config.no_target = s.why_not("loss_type", loss, "GRPOConfig.loss_type")
    pull = op.KLPull(kind="k3", importance=s.flag("use_bias_correction_kl")) if beta else None
    level = "sequence_mean" if sequence else "token"
    region = _region(s, loss) if composed else op.Unbounded()
    if s.method == "GMPOConfig":
        # TRL's GMPO clips log ρ to ±ε
        level, region = "sequence_mean_of_clipped", common.log_clip(s.number("epsilon"), _high(s))
        config.likely = ("gmpo",)
    action = op.PolicyGradient(
        level=level,
        trust_region=region,
        advantage=_advantage(s),
        aggregation=_aggregation(s, loss),
        pull=pull,
        correction=_correction(s),
    )
    config.action, config.known = (action, []) if composed else (None, [(action, {})])
    config.stands_in = frozenset({"action.trust_region", "action.aggregation", "action.level"})
    config.auxiliary = common.auxiliary(s.number("entropy_coef"))
    config.said["entropy"] = s.said("entropy_coef")
    _grpo_changes(config, s, loss, sequence)
    _shared_changes(config, s)
    return config


def rloo(s: Settings) -> Configuration:
    """RLOOConfig: whole sequences, k1 in the reward."""
    beta = common.coefficient(s, "beta")
    config = _drawn(s, beta, ("beta",))
    config.likely = ("rloo",)
    config.action = op.PolicyGradient(
        level="sequence_sum",
        trust_region=op.Clip(low=s.number("epsilon"), high=_high(s)),
        advantage=op.LeaveOneOut(),
        aggregation=op.SequenceMeanTokenSum(),
        pull=op.KLPull(kind="k1", place="reward") if beta else None,
    )
    _shared_changes(config, s)
    return config


def _drawn(s: Settings, beta: float, pull: tuple[str, ...]) -> Configuration:
    """A reward tilt over rollouts of the policy; ``pull`` are the settings that say its KL."""
    config = Configuration("trl", s.method, s, "verifier_rl", target=common.reward_tilt(beta))
    config.updates, config.proposal, config.said = _updates(s), _proposal(s), _said(s, pull)
    if beta == 0.0:
        config.no_target = "beta=0: no finite target"
    return config


def _width(s: Settings) -> str:
    """How the width of the trust region is spelled."""
    names = ["epsilon"] if s["epsilon_high"] is None else ["epsilon", "epsilon_high"]
    return ", ".join(s.said(name).removesuffix(" (default)") for name in names)


def _high(s: Settings) -> float:
    return s.number_or("epsilon_high", s.number("epsilon"))


def _region(s: Settings, loss: str) -> op.TrustRegionSpec:
    low, high = s.number("epsilon"), _high(s)
    if loss == "cispo":
        return op.Truncate(cap=high)
    if loss == "sapo":
        return op.SoftGate(
            tau_pos=s.number("sapo_temperature_pos"), tau_neg=s.number("sapo_temperature_neg")
        )
    return common.clip(low, high, s.number("delta") if _caps(s) else None)


def _caps(s: Settings) -> bool:
    """Whether ``delta`` is a dual clip's cap: from 1 + ε_high on it acts where A < 0 alone.

    The surrogate is min(min(ρ, δ)·A, clip(ρ)·A). Where A > 0 and δ ≥ 1 + ε_high the clip is the
    smaller; where A < 0 it is min(max(ρ, clip(ρ)), δ)·A.
    """
    return s["delta"] is not None and s.number("delta") >= 1.0 + _high(s)


def _advantage(s: Settings) -> op.AdvantageSpec:
    if s["multi_objective_aggregation"] == "normalize_then_sum":
        return op.BatchZScore(epsilon=1e-4)
    return s.choice("scale_rewards", _SCALING)  # type: ignore[no-any-return]


def _aggregation(s: Settings, loss: str) -> op.AggregationSpec:
    if loss == "dr_grpo":
        return op.ConstantLength(length=s.whole("max_completion_length"))
    return _AGGREGATION.get(loss, op.TokenMean())


def _correction(s: Settings) -> op.CorrectionSpec | None:
    if s["off_policy_mask_threshold"] is not None:
        return op.StaleNegatives(delta=s.number("off_policy_mask_threshold"))
    if not (s.flag("use_vllm") and s.flag("vllm_importance_sampling_correction")):
        return None
    high = s.number_or("vllm_importance_sampling_clip_max", NO_BOUND)
    low = s.number("vllm_importance_sampling_clip_min")
    mode = s["vllm_importance_sampling_mode"]
    if mode == "sequence_mask":
        return op.SequenceMask(low=low, high=high)
    if mode == "token_mask":
        return op.TokenMask(low=low, high=high)
    if mode == "sequence_truncate":
        return op.SequenceTruncation(cap=high)
    return op.TokenTruncation(cap=high, floor=low)


def _updates(s: Settings) -> int:
    """Optimiser steps on one batch of rollouts: passes over it, in accumulation windows."""
    accumulate = s.whole("gradient_accumulation_steps")
    steps = s["steps_per_generation"]
    windows = 1 if steps is None else max(1, s.whole("steps_per_generation") // accumulate)
    return s.whole("num_iterations") * windows


def _proposal(s: Settings) -> op.Proposal:
    names = {name: name for name in ("temperature", "top_p", "top_k")}
    names |= {"size": "num_generations", "max_new_tokens": "max_completion_length"}
    return common.proposal_of(s, names, _prompts(s))


def _prompts(s: Settings) -> int:
    """Contexts of a batch of rollouts on one process; how many processes there are is not said."""
    if s["generation_batch_size"] is not None:
        return max(1, s.whole("generation_batch_size") // s.whole("num_generations"))
    given = s["steps_per_generation"] is not None
    windows = s.whole("steps_per_generation" if given else "gradient_accumulation_steps")
    return max(1, s.whole("per_device_train_batch_size") * windows // s.whole("num_generations"))


def _said(s: Settings, pull: tuple[str, ...]) -> dict[str, str]:
    said = {"pull": ", ".join(s.said(name) for name in pull), "refresh": s.said("num_iterations")}
    said |= {name: s.said(name) for name in ("temperature", "top_p", "top_k")}
    said["clip"] = _width(s)
    if "scale_rewards" in s.defaults:
        said["advantage"] = s.said("scale_rewards")
        if s["multi_objective_aggregation"] == "normalize_then_sum":
            said["advantage"] = s.said("multi_objective_aggregation")
    return said


def _grpo_changes(config: Configuration, s: Settings, loss: str, sequence: bool) -> None:
    if loss == "cispo":
        high = _high(s)
        if high < 1.0:
            name = "epsilon_high" if s["epsilon_high"] is not None else "epsilon"
            config.change(
                name,
                f"CISPO's cap is absolute here: every weight ρ ≤ {high:g}, also at ρ = 1, "
                f"scales the whole update by {high:g}; 5.0 is recommended",
                "push",
            )
    clipped = loss not in ("cispo", "sapo") and s.method == "GRPOConfig"
    if s["delta"] is not None and not (clipped and _caps(s)):
        config.change(
            "delta", "ρ is capped from above for either sign of A: a second trust region", "push"
        )
    elif s["delta"] is not None and config.updates != 1:
        config.change("delta", f"dual clip: where A < 0 and ρ > {s['delta']} no push", "operator")
    config.changes += _by_loss(s, loss, sequence)
    if (
        sequence
        and config.action is not None
        and s.number("beta")
        and s.flag("use_bias_correction_kl")
    ):
        config.change(
            "importance_sampling_level",
            "the KL's weight is the geometric mean of ρ: not the ρ that makes k3 a reverse KL",
            "law",
        )
    if s["multi_objective_aggregation"] == "normalize_then_sum":
        config.change(
            "multi_objective_aggregation",
            "every reward is divided by its own σ_c before the sum: η_k = w_k/σ_{k,c}, and the "
            "weights no longer compare the rewards' own units",
        )
    elif s["reward_weights"] is not None:
        config.change("reward_weights", "U = Σ_k w_k U_k, then scaled as one: η_k ∝ w_k")
    elif isinstance(s.given.get("reward_funcs"), list) and len(s.given["reward_funcs"]) > 1:
        config.change("reward_weights", "U is the plain sum of the rewards, in their own units")
    if s.number("top_entropy_quantile") < 1.0:
        config.change(
            "top_entropy_quantile", "only the least certain tokens are trained: others stay put"
        )
    if config.action is not None and getattr(config.action, "correction", None) is not None:
        config.changes.append(_of_correction(s))


def _of_correction(s: Settings) -> SilentChange:
    """Caps and masks of importance weights: the mean weight falls below one, unevenly."""
    name = "vllm_importance_sampling_mode"
    mode = str(s[name])
    whole = mode.startswith("sequence")
    effect = (
        "long answers leave the bounds first and are dropped: E[ρ·1{kept}] < 1, a length bias"
        if whole
        else "weights are cut token by token: the push is that of a nearby law, not of π_old"
    )
    return SilentChange(s.said(name), effect, "operator")


def _by_loss(s: Settings, loss: str, sequence: bool) -> list[SilentChange]:
    effect = {
        "grpo": "each sequence is divided by its own length: short answers are pushed harder per "
        "token, reward and KL alike; not the gradient of E[U]",
        "sapo": "each sequence is divided by its own length: not the gradient of E[U]",
        "bnpo": "divided by the tokens of the micro-batch: the gradient depends on micro-batching",
        "cispo": "",
        "dapo": "",
    }.get(loss, "")
    if sequence and loss in ("bnpo", "dr_grpo", "dapo", "cispo"):
        effect = "with sequence weights a token mean multiplies every sequence by its length"
    return [SilentChange(s.said("loss_type"), effect, "operator")] if effect else []


def _shared_changes(config: Configuration, s: Settings) -> None:
    _reference(config, s)
    config.change_as_recorded()
    config.changes += cut_decoding(s)


def cut_decoding(s: Settings) -> list[SilentChange]:
    """Decoding settings that a proposal here cannot say."""
    found = []
    if s["min_p"]:
        found.append(
            SilentChange(s.said("min_p"), "tokens are cut from μ's support; log μ is not that of π")
        )
    if s.number("repetition_penalty") != 1.0:
        effect = "μ is not the policy: log μ needs the processed logits, on-policy is off-policy"
        found.append(SilentChange(s.said("repetition_penalty"), effect))
    if "generation_kwargs" in s.defaults and s["generation_kwargs"]:
        effect = "may change μ once more: only its own log-probs as drawn are log μ"
        found.append(SilentChange(s.said("generation_kwargs"), effect))
    return found


def dpo(s: Settings) -> Configuration:
    """DPOConfig; one ``loss_type``, or several with weights."""
    config = common.pairs("trl", s.method, s, common.coefficient(s, "beta"))
    losses = s["loss_type"] if isinstance(s["loss_type"], list) else [str(s["loss_type"])]
    if not losses:
        raise SpecError("loss_type: an empty list: there is no loss to locate.")
    if len(losses) > 1:
        config.refuse(f"{' + '.join(losses)}: a sum of losses has no target")
        config.change("loss_type", "the optimum of a sum is the target of none of its parts")
        _reference(config, s)
        return config
    if losses[0] == "sft":
        return _chosen_alone(s)
    loss = _dpo_loss(losses[0], s.number("label_smoothing"), _sigmoid_smooths(s))
    if loss is None:
        config.refuse(s.why_not("loss_type", losses[0], "DPOConfig.loss_type"))
    else:
        config.action = op.Preference(loss=loss)
        config.said["loss"] = s.said("loss_type")
    _dpo_changes(config, s, losses[0])
    return config


def _chosen_alone(s: Settings) -> Configuration:
    """``loss_type=sft``: the likelihood of the chosen answers, and nothing of a pair."""
    config = common.supervised("trl", s.method, s)
    config.change("loss_type", "fits the chosen answers: no pair, no π_ref and no β is read", "law")
    return config


def _sigmoid_smooths(s: Settings) -> bool:
    """Whether the release's sigmoid loss reads ``label_smoothing``."""
    return bool(s.facts.behaviour.get("label_smoothing read by sigmoid", False))


def _dpo_loss(kind: str, smoothing: float, sigmoid_smooths: bool = False) -> Any:
    if kind == "sigmoid" and smoothing and sigmoid_smooths:
        return op.ConservativeDpo(epsilon=smoothing)
    if kind == "robust":
        return op.RobustDpo(epsilon=smoothing)
    if kind == "exo_pair":
        return op.Exo(epsilon=smoothing or 1e-3)
    return {
        "sigmoid": op.Dpo(),
        "hinge": op.Hinge(),
        "ipo": op.Ipo(by_length=True),
        "nca_pair": op.Nca(),
        "sigmoid_norm": op.SigmoidNorm(),
    }.get(kind)


def _dpo_changes(config: Configuration, s: Settings, kind: str) -> None:
    read: tuple[str, ...] = ("robust", "exo_pair", "aot", "aot_unpaired")
    read += ("sigmoid",) if _sigmoid_smooths(s) else ()
    if s.number("label_smoothing") and kind not in read:
        why = f"loss_type={kind!r} does not smooth its labels: only {', '.join(read)} read it"
        config.idle.append(NoEffect(s.said("label_smoothing"), why))
    if kind == "exo_pair" and not s.number("label_smoothing"):
        config.change(
            "label_smoothing",
            "TRL puts 1e-3 in the place of 0, which would be infinite",
            "law",
        )
    if s["f_divergence_type"] != "reverse_kl":
        config.change(
            "f_divergence_type",
            "another divergence to π_ref: q* is no exponential tilt of it",
            "law",
        )
        config.refuse("an f-divergence's target is no exponential tilt")
        config.law = Law("other", why=f"f-divergence {s['f_divergence_type']}")
    config.change_as_recorded()
    _reference(config, s)
    config.change(
        "max_length", "answers beyond it are cut: the density compared is that of a prefix", "push"
    )


def _reference(config: Configuration, s: Settings) -> None:
    if s.flag("sync_ref_model") and s.number("beta"):
        config.change(
            "sync_ref_model",
            f"π_ref follows the policy every {s['ref_model_sync_steps']} steps: the anchor moves, "
            "sharpness compounds at every sync and there is no fixed law",
            "law",
        )
        config.law = Law("climbs", why="π_ref follows the policy")


def _without_reference(s: Settings) -> Configuration:
    config = common.pairs("trl", s.method, s)
    config.no_target = "no reference policy: nothing is tilted"
    return config


def cpo(s: Settings) -> Configuration:
    """CPOConfig; with ``loss_type=simpo`` and ``cpo_alpha=0`` it is SimPO."""
    config, kind = _without_reference(s), s["loss_type"]
    if kind == "simpo":
        config.action = op.Preference(
            loss=op.SimPo(scale=s.number("beta"), margin=s.number("simpo_gamma"))
        )
        config.said["loss"], config.likely = s.said("loss_type"), ("simpo",)
    elif s.number("alpha"):
        config.no_target = (
            f"{s.said('alpha')}: not in the algebra: AlphaPO's reward (1 − π^−α)/α is no log π"
        )
    else:
        config.action = op.Preference(loss=_flat_loss(s, str(kind)))
        config.said["loss"] = s.said("loss_type")
        config.notes.append("scored without a reference: b is flat over strings of any length")
    if s.number("cpo_alpha"):
        config.change("cpo_alpha", "adds the likelihood of the chosen answers: not SimPO alone")
    if s.number("label_smoothing") and kind == "sigmoid":
        config.change("label_smoothing", "read as cDPO here, unlike in DPOConfig", "law")
    config.law = Law("climbs", why="no reference policy")
    return config


def _flat_loss(s: Settings, kind: str) -> Any:
    """CPO's loss of a pair; log-ratios to a flat b are the log-probs themselves."""
    smooth = s.number("label_smoothing")
    logistic = op.ConservativeDpo(epsilon=smooth) if smooth else op.Dpo()
    known = {"sigmoid": logistic, "hinge": op.Hinge(), "ipo": op.Ipo(by_length=True)}
    return s.choice("loss_type", {**known, "simpo": None}) if kind != "simpo" else None


def orpo(s: Settings) -> Configuration:
    """ORPOConfig: its ``beta`` is the weight λ of the odds, no KL coefficient."""
    config = _without_reference(s)
    config.action = op.Preference(loss=op.OrPo(weight=common.coefficient(s, "beta")))
    config.said["loss"], config.likely = f"ORPO {s.said('beta')}", ("orpo",)
    config.change("beta", "λ of the odds ratio, not a KL coefficient: 1/β is no sharpness", "law")
    return config


def kto(s: Settings) -> Configuration:
    """KTOConfig."""
    config = common.pairs("trl", s.method, s, common.coefficient(s, "beta"))
    config.likely, config.proposal = ("kto",), op.DatasetProposal(source="dataset")
    if s["loss_type"] == "kto":
        config.action = op.Preference(
            loss=op.Kto(
                desirable=s.number("desirable_weight"), undesirable=s.number("undesirable_weight")
            )
        )
        config.said["loss"] = s.said("loss_type")
    else:
        config.refuse(s.why_not("loss_type", key="KTOConfig.loss_type"))
    if s["desirable_weight"] != s["undesirable_weight"]:
        config.change("desirable_weight", "weights the two kinds: moves the optimum, not its shape")
    _reference(config, s)
    return config


def sft(s: Settings) -> Configuration:
    """SFTConfig: likelihood of the data."""
    config = common.supervised("trl", s.method, s)
    if s["loss_type"] == "dft" and config.action is not None:
        config.action, config.likely = config.action.revised(by_probability=True), ("dft",)
        config.said["by_probability"] = s.said("loss_type")
    if s.flag("packing") and s["packing_strategy"] == "wrapped":
        config.change(
            "packing_strategy", "examples are cut across rows: continuations lose context"
        )
    if s["completion_only_loss"] is False:
        config.change("completion_only_loss", "prompts are fitted too: q̂_data of whole texts")
    config.change(
        "max_length", "examples beyond it are cut: the target is that of prefixes", "push"
    )
    return config


def online_dpo(s: Settings) -> Configuration:
    """OnlineDPOConfig: of two draws of the policy the one with the larger reward is chosen."""
    config = common.pairs("trl", s.method, s, common.coefficient(s, "beta"))
    config.notes = [
        f"two draws of π a prompt; labels are the larger {common.REWARD}, never a random choice"
    ]
    names = {name: name for name in ("temperature", "top_p", "top_k", "max_new_tokens")}
    drawn = common.proposal_of(s, names, s.whole("per_device_train_batch_size"), size=2)
    config.proposal, config.updates = drawn, 1
    losses = {"sigmoid": op.Dpo(), "ipo": op.Ipo(by_length=False)}
    config.action = op.Preference(loss=s.choice("loss_type", losses))
    config.said["loss"] = s.said("loss_type")
    config.said |= {name: s.said(name) for name in ("temperature", "top_p", "top_k")}
    if s["loss_type"] == "sigmoid":
        config.law = Law("climbs", why="labels are hard: their optimum is at infinity")
    config.change_as_recorded()
    if s["reward_weights"] is not None:
        config.change("reward_weights", "U = Σ_k w_k U_k: pairs are ranked by the sum")
    config.changes += cut_decoding(s)
    return config


def distillation(s: Settings) -> Configuration:
    """DistillationConfig: divergence over the vocabulary on the student's own rollouts."""
    return _distilled(s, 1.0, common.coefficient(s, "beta"))


def gkd(s: Settings) -> Configuration:
    """GKDConfig: a share λ of student rollouts, a generalised JSD."""
    return _distilled(s, s.number("lmbda"), common.coefficient(s, "beta"))


def _distilled(s: Settings, share: float, beta: float) -> Configuration:
    config = Configuration("trl", s.method, s, "on_policy_distillation", updates=1)
    config.target, config.target_family = Teacher(eta=1.0), "teacher"
    names = {0.0: "forward KL", 1.0: "reverse KL"}
    config.notes.append(
        f"{names.get(beta, f'JSD at β = {beta:g}')} to the teacher, token by token over the "
        "vocabulary; the student's states are held fixed"
    )
    if 0.0 < beta < 1.0:
        config.change(
            "beta", "a JSD: the teacher is its optimum only if the student can be it", "law"
        )
    if share < 1.0:
        config.change(
            "lmbda", "a share 1 − λ of batches is the data's: μ is a mixture, off-policy", "push"
        )
    config.said["temperature"] = s.said("temperature")
    longest = "max_completion_length" if "max_completion_length" in s.defaults else "max_new_tokens"
    drawn = {
        "prompts": s.whole("per_device_train_batch_size"),
        "size": 1,
        "temperature": s.number("temperature"),
        "max_new_tokens": s.whole(longest),
    }
    config.proposal = op.Proposal(source="old", **drawn)
    if share < 1.0:
        config.proposal = op.AlternatingProposal(source="alternating", on_policy=share, **drawn)
    config.action = op.NoCredit()
    divergence = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(beta, "jsd")
    inner = {"beta": beta} if divergence == "jsd" else {}
    config.auxiliary = op.Auxiliary.model_validate(
        {"distillation": {"divergence": divergence, **inner}}
    )
    config.likely = ("gkd", "opd_full", "opd")
    return config


NAMING = ("config_class", "trainer", "_class", "class")
"""Keys that merely name the class."""
_READERS = {
    "GRPOConfig": grpo,
    "GMPOConfig": grpo,
    "RLOOConfig": rloo,
    "DPOConfig": dpo,
    "CPOConfig": cpo,
    "ORPOConfig": orpo,
    "KTOConfig": kto,
    "SFTConfig": sft,
    "DistillationConfig": distillation,
    "GKDConfig": gkd,
    "OnlineDPOConfig": online_dpo,
}


def locate_trl(
    values: Mapping[str, Any],
    method: str | None = None,
    where: str = "",
    known: Facts | None = None,
) -> Located:
    """A TRL configuration as a point of the atlas.

    Args:
        values: Flat keys of the configuration.
        method: Configuration class, trainer or `trl` subcommand; found by the keys if None.
        where: The file, for messages.
        known: What is recorded of TRL, of another release than the newest.

    Raises:
        SpecError: The class is not known, or cannot be told from the keys.
    """
    name = class_of(values, method, where)
    return _READERS[name](Settings.of("trl", name, public(values), known)).located()


def public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what merely names their class."""
    naming = {k for k in NAMING if isinstance(values.get(k), str)}
    return {k: v for k, v in values.items() if not k.startswith("_") and k not in naming}


def _by_place(where: str, fits: Sequence[str]) -> str | None:
    """The one class that a folder or the file's own name names, such as ``recipes/grpo/a.yaml``."""
    words = {word for place in Path(where).parts for word in re.split(r"[^a-z]+", place.lower())}
    named = [name for name in fits if name.removesuffix("Config").lower() in words]
    return named[0] if len(named) == 1 else None


def class_of(values: Mapping[str, Any], method: str | None, where: str) -> str:
    """The configuration class, from its name or from settings that only it has."""
    known = facts("trl")
    if method is None:
        named = (values.get(key) for key in NAMING)
        method = next((name for name in named if isinstance(name, str) and name), None)
    if method is not None:
        subcommands = {name.removesuffix("Config").lower(): name for name in known.defaults}
        name = known.trainers.get(method, method)
        name = subcommands.get(name.lower(), name)
        if name in known.defaults:
            return name
        if name in known.elsewhere:
            raise SpecError(f"{where}: no reader for TRL's {name!r}: {known.elsewhere[name]}")
        raise SpecError(
            f"{where}: no reader for TRL's {method!r}. Known: {', '.join(sorted(known.defaults))}."
        )
    votes = {name: len(own & set(values)) for name, own in known.own.items()}
    best = max(votes.values())
    winners = [name for name, count in votes.items() if count == best]
    if best and len(winners) == 1:
        return winners[0]
    fits = [name for name in known.defaults if name in winners or not best]
    placed = _by_place(where, fits)
    if placed is not None:
        return placed
    raise SpecError(
        f"{where}: TRL settings, but of which method? No setting of it belongs to one class alone "
        f"(could be {', '.join(fits)}). Say so: --method {fits[0].removesuffix('Config').lower()}."
    )
