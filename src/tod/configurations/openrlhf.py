"""OpenRLHF command lines: `openrlhf.cli.train_ppo_ray`, `train_dpo`, `train_sft`.

Dotted options (2026) and the flat ones before them are read alike.
"""

from collections.abc import Mapping
from typing import Any

import tod.configurations.configuration as common
import tod.operators as op
from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.configuration import Configuration
from tod.configurations.framework import Settings
from tod.configurations.point import Located

E = "algo.advantage.estimator"
_GATE = "algo.advantage.is_correction"
_BASELINES = {
    "reinforce": op.Raw(),
    "rloo": op.LeaveOneOut(),
    "reinforce_baseline": op.GroupMean(),
    "dr_grpo": op.GroupMean(),
    "flash_reinforce": op.Raw(),  # less the mean of the step: see `_ppo_changes`
}
_LIKELY = {
    "gae": ("ppo_clip",),
    "rloo": ("rloo",),
    "dr_grpo": ("dr_grpo",),
    "group_norm": ("grpo", "dapo"),
    "reinforce": ("reinforce_plus_plus",),
    "reinforce_baseline": ("reinforce_plus_plus_baseline", "reinforce_plus_plus"),
}


def locate_openrlhf(
    values: Mapping[str, Any], program: str | None = None, where: str = ""
) -> Located:
    """An OpenRLHF command as a point of the atlas.

    Raises:
        SpecError: A program that has no reader.
    """
    name = (program or "openrlhf.cli.train_ppo_ray").rsplit(".", 1)[-1]
    if name in ("train_ppo_ray", "train_ppo"):
        return _ppo(Settings.of("openrlhf", "ppo", values), name).located()
    data = Settings.of("openrlhf", "pairs", values)
    if name == "train_dpo":
        return _dpo(data).located()
    if name == "train_sft":
        return common.supervised("openrlhf", name, data).located()
    raise SpecError(
        f"{where}: no reader for {program}. Known: train_ppo_ray, train_dpo, train_sft of "
        "openrlhf.cli."
    )


def _ppo(s: Settings, name: str) -> Configuration:
    estimator, beta = str(s[E]), common.coefficient(s, "algo.kl.init_coef")
    config = Configuration("openrlhf", f"{name}: {estimator}", s, "verifier_rl")
    config.family = "proximal_rl" if estimator == "gae" else "verifier_rl"
    config.target = common.reward_tilt(beta)
    if beta <= 0.0:
        config.no_target = "algo.kl.init_coef=0: no finite target"
    config.updates = _updates(s)
    names = {name: f"rollout.{name}" for name in ("temperature", "top_p")}
    names |= {"prompts": "rollout.batch_size", "size": "rollout.n_samples_per_prompt"}
    config.proposal = common.proposal_of(s, names | {"max_new_tokens": "data.max_len"})
    gspo = s["actor.policy_loss_type"] == "gspo"
    config.action = op.PolicyGradient(
        level="sequence_mean" if gspo else "token",
        trust_region=_region(s),
        advantage=_advantage(s, estimator),
        aggregation=_aggregation(s, gspo),
        pull=_pull(s) if beta > 0 else None,
        correction=_correction(s),
    )
    config.auxiliary = common.auxiliary(s.number("actor.entropy_coef"), critic=estimator == "gae")
    config.likely = ("gspo",) if gspo else _LIKELY.get(estimator, ())
    config.said = {
        "advantage": s.said(E),
        "pull": f"{s.said('algo.kl.estimator')}, {s.said('algo.kl.use_loss')}"
        if beta > 0
        else s.said("algo.kl.init_coef"),
        "temperature": s.said("rollout.temperature"),
        "top_p": s.said("rollout.top_p"),
        "refresh": s.said("train.max_epochs"),
        "clip": "" if s.flag("train.async_enable") else _width(s),
        "entropy": s.said("actor.entropy_coef"),
    }
    _ppo_changes(config, s, estimator, beta)
    return config


def _updates(s: Settings) -> int:
    drawn = s.whole("rollout.batch_size") * s.whole("rollout.n_samples_per_prompt")
    return max(1, drawn // max(1, s.whole("train.batch_size"))) * s.whole("train.max_epochs")


def _region(s: Settings) -> op.Clip | op.DualClip:
    given = s["actor.eps_clip_low_high"] is not None
    low, high = _two(s, "actor.eps_clip_low_high") if given else (s.number("actor.eps_clip"),) * 2
    return common.clip(low, high, s.number_or("actor.dual_clip", None))


def _width(s: Settings) -> str:
    """How the width of the trust region is spelled."""
    both = s["actor.eps_clip_low_high"] is not None
    name = "actor.eps_clip_low_high" if both else "actor.eps_clip"
    return s.said(name).removesuffix(" (default)")


def _two(s: Settings, name: str) -> tuple[float, float]:
    """Two numbers; one alone is the upper."""
    values = s.numbers(name)
    if len(values) > 2:
        raise SpecError(f"{s.said(name)}: a lower and an upper bound are two numbers.")
    return (values[0], values[1]) if len(values) == 2 else (0.0, values[0])


def _advantage(s: Settings, estimator: str) -> Any:
    whiten = None if s.flag("algo.advantage.no_std_norm") else op.Whitening(epsilon=0.0, ddof=0)
    gamma = s.number("algo.advantage.gamma")
    if estimator == "gae":
        return op.Gae(discount=gamma, trace=s.number("algo.advantage.lambd"), whiten=whiten)
    if estimator == "group_norm":
        return op.GroupZScore(epsilon=1e-9)
    if estimator in ("rloo", "dr_grpo", "flash_reinforce"):
        return op.ReturnToGo(baseline=_BASELINES[estimator])
    discount = gamma if estimator == "reinforce" else 1.0
    baseline = s.choice(E, _BASELINES)
    return op.ReturnToGo(discount=discount, baseline=baseline, whiten=whiten)


def _pull(s: Settings) -> op.KLPull:
    if not s.flag("algo.kl.use_loss"):
        return op.KLPull(kind=str(s["algo.kl.estimator"]), place="reward")
    if s.flag("algo.kl.unbiased_gradient"):  # every estimator then has this gradient
        return op.KLPull(kind="k1", place="loss", importance=True)
    return op.KLPull(kind=str(s["algo.kl.estimator"]), place="loss")


def _correction(s: Settings) -> Any:
    """By level, mode and statistic since 0.11; by ``is_correction_type`` before.

    None of a gate by a divergence: no correction of ours reads one.
    """
    level = str(s[f"{_GATE}_level"])
    if level == "off" and not s.flag(f"{_GATE}_enable"):
        return None
    low, high = _two(s, f"{_GATE}_threshold")
    if level == "off":
        return common.cut_weights(s[f"{_GATE}_type"], low, high)
    if s[f"{_GATE}_gating"] != "ratio":
        return None
    if level == "seq":
        return op.GeometricRejection(low=low, high=high, weighted=True)
    cuts = s[f"{_GATE}_mode"] == "clip"
    return op.TokenTruncation(floor=low, cap=high) if cuts else op.TokenMask(low=low, high=high)


def _aggregation(s: Settings, gspo: bool) -> Any:
    """GSPO takes the mean of every answer, whatever is set."""
    by_token = s["actor.loss_agg_mode"] == "token-mean" and not gspo
    return op.TokenMean() if by_token else op.SequenceMeanTokenMean()


def _ppo_changes(config: Configuration, s: Settings, estimator: str, beta: float) -> None:
    if beta > 0 and not s.flag("algo.kl.use_loss") and estimator == "group_norm":
        config.change(
            E,
            "the reward is divided by σ_c *before* the KL is subtracted: "
            f"η = {1 / beta:.4g}/(σ_c + 1e-09), another sharpness for every prompt",
            "law",
        )
        etas = {common.REWARD: 1 / beta}
        config.law = Law("exponential", {"ref": 1.0}, etas, "group_std", 1e-9, "on_policy")
    if beta > 0 and s["algo.kl.target"] is not None:
        config.change("algo.kl.target", "β moves to hold that KL: η = 1/β is whatever it takes")
    if estimator == "flash_reinforce":
        config.change(
            E,
            "the mean reward of the whole step is subtracted, of every prompt alike: the same "
            "fixed point as without, another variance",
            "operator",
        )
    if beta > 0 and s.flag("algo.kl.use_loss") and s.flag("algo.kl.unbiased_gradient"):
        config.change(
            "algo.kl.unbiased_gradient",
            "the KL in the loss has the gradient of KL(π‖π_ref), weighed by π/π_old up to 10, "
            "whatever its estimator",
            "operator",
        )
    level = str(s[f"{_GATE}_level"])
    if level != "off" and s[f"{_GATE}_gating"] != "ratio":
        config.change(
            f"{_GATE}_gating",
            "tokens or answers are dropped by a divergence of their own tokens, which no "
            "correction here does: a nearby law's push",
            "operator",
        )
    elif level != "off":
        config.change(
            f"{_GATE}_level",
            "weights of tokens that the engine sampled otherwise are cut: a nearby law's push",
            "operator",
        )
    if "reward.clip_range" in s.given:
        config.change("reward.clip_range", "U is the reward cut to that range, after a baseline")
    config.change_as_recorded()


def _dpo(s: Settings) -> Configuration:
    beta, smooth = common.coefficient(s, "model.beta"), s.number("model.label_smoothing")
    config = common.pairs("openrlhf", "train_dpo", s, beta)
    loss: Any = op.ConservativeDpo(epsilon=smooth) if smooth else op.Dpo()
    if s.flag("model.ipo_enable"):
        loss = op.Ipo(by_length=False)
    config.action, config.likely = op.Preference(loss=loss), (loss.kind,)
    ipo = s.flag("model.ipo_enable")
    config.said["loss"] = s.said("model.ipo_enable" if ipo else "model.label_smoothing")
    if s.number("model.nll_loss_coef"):
        config.change("model.nll_loss_coef", "adds the likelihood of the chosen answers: a mixture")
    return config
