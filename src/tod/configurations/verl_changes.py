"""What in a verl configuration moves the target without saying so."""

from tod.atlas.law import Law
from tod.configurations.draft import Draft
from tod.configurations.settings import Settings
from tod.configurations.verl_facts import A, C, R

NORM = "seq-mean-token-sum-norm"
"""The reduction by a constant length."""


def trust_changes(draft: Draft, s: Settings, mode: str) -> None:
    """Trust region and reduction."""
    if mode == "vanilla":
        draft.change(
            A + "clip_ratio_c",
            f"dual clip: where A < 0 and ρ > {s.number(A + 'clip_ratio_c'):g} a token no longer "
            "counts; bad answers that became likely are not pushed down",
        )
    bounds = ("clip_ratio_low", "clip_ratio_high")
    if A + "clip_ratio" in s.given and not any(A + name in s.given for name in bounds):
        draft.change(
            A + "clip_ratio",
            "has no effect: clip_ratio_low and clip_ratio_high are 0.2 by default and win",
        )
    if mode in ("geo_mean", "sapo") and s[A + "loss_agg_mode"] != "seq-mean-token-mean":
        draft.change(
            A + "loss_agg_mode", f"{mode} aggregates by seq-mean-token-mean whatever is set"
        )
    if mode == "gspo" and s[A + "loss_agg_mode"] == "token-mean":
        draft.change(
            A + "loss_agg_mode",
            "multiplies every sequence's weight by its length; GSPO is seq-mean-token-mean, which "
            "verl before 0.9 used whatever was set",
        )
    if mode == "cispo" and s.number(A + "clip_ratio_low") < 1.0:
        draft.change(
            A + "clip_ratio_low",
            "a lower bound on ρ that the paper has not: stale tokens count more",
        )
    if mode == "gspo" and s.number(A + "clip_ratio_high") > 0.01:
        draft.change(
            A + "clip_ratio_high",
            "a token's width on a geometric mean over a sequence: 4e-4 is usual, this never binds",
        )
    if s.flag(C + "bypass_mode"):
        draft.change(
            C + "bypass_mode",
            f"π_old is the engine's own log μ, and the loss is {s[C + 'loss_type']} whatever "
            "policy_loss.loss_mode says",
        )
    aggregation = s[A + "loss_agg_mode"]
    unset = s[A + "loss_scale_factor"] is None
    if aggregation == NORM and unset and mode not in ("geo_mean", "sapo"):
        draft.change(
            A + "loss_scale_factor",
            "divides by the padded width, which may be that of the batch at hand: set it",
        )
    if aggregation == "seq-mean-token-mean" and mode == "vanilla":
        draft.change(
            A + "loss_agg_mode",
            "each sequence is divided by its own length: short answers are pushed harder per "
            "token; not the gradient of E[U]",
        )


def reward_changes(draft: Draft, s: Settings, estimator: str) -> None:
    """Reward, baseline and which prompts count."""
    grouped = estimator in ("grpo", "grpo_vectorized", "rloo", "rloo_vectorized")
    if grouped and s.whole(R + "n") == 1:
        effect = "one candidate a prompt has no baseline: GRPO takes the raw reward as advantage"
        if estimator != "grpo":
            effect = "one candidate a prompt has no baseline: raw reward or 0, by implementation"
        draft.change(R + "n", effect)
    if s["algorithm.kl_ctrl.type"] == "adaptive" and s.flag("algorithm.use_kl_in_reward"):
        draft.change(
            "algorithm.kl_ctrl.type",
            f"β moves to hold the KL at {s['algorithm.kl_ctrl.target_kl']}: η = 1/β is whatever "
            "that takes",
        )
    if s.flag("algorithm.filter_groups.enable"):
        draft.change(
            "algorithm.filter_groups.enable",
            "contexts are weighted by 1 − p^K − (1 − p)^K: prompts of middling difficulty count",
        )
    for name in (
        "reward_model.overlong_buffer.enable",
        "reward_model.reward_kwargs.overlong_buffer_cfg.enable",
        "reward.reward_kwargs.overlong_buffer_cfg.enable",
    ):
        if s.flag(name):
            draft.change(name, "U gets a penalty of length near the limit: a second utility")
    if estimator == "gpg":
        draft.change(
            "algorithm.adv_estimator",
            "advantages are multiplied by B over the number of rewards that are not 0: the step "
            "grows where rewards are rare",
        )
    if s.flag("algorithm.use_pf_ppo"):
        draft.change("algorithm.use_pf_ppo", "batches are redrawn by reward: μ is not what sampled")


def other_changes(draft: Draft, s: Settings) -> None:
    """Teacher, sampler's weights and staleness."""
    if s[C + "rollout_is"] is not None and not s.flag(C + "bypass_mode"):
        draft.change(
            C + "rollout_is", "capped weights: E[weight] < 1, long answers are cut more often"
        )
    if s.flag("distillation.enabled"):
        inner = "distillation.distillation_loss."
        draft.change(
            inner + "loss_mode", "a divergence from a teacher, beside or instead of the reward"
        )
        what = "beside the reward: two pulls" if s.flag(inner + "use_task_rewards") else "alone"
        draft.no_target = f"distillation.enabled: a teacher {what}; only its settings are read here"
        draft.target, draft.action = None, None
        draft.law = Law("other", why=draft.no_target)
    if s[C + "rollout_rs"] is not None:
        draft.change(
            C + "rollout_rs",
            "answers are dropped by −log ρ, so bounds lo_hi keep ρ in [1/hi, 1/lo]; the law is "
            "conditioned on agreement of the two engines",
        )
