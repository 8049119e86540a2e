"""NeMo-RL YAML: `grpo`, `dpo`, `sft` and `distillation` with their `loss_fn`."""

from collections.abc import Mapping
from typing import Any

from tod.atlas.law import Law
from tod.atlas.nearest import NO_BOUND
from tod.base import SpecError
from tod.configurations.draft import Draft, coefficient, proposal_of, reward_tilt
from tod.configurations.located import Located
from tod.configurations.nemo_rl_facts import (
    DEFAULTS,
    NEUTRAL,
    PREFIXES,
    VERSION,
)
from tod.configurations.outside import NEMO_ESTIMATORS, why
from tod.configurations.settings import Settings, flat
from tod.operators import (
    Auxiliary,
    Clip,
    DatasetProposal,
    Dpo,
    DualClip,
    GeometricRejection,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    LeaveOneOutZScore,
    NoCredit,
    PairsProposal,
    PolicyGradient,
    Preference,
    ReturnToGo,
    SequenceMeanTokenMean,
    TokenMask,
    TokenMean,
    TokenTruncation,
    Truncate,
    Unbounded,
    Uniform,
    WeightedRegression,
    Whitening,
)
from tod.targets import Data, Teacher
from tod.targets import Preference as PreferenceTarget

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
    name = method or next((key for key in known if key in values), None)
    if name not in known:
        raise SpecError(
            f"{where}: NeMo-RL, but none of its sections {', '.join(known)} is there. Known "
            "sections decide the method; say it with --method if it lives in a file of defaults."
        )
    s = Settings(flat(values), DEFAULTS[name], NEUTRAL, PREFIXES[name])
    draft = {"grpo": _grpo, "dpo": _dpo, "sft": _sft, "distillation": _distillation}[name](s)
    return draft.located()


def _grpo(s: Settings) -> Draft:
    estimator = str(s["grpo.adv_estimator.name"])
    draft = Draft("nemo_rl", VERSION, f"grpo: {estimator}", s, "verifier_rl")
    in_reward, beta = s.flag(L + "use_kl_in_reward"), coefficient(s, KL)
    draft.target = reward_tilt(beta)
    if beta == 0.0:
        draft.no_target = f"{KL}=0: no finite target, only a trust region"
    _drawn(draft, s, "grpo")
    advantage = _advantage(s, estimator)
    sequence = s.flag(L + "sequence_level_importance_ratios")
    kind = str(s[L + "reference_policy_kl_type"])
    pull = KLPull(kind=kind, place="reward") if in_reward else KLPull(kind=kind, importance=True)
    action = PolicyGradient(
        level="sequence_mean" if sequence else "token",
        trust_region=_region(s),
        advantage=advantage or GroupMean(),
        aggregation=TokenMean() if s.flag(L + "token_level_loss") else SequenceMeanTokenMean(),
        pull=pull if beta else None,
        correction=_correction(s),
    )
    if advantage is None:
        draft.no_target = why(estimator, NEMO_ESTIMATORS, "grpo.adv_estimator.name")
        draft.known = [(action, {})]
    else:
        draft.action = action
    draft.likely = ("gspo",) if sequence else ("cispo",) if s.flag(L + "use_cispo") else ("grpo",)
    draft.said = _said(s, estimator)
    _changes(draft, s)
    return draft


def _drawn(draft: Draft, s: Settings, section: str) -> None:
    """The proposal, and how often its batch is stepped on."""
    names = {name: f"policy.generation.{name}" for name in ("temperature", "top_p", "top_k")}
    names |= {"prompts": f"{section}.num_prompts_per_step"}
    names |= {"size": f"{section}.num_generations_per_prompt"}
    names["max_new_tokens"] = "policy.max_total_sequence_length"
    draft.proposal = proposal_of(s, names)
    drawn = draft.proposal.prompts * draft.proposal.size
    draft.updates = max(1, drawn // max(1, s.whole("policy.train_global_batch_size")))


def _advantage(s: Settings, estimator: str) -> Any:
    if estimator == "reinforce_plus_plus":
        baseline = {"baseline": GroupMean()} if s.flag("grpo.adv_estimator.minus_baseline") else {}
        return ReturnToGo(whiten=Whitening(), **baseline)
    if estimator != "grpo":
        return None
    z = _either(s, "normalize_rewards")
    if _either(s, "use_leave_one_out_baseline"):
        return LeaveOneOutZScore(epsilon=1e-6) if z else LeaveOneOut()
    return GroupZScore(epsilon=1e-6) if z else GroupMean()


def _either(s: Settings, name: str) -> bool:
    """The estimator's own setting if it is given, else the section's, to which it defaults."""
    own = f"grpo.adv_estimator.{name}"
    return s.flag(own) if own in s.given else s.flag(f"grpo.{name}")


def _region(s: Settings) -> Any:
    low, high = s.number(L + "ratio_clip_min"), s.number(L + "ratio_clip_max")
    if s.flag(L + "use_cispo"):
        return Truncate(cap=1 + high, floor=1 - low if low < 1 else None)
    if s.flag(L + "disable_ppo_ratio"):
        return Unbounded()
    if s[L + "ratio_clip_c"] is None:
        return Clip(low=low, high=high)
    return DualClip(low=low, high=high, cap=s.number(L + "ratio_clip_c"))


def _correction(s: Settings) -> Any:
    if not s.flag(L + "use_importance_sampling_correction"):
        return None
    kind = s[L + "truncated_importance_sampling_type"]
    name = L + "truncated_importance_sampling_ratio"
    high = s.number(name) if s[name] is not None else NO_BOUND
    low = s.number(L + "truncated_importance_sampling_ratio_min")
    if kind == "icepop":
        return TokenMask(low=low, high=high)
    if kind == "seq-mask-tis":
        return GeometricRejection(low=low, high=high, weighted=True)
    return TokenTruncation(floor=low, cap=high)


def _said(s: Settings, estimator: str) -> dict[str, str]:
    said = {name: s.said(f"policy.generation.{name}") for name in ("temperature", "top_p", "top_k")}
    said["advantage"] = s.said("grpo.normalize_rewards")
    if estimator != "grpo":
        said["advantage"] = s.said("grpo.adv_estimator.name")
    said["pull"] = s.said(L + "reference_policy_kl_type") if s.number(KL) else s.said(KL)
    said["refresh"] = s.said("policy.train_global_batch_size")
    return said


_SAYS = {
    "grpo.use_dynamic_sampling": "contexts are weighted by 1 − p^K − (1 − p)^K: prompts of "
    "middling difficulty count",
    "grpo.overlong_filtering": "cut answers get no push: the law is conditioned on finishing",
    "grpo.reward_shaping.enabled": "U gets a penalty of length near the limit",
    "grpo.reward_scaling.enabled": "U is mapped to another range: η scales with it",
    "grpo.async_grpo.enabled": "μ is older than π_old: stale by up to its limit",
    L + "positive_example_nll_weight": "adds the likelihood of passes: pulls to argmax U",
    L + "ratio_clip_c": "where A < 0 and ρ is above it a token no longer counts",
    L + "use_importance_sampling_correction": "weights of the sampler's mismatch, cut where "
    "a bound is set: a nearby law's push",
}
"""Settings that change the aim as soon as they are on."""


def _changes(draft: Draft, s: Settings) -> None:
    if s.number(KL) and not s.flag(L + "use_kl_in_reward"):
        draft.change(
            L + "kl_output_clamp_value", "the KL term is clamped: no pull where π is far from π_ref"
        )
    for name, effect in _SAYS.items():
        if s.flag(name):
            draft.change(name, effect)
    for name in ("grpo.advantage_clip_low", "grpo.advantage_clip_high"):
        if s[name] is not None:
            draft.change(name, "advantages are cut: a biased push")
    if s.flag(L + "use_cispo") and s.number(L + "ratio_clip_min") < 1.0:
        draft.change(L + "ratio_clip_min", "a lower bound on ρ that CISPO's paper has not")


def _dpo(s: Settings) -> Draft:
    beta = coefficient(s, "dpo.reference_policy_kl_penalty")
    draft = Draft("nemo_rl", VERSION, "dpo", s, "preference_surrogate", updates=None)
    draft.target = PreferenceTarget(utility="preference", beta=beta) if beta > 0 else None
    draft.action, draft.likely = Preference(loss=Dpo()), ("dpo",)
    draft.proposal = PairsProposal(source="pairs")
    draft.said["loss"] = s.said("dpo.reference_policy_kl_penalty")
    if s.flag("dpo.preference_average_log_probs"):
        draft.change("dpo.preference_average_log_probs", "log-ratios per token: tilts by length")
        draft.law = Law("other", why="log-ratios per token are no density")
    if s.number("dpo.sft_loss_weight"):
        draft.change("dpo.sft_loss_weight", "adds the likelihood of the chosen answers: a mixture")
    return draft


def _sft(s: Settings) -> Draft:
    draft = Draft("nemo_rl", VERSION, "sft", s, "supervised", target=Data(), updates=None)
    draft.action = WeightedRegression(weights=Uniform(), aggregation=TokenMean())
    draft.proposal = DatasetProposal(source="dataset")
    draft.likely = ("sft",)
    return draft


def _distillation(s: Settings) -> Draft:
    draft = Draft("nemo_rl", VERSION, "distillation", s, "on_policy_distillation")
    draft.target, draft.target_family = Teacher(eta=1.0), "teacher"
    draft.action, draft.likely = NoCredit(), ("gkd", "opd_full", "opd")
    _drawn(draft, s, "distillation")
    divergence = {"forward": "forward_kl", "reverse": "reverse_kl"}.get(str(s[L + "kl_type"]))
    spec = {"divergence": divergence or "jsd", "top_k": s.whole("distillation.topk_logits_k")}
    draft.auxiliary = Auxiliary.model_validate({"distillation": {**spec, "rest": "renormalised"}})
    if divergence is None:
        draft.notes.append("a weighted sum of both KLs stands here as a JSD")
    draft.said["distillation"] = s.said("distillation.topk_logits_k")
    if s.flag(L + "zero_outside_topk"):
        draft.change(
            L + "zero_outside_topk",
            "the student keeps its whole law and mass outside the teacher's top tokens is what it "
            "pays for: the aim is the teacher cut to them",
        )
        draft.law = Law("other", why="the teacher cut to its top tokens and renormalised")
    if s[L + "kl_type"] == "mixed":
        draft.change(L + "kl_type", "a sum of both directions: the teacher only if it is reachable")
    return draft
