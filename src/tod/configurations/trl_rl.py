"""TRL's GRPO (with its losses) and RLOO."""

from tod.atlas.effects import SilentChange
from tod.atlas.law import Law
from tod.atlas.nearest import NO_BOUND
from tod.configurations.corrections import sequence_mask_note
from tod.configurations.draft import Draft, auxiliary, coefficient, proposal_of, reward_tilt
from tod.configurations.outside import TRL_GRPO, why
from tod.configurations.settings import Settings
from tod.operators import (
    AdvantageSpec,
    BatchZScore,
    Clip,
    ConstantLength,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    PolicyGradient,
    SequenceMask,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SequenceTruncation,
    SoftGate,
    StaleNegatives,
    TokenMask,
    TokenMean,
    TokenTruncation,
    Truncate,
    Unbounded,
)
from tod.operators.aggregation import AggregationSpec
from tod.operators.corrections import CorrectionSpec
from tod.operators.proposals import Proposal
from tod.operators.trust_regions import TrustRegionSpec

_AGGREGATION: dict[str, AggregationSpec] = {
    "grpo": SequenceMeanTokenMean(),
    "sapo": SequenceMeanTokenMean(),
    "bnpo": TokenMean(),
    "dapo": TokenMean(),
    "cispo": TokenMean(),
    "luspo": SequenceMeanTokenSum(),
}
_NONE, _GROUP = GroupMean(), GroupZScore(epsilon=1e-4)
_SCALING: dict[str, AdvantageSpec] = {
    "group": _GROUP,
    "batch": BatchZScore(epsilon=1e-4),
    "none": _NONE,
    "True": _GROUP,
    "False": _NONE,
}
"""By ``scale_rewards``; true and false are its older spelling."""
_LIKELY = {"grpo": ("grpo",), "dr_grpo": ("dr_grpo",), "sapo": ("sapo",), "cispo": ("cispo",)}


def grpo(s: Settings, method: str, version: str) -> Draft:
    """GRPOConfig (and GMPOConfig): every ``loss_type`` that has a composition here."""
    loss, beta = str(s["loss_type"]), coefficient(s, "beta")
    sequence = s["importance_sampling_level"] == "sequence"
    draft = Draft(
        "trl", version, method, s, "verifier_rl", target=reward_tilt(beta), updates=_updates(s)
    )
    draft.proposal = _proposal(s)
    draft.likely = ("gspo",) if sequence else _LIKELY.get(loss, ("dapo", "grpo"))
    draft.said = _said(s, pull=("beta", "use_bias_correction_kl") if beta else ("beta",))
    composed = loss in {*_AGGREGATION, "dr_grpo"}
    if not composed:
        draft.no_target = why(loss, TRL_GRPO, "loss_type")
    elif beta == 0.0:
        draft.no_target = "beta=0: no finite target, only a trust region"
    pull = KLPull(kind="k3", importance=s.flag("use_bias_correction_kl")) if beta else None
    level = "sequence_mean" if sequence else "token"
    region = _region(s, loss) if composed else Unbounded()
    if method == "GMPOConfig":
        level, region = "sequence_mean_of_clipped", _log_clip(s)
        draft.likely = ("gmpo",)
    action = PolicyGradient(
        level=level,
        trust_region=region,
        advantage=_advantage(s),
        aggregation=_aggregation(s, loss),
        pull=pull,
        correction=_correction(s),
    )
    draft.action, draft.known = (action, []) if composed else (None, [(action, {})])
    draft.auxiliary = auxiliary(s.number("entropy_coef"))
    draft.said["entropy"] = s.said("entropy_coef")
    _grpo_changes(draft, s, loss, sequence)
    _shared_changes(draft, s)
    return draft


def rloo(s: Settings, method: str, version: str) -> Draft:
    """RLOOConfig: whole sequences, k1 in the reward."""
    beta = coefficient(s, "beta")
    draft = Draft(
        "trl", version, method, s, "verifier_rl", target=reward_tilt(beta), updates=_updates(s)
    )
    draft.proposal, draft.likely = _proposal(s), ("rloo",)
    draft.said = _said(s, pull=("beta",))
    if beta == 0.0:
        draft.no_target = "beta=0: no finite target, only a trust region"
    draft.action = PolicyGradient(
        level="sequence_sum",
        trust_region=Clip(low=s.number("epsilon"), high=_high(s)),
        advantage=LeaveOneOut(),
        aggregation=SequenceMeanTokenSum(),
        pull=KLPull(kind="k1", place="reward") if beta else None,
    )
    if s.flag("normalize_advantages"):
        draft.change(
            "normalize_advantages",
            "reward and KL are both inside the division by σ_batch: the law stays, steps scale",
        )
    if s["reward_clip_range"] is not None:
        draft.change("reward_clip_range", "the utility is the clipped reward, before the KL")
    _shared_changes(draft, s)
    return draft


def _high(s: Settings) -> float:
    return s.number("epsilon_high" if s["epsilon_high"] is not None else "epsilon")


def _region(s: Settings, loss: str) -> TrustRegionSpec:
    low, high = s.number("epsilon"), _high(s)
    if loss == "cispo":
        return Truncate(cap=high)
    if loss == "sapo":
        return SoftGate(
            tau_pos=s.number("sapo_temperature_pos"), tau_neg=s.number("sapo_temperature_neg")
        )
    return Clip(low=low, high=high)


def _log_clip(s: Settings) -> Clip:
    """TRL's GMPO clips log ρ to ±ε: as bounds on ρ they are e^±ε."""
    import math

    low, high = s.number("epsilon"), _high(s)
    return Clip(low=-math.expm1(-low), high=math.expm1(high))


def _advantage(s: Settings) -> AdvantageSpec:
    if s["multi_objective_aggregation"] == "normalize_then_sum":
        return BatchZScore(epsilon=1e-4)
    return s.choice("scale_rewards", _SCALING)  # type: ignore[no-any-return]


def _aggregation(s: Settings, loss: str) -> AggregationSpec:
    if loss == "dr_grpo":
        return ConstantLength(length=s.whole("max_completion_length"))
    return _AGGREGATION.get(loss, TokenMean())


def _correction(s: Settings) -> CorrectionSpec | None:
    delta = s["off_policy_mask_threshold"]
    if delta is not None:
        return StaleNegatives(delta=s.number("off_policy_mask_threshold"))
    if not (s.flag("use_vllm") and s.flag("vllm_importance_sampling_correction")):
        return None
    name = "vllm_importance_sampling_clip_max"
    high = s.number(name) if s[name] is not None else NO_BOUND
    low = s.number("vllm_importance_sampling_clip_min")
    mode = s["vllm_importance_sampling_mode"]
    if mode == "sequence_mask":
        return SequenceMask(low=low, high=high)
    if mode == "token_mask":
        return TokenMask(low=low, high=high)
    if mode == "sequence_truncate":
        return SequenceTruncation(cap=high)
    return TokenTruncation(cap=high, floor=low)


def _updates(s: Settings) -> int:
    """Optimiser steps on one batch of rollouts: passes over it, in accumulation windows."""
    accumulate = s.whole("gradient_accumulation_steps")
    steps = s["steps_per_generation"]
    windows = 1 if steps is None else max(1, s.whole("steps_per_generation") // accumulate)
    return s.whole("num_iterations") * windows


def _proposal(s: Settings) -> Proposal:
    names = {name: name for name in ("temperature", "top_p", "top_k")}
    names |= {"size": "num_generations", "max_new_tokens": "max_completion_length"}
    return proposal_of(s, names, _prompts(s))


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
    if "scale_rewards" in s.defaults:
        said["advantage"] = s.said("scale_rewards")
        if s["multi_objective_aggregation"] == "normalize_then_sum":
            said["advantage"] = s.said("multi_objective_aggregation")
    return said


def _grpo_changes(draft: Draft, s: Settings, loss: str, sequence: bool) -> None:
    if loss == "cispo":
        high = _high(s)
        if high < 1.0:
            name = "epsilon_high" if s["epsilon_high"] is not None else "epsilon"
            draft.change(
                name,
                f"CISPO's cap is absolute here: every weight ρ ≤ {high:g}, also at ρ = 1, "
                f"scales the whole update by {high:g}; 5.0 is recommended",
            )
    if s["delta"] is not None:
        draft.change("delta", "ρ is capped from above for either sign of A: a second trust region")
    draft.changes += _by_loss(s, loss, sequence)
    if (
        sequence
        and draft.action is not None
        and s.number("beta")
        and s.flag("use_bias_correction_kl")
    ):
        draft.change(
            "importance_sampling_level",
            "the KL's weight is the geometric mean of ρ: not the ρ that makes k3 a reverse KL",
        )
    if s["multi_objective_aggregation"] == "normalize_then_sum":
        draft.change(
            "multi_objective_aggregation",
            "every reward is divided by its own σ_c before the sum: η_k = w_k/σ_{k,c}, and the "
            "weights no longer compare the rewards' own units",
        )
    elif s["reward_weights"] is not None:
        draft.change("reward_weights", "U = Σ_k w_k U_k, then scaled as one: η_k ∝ w_k")
    elif isinstance(s.given.get("reward_funcs"), list) and len(s.given["reward_funcs"]) > 1:
        draft.change("reward_weights", "U is the plain sum of the rewards, in their own units")
    if s.number("top_entropy_quantile") < 1.0:
        draft.change(
            "top_entropy_quantile", "only the least certain tokens are trained: others stay put"
        )
    if s.flag("use_adaptive_entropy"):
        draft.change("use_adaptive_entropy", "its weight moves to hold the entropy: no fixed law")
    if draft.action is not None and getattr(draft.action, "correction", None) is not None:
        draft.changes += sequence_mask_note(s, "vllm_importance_sampling_mode")


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
    return [SilentChange(s.said("loss_type"), effect)] if effect else []


def _shared_changes(draft: Draft, s: Settings) -> None:
    if s.flag("sync_ref_model") and s.number("beta"):
        draft.change(
            "sync_ref_model",
            f"π_ref follows the policy every {s['ref_model_sync_steps']} steps: the anchor moves, "
            "sharpness compounds at every sync and there is no fixed law",
        )
        draft.law = Law("climbs", why="π_ref follows the policy")
    if s.flag("mask_truncated_completions"):
        draft.change(
            "mask_truncated_completions",
            "answers cut at the limit get no push but stay in the baseline: the law is conditioned "
            "on finishing",
        )
    draft.changes += cut_decoding(s)


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
