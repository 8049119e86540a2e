"""NeMo-RL YAML: `grpo`, `dpo`, `sft` and `distillation` with their `loss_fn`."""

from collections.abc import Mapping
from typing import Any

import tod.configurations.configuration as common
import tod.operators as op
from tod.atlas.effects import SilentChange
from tod.atlas.law import Law
from tod.atlas.nearest import NO_BOUND
from tod.base import SpecError
from tod.configurations.configuration import Configuration
from tod.configurations.framework import Settings, flat
from tod.configurations.point import Located
from tod.targets import Teacher

L = "loss_fn."
KL = L + "reference_policy_kl_penalty"


def locate_nemo_rl(
    values: Mapping[str, Any], method: str | None = None, where: str = ""
) -> Located:
    """A NeMo-RL configuration as a point of the atlas.

    Raises:
        SpecError: None of its sections has a reader.
    """
    known = ("grpo", "dpo", "sft", "distillation")
    sections = {key.partition(".")[0] for key in values}
    name = method or next((key for key in known if key in sections), None)
    if name not in known:
        raise SpecError(
            f"{where}: NeMo-RL, but none of its sections {', '.join(known)} is there. Known "
            "sections decide the method; say it with --method if it lives in a file of defaults."
        )
    s = Settings.of("nemo_rl", name, flat(values))
    config = {"grpo": _grpo, "dpo": _dpo, "sft": _sft, "distillation": _distillation}[name](s)
    return config.located()


def _grpo(s: Settings) -> Configuration:
    estimator = str(s["grpo.adv_estimator.name"])
    config = Configuration("nemo_rl", f"grpo: {estimator}", s, "verifier_rl")
    in_reward, beta = s.flag(L + "use_kl_in_reward"), common.coefficient(s, KL)
    config.target = common.reward_tilt(beta)
    if beta == 0.0:
        config.no_target = f"{KL}=0: no finite target"
    _drawn(config, s, "grpo")
    advantage = _advantage(s, estimator)
    sequence = s.flag(L + "sequence_level_importance_ratios")
    kind = str(s[L + "reference_policy_kl_type"])
    pull = (
        op.KLPull(kind=kind, place="reward") if in_reward else op.KLPull(kind=kind, importance=True)
    )
    action = op.PolicyGradient(
        level="sequence_mean" if sequence else "token",
        trust_region=_region(s),
        advantage=advantage or op.GroupMean(),
        aggregation=op.TokenMean()
        if s.flag(L + "token_level_loss")
        else op.SequenceMeanTokenMean(),
        pull=pull if beta else None,
        correction=_correction(s),
    )
    if advantage is None:
        config.no_target = s.why_not("grpo.adv_estimator.name")
        config.known, config.stands_in = [(action, {})], frozenset({"action.advantage"})
    else:
        config.action = action
    config.likely = ("gspo",) if sequence else ("cispo",) if s.flag(L + "use_cispo") else ("grpo",)
    config.said = _said(s, estimator)
    _changes(config, s)
    return config


def _drawn(config: Configuration, s: Settings, section: str) -> None:
    """The proposal, and how often its batch is stepped on."""
    names = {name: f"policy.generation.{name}" for name in ("temperature", "top_p", "top_k")}
    names |= {"prompts": f"{section}.num_prompts_per_step"}
    names |= {"size": f"{section}.num_generations_per_prompt"}
    names["max_new_tokens"] = "policy.max_total_sequence_length"
    config.proposal = common.proposal_of(s, names)
    drawn = config.proposal.prompts * config.proposal.size
    config.updates = max(1, drawn // max(1, s.whole("policy.train_global_batch_size")))


def _advantage(s: Settings, estimator: str) -> Any:
    if estimator == "reinforce_plus_plus":
        baseline = (
            {"baseline": op.GroupMean()} if s.flag("grpo.adv_estimator.minus_baseline") else {}
        )
        return op.ReturnToGo(whiten=op.Whitening(), **baseline)
    if estimator != "grpo":
        return None
    z = _either(s, "normalize_rewards")
    if _either(s, "use_leave_one_out_baseline"):
        return op.LeaveOneOutZScore(epsilon=1e-6) if z else op.LeaveOneOut()
    return op.GroupZScore(epsilon=1e-6) if z else op.GroupMean()


def _either(s: Settings, name: str) -> bool:
    """The estimator's own setting if it is given, else the section's, to which it defaults."""
    own = f"grpo.adv_estimator.{name}"
    return s.flag(own) if own in s.given else s.flag(f"grpo.{name}")


def _region(s: Settings) -> Any:
    low, high = s.number(L + "ratio_clip_min"), s.number(L + "ratio_clip_max")
    if s.flag(L + "use_cispo"):
        return op.Truncate(cap=1 + high, floor=1 - low if low < 1 else None)
    if s.flag(L + "disable_ppo_ratio"):
        return op.Unbounded()
    return common.clip(low, high, s.number_or(L + "ratio_clip_c", None))


def _correction(s: Settings) -> Any:
    if not s.flag(L + "use_importance_sampling_correction"):
        return None
    high = s.number_or(L + "truncated_importance_sampling_ratio", NO_BOUND)
    low = s.number(L + "truncated_importance_sampling_ratio_min")
    return common.cut_weights(s[L + "truncated_importance_sampling_type"], low, high)


def _said(s: Settings, estimator: str) -> dict[str, str]:
    said = {name: s.said(f"policy.generation.{name}") for name in ("temperature", "top_p", "top_k")}
    said["advantage"] = s.said("grpo.normalize_rewards")
    if estimator != "grpo":
        said["advantage"] = s.said("grpo.adv_estimator.name")
    said["pull"] = s.said(L + "reference_policy_kl_type") if s.number(KL) else s.said(KL)
    said["refresh"] = s.said("policy.train_global_batch_size")
    if not s.flag(L + "disable_ppo_ratio") and not s.flag("grpo.async_grpo.enabled"):
        both = (L + "ratio_clip_min", L + "ratio_clip_max")
        said["clip"] = ", ".join(s.said(name).removesuffix(" (default)") for name in both)
    return said


def _changes(config: Configuration, s: Settings) -> None:
    clamped = s[L + "kl_output_clamp_value"] is not None
    if s.number(KL) and clamped and not s.flag(L + "use_kl_in_reward"):
        config.change(
            L + "kl_output_clamp_value",
            "the KL term is clamped: no pull where π is far from π_ref",
            "push",
        )
    config.change_as_recorded()
    for name, value in s.given.items():
        if name.startswith("reward_penalties.") and value not in (None, 0, 0.0, False):
            config.changes.append(SilentChange(f"{name}={value}", "lowers U: a second reward"))
    if s.flag(L + "use_cispo") and s.number(L + "ratio_clip_min") < 1.0:
        config.change(
            L + "ratio_clip_min", "a lower bound on ρ that CISPO's paper has not", "operator"
        )


def _dpo(s: Settings) -> Configuration:
    beta = common.coefficient(s, "dpo.reference_policy_kl_penalty")
    config = common.pairs("nemo_rl", "dpo", s, beta)
    config.action, config.likely = op.Preference(loss=op.Dpo()), ("dpo",)
    config.said["loss"] = s.said("dpo.reference_policy_kl_penalty")
    if s.flag("dpo.preference_average_log_probs"):
        config.change(
            "dpo.preference_average_log_probs", "log-ratios per token: tilts by length", "law"
        )
        config.law = Law("other", why="log-ratios per token are no density")
    if s.number("dpo.sft_loss_weight"):
        config.change("dpo.sft_loss_weight", "adds the likelihood of the chosen answers: a mixture")
    return config


def _sft(s: Settings) -> Configuration:
    return common.supervised("nemo_rl", "sft", s)


def _distillation(s: Settings) -> Configuration:
    config = Configuration("nemo_rl", "distillation", s, "on_policy_distillation")
    config.target, config.target_family = Teacher(eta=1.0), "teacher"
    config.action, config.likely = op.NoCredit(), ("gkd", "opd_full", "opd")
    _drawn(config, s, "distillation")
    divergence = {"forward": "forward_kl", "reverse": "reverse_kl"}.get(str(s[L + "kl_type"]))
    spec = {"divergence": divergence or "jsd", "top_k": s.whole("distillation.topk_logits_k")}
    config.auxiliary = op.Auxiliary.model_validate(
        {"distillation": {**spec, "rest": "renormalised"}}
    )
    if divergence is None:
        config.notes.append("a weighted sum of both KLs stands here as a JSD")
    config.said["distillation"] = s.said("distillation.topk_logits_k")
    if s.flag(L + "zero_outside_topk"):
        config.change(
            L + "zero_outside_topk",
            "the student keeps its whole law and mass outside the teacher's top tokens is what it "
            "pays for: the aim is the teacher cut to them",
            "law",
        )
        config.law = Law("other", why="the teacher cut to its top tokens and renormalised")
    if s[L + "kl_type"] == "mixed":
        config.change(
            L + "kl_type",
            "a sum of both directions: the teacher only if it is reachable",
            "law",
        )
    return config
