"""verl configurations: YAML, Hydra overrides, or a script that runs its trainer."""

import re
from collections.abc import Mapping
from typing import Any

import tod.configurations.configuration as common
import tod.operators as op
from tod.base import SpecError
from tod.configurations.configuration import Configuration
from tod.configurations.framework import ANY, Computed, Facts, Settings, flat, number
from tod.configurations.point import Located
from tod.configurations.promised import BUFFERS
from tod.configurations.without_effect import NoEffect

_ESTIMATORS = {
    "rloo": op.LeaveOneOut(),
    "rloo_vectorized": op.LeaveOneOut(),
    "gpg": op.GroupMean(),
    "opo": op.LengthWeightedMean(),
}
_LEVELS = {"gspo": "sequence_mean", "geo_mean": "sequence_mean_of_clipped"}
_AGGREGATION = {
    "token-mean": op.TokenMean(),
    "seq-mean-token-mean": op.SequenceMeanTokenMean(),
    "seq-mean-token-sum": op.SequenceMeanTokenSum(),
}
_PROGRAMS = ("main_ppo", "main_dapo", "fully_async_main", "main_ppo_split", "main_ppo_sync")
_OF_LOSS = ("action.trust_region", "action.level", "action.aggregation")
"""What hangs on the loss's mode."""
_LIKELY = {
    "gspo": ("gspo",),
    "sapo": ("sapo",),
    "cispo": ("cispo",),
    "geo_mean": ("gmpo",),
}
A = "actor_rollout_ref.actor."
R = "actor_rollout_ref.rollout."
C = "algorithm.rollout_correction."
_KINDS = {
    "kl": "k1",
    "k1": "k1",
    "mse": "k2",
    "k2": "k2",
    "low_var_kl": "k3",
    "k3": "k3",
}


def locate_verl(
    values: Mapping[str, Any],
    program: str | None = None,
    where: str = "",
    known: Facts | None = None,
) -> Located:
    """A verl configuration as a point of the atlas.

    Args:
        values: Settings.
        program: Module that is run.
        where: The file, for messages.
        known: What is recorded of verl, of another release than the newest.

    Raises:
        SpecError: A program that has no reader.
    """
    name = re.split(r"[./]", (program or "main_ppo").removesuffix(".py"))[-1]
    if "sft" in name:
        return _sft(values, name)
    own_layer = any(key.startswith(ANY) for key in values)
    if name not in _PROGRAMS and (not own_layer or "generation" in name or "eval" in name):
        raise SpecError(
            f"{where}: no reader for {program}. Known: {', '.join(_PROGRAMS)} and the sft trainers."
        )
    s = Settings.of("verl", "ppo", with_agents(flat(values)), known)
    estimator, mode = str(s["algorithm.adv_estimator"]), _mode(s)
    config = Configuration("verl", f"{estimator}, {mode}", s, "proximal_rl")
    config.updates = _updates(s, _agents(flat(values)))
    config.method = f"{program or 'main_ppo'}: {config.method}"
    config.family = "proximal_rl" if estimator == "gae" else "verifier_rl"
    config.proposal = _proposal(s)
    mode = _compose(config, s, estimator, mode)
    config.auxiliary = common.auxiliary(s.number(A + "entropy_coeff"), critic=estimator == "gae")
    config.likely = _LIKELY.get(mode, _by_estimator(estimator))
    config.said |= _said(s)
    _trust_changes(config, s, mode)
    _reduction_changes(config, s, mode)
    _reward_changes(config, s, estimator)
    _other_changes(config, s)
    config.change_as_recorded()
    _shaped_filter(config, s)
    return config.located()


def with_agents(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which `n_agent`, as agents' forks spell K, multiplies `rollout.n`."""
    rest = {name: value for name, value in values.items() if name != R + "n_agent"}
    if R + "n_agent" not in values:
        return rest
    agents, each = values[R + "n_agent"], values.get(R + "n", 1)
    try:
        return {**rest, R + "n": int(agents) * int(each)}
    except (TypeError, ValueError):
        return {**rest, R + "n": Computed(f"{agents} · {each}")}


def _shaped_filter(config: Configuration, s: Settings) -> None:
    """A filter of groups of one value, on a value that no two answers share."""
    shaped = [name for name in BUFFERS if s.flag(name)]
    metric = str(s.given.get("algorithm.filter_groups.metric", ""))
    if s.flag("algorithm.filter_groups.enable") and shaped and metric in _SHAPED:
        config.idle.append(
            NoEffect(
                f"algorithm.filter_groups.metric={metric}",
                f"{s.said(shaped[0])} adds a penalty by length, in which answers of a prompt "
                "differ: hardly a group is dropped; metric=acc looks at the verdict alone",
            )
        )


_SHAPED = ("score", "seq_reward", "seq_final_reward")


def _compose(config: Configuration, s: Settings, estimator: str, mode: str) -> str:
    """Fill in target and action, or why there is none; the loss's mode as it is composed."""
    pulls, beta = _pulls(config, s)
    config.target = common.reward_tilt(beta)
    if beta == 0.0 and not config.no_target:
        config.no_target = "no KL in the loss or the reward: no finite target"
    advantage = _advantage(s, estimator)
    region = _region(s, mode)
    if mode == "geo_mean" and isinstance(advantage, op.Gae | op.ReturnToGo):
        mode, region = "geo_mean by token", None
    if advantage is None:
        config.no_target = s.why_not("algorithm.adv_estimator")
    elif region is None:
        config.no_target = s.why_not(A + "policy_loss.loss_mode", mode)
    rules = [
        op.PolicyGradient(
            level=_level(s, mode),
            trust_region=region or op.Unbounded(),
            advantage=advantage or op.GroupMean(),
            aggregation=_aggregation(s, mode),
            pull=pull,
            correction=_correction(s),
        )
        for pull, _ in pulls
    ]
    if advantage is None or region is None or config.law:
        spelled = [{"pull": said} for _, said in pulls]
        config.known = list(zip(rules, spelled, strict=True))
        away = {"action.advantage": advantage is None, "action.pull": config.law is not None}
        away |= dict.fromkeys(_OF_LOSS, region is None)
        config.stands_in = frozenset(name for name, absent in away.items() if absent)
    else:
        config.action, config.said["pull"] = rules[0], pulls[0][1]
    return mode


def _sft(values: Mapping[str, Any], name: str) -> Located:
    s = Settings.of("verl", "sft", flat(values))
    return common.supervised("verl", name, s).located()


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


def _updates(s: Settings, agents: int = 1) -> int:
    """Mini-batches of a batch of prompts, times epochs.

    Both sizes are multiplied by `rollout.n`, and the batch alone by `n_agent`.
    """
    batch, mini = s.whole("data.train_batch_size"), max(1, s.whole(A + "ppo_mini_batch_size"))
    return max(1, -(-batch * agents // mini)) * s.whole(A + "ppo_epochs")


def _agents(values: Mapping[str, Any]) -> int:
    """`n_agent` of agents' forks; 1 where it is not there, or not known (then K is unknown)."""
    agents = values.get(R + "n_agent", 1)
    return agents if isinstance(agents, int) and agents > 0 else 1


def _proposal(s: Settings) -> Any:
    names = {name: R + name for name in ("temperature", "top_p", "top_k")}
    names |= {"prompts": "data.train_batch_size", "size": R + "n"}
    return common.proposal_of(s, names | {"max_new_tokens": "data.max_response_length"})


Pulls = list[tuple[op.KLPull | None, str]]


def _pulls(config: Configuration, s: Settings) -> tuple[Pulls, float]:
    """The pulls as they are spelled, and their β together; the law where no pull of ours says it.

    No pull is one that is None.
    """
    pulls: Pulls = []
    total = 0.0
    for place, on in (("loss", A + "use_kl_loss"), ("reward", "algorithm.use_kl_in_reward")):
        if s.flag(on):
            pull, beta = _pull(config, s, place)
            total += beta
            if beta:
                name = _PLACES[place][0]
                known = str(s[name]).rstrip("+") in _KINDS
                plain = place == "reward" and pull.kind == "k1"
                pulls.append((pull, s.said(on if plain else name) if known else ""))
    if len(pulls) > 1:
        config.refuse("a KL in the loss and one in the reward: two pulls, no composition here")
        config.said["eta"] = "β⁻¹"
    none = f"{s.said(A + 'use_kl_loss')}, {s.said('algorithm.use_kl_in_reward')}"
    return (pulls, total) if pulls else ([(None, none)], 0.0)


_PLACES = {
    "loss": (A + "kl_loss_type", A + "kl_loss_coef"),
    "reward": ("algorithm.kl_penalty", "algorithm.kl_ctrl.kl_coef"),
}
"""Estimator and weight of a pull."""


def _pull(config: Configuration, s: Settings, place: str) -> tuple[op.KLPull, float]:
    """The pull in the loss or in the reward; k2 stands in where it estimates no KL."""
    name, weight = _PLACES[place]
    beta, spelled = common.coefficient(s, weight), str(s[name])
    kind = _KINDS.get(spelled.rstrip("+"))
    if kind is None:
        config.refuse(f"{s.said(name)} is no estimator of a KL's gradient")
        config.change(name, "no estimator of a KL's gradient: its fixed point is not known")
        return op.KLPull(kind="k2", place=place), beta
    if place == "reward":
        return op.KLPull(kind=kind, place="reward"), beta
    if spelled.endswith("+") and kind != "k2":
        config.notes.append(f"{spelled}: the value of {spelled[:-1]}, the gradient of k2")
        kind = "k2"
    if kind == "k3" and beta:
        config.change(name, "k3 is clamped to 10 and its log-ratio to ±20: no pull beyond", "push")
    return op.KLPull(kind=kind), beta


def _advantage(s: Settings, estimator: str) -> Any:
    if estimator in ("grpo", "grpo_vectorized"):
        z = s.flag("algorithm.norm_adv_by_std_in_grpo")
        return op.GroupZScore(epsilon=1e-6) if z else op.GroupMean()
    whiten = op.Whitening(epsilon=1e-8, ddof=1)
    gamma = s.number("algorithm.gamma")
    if estimator == "gae":
        return op.Gae(discount=gamma, trace=s.number("algorithm.lam"), whiten=whiten)
    if estimator == "reinforce_plus_plus":
        return op.ReturnToGo(discount=gamma, whiten=whiten)
    if estimator == "reinforce_plus_plus_baseline":
        return op.ReturnToGo(discount=gamma, baseline=op.GroupMean(), whiten=whiten)
    return _ESTIMATORS.get(estimator)


def _region(s: Settings, mode: str) -> op.TrustRegionSpec | None:
    both = s.number(A + "clip_ratio")
    low, high = (s.number_or(A + f"clip_ratio_{side}", both) for side in WIDTHS)
    low, high = (both if width == NOT_SET else width for width in (low, high))
    cap = s.number_or(A + "clip_ratio_c", BEYOND)
    if mode == "vanilla":
        return common.clip(low, high, cap if cap < BEYOND else None)
    if mode in ("gspo", "geo_mean"):
        return common.log_clip(low, high) if mode == "geo_mean" else op.Clip(low=low, high=high)
    if mode == "sapo":
        return op.SoftGate(tau_pos=s.number(A + "tau_pos"), tau_neg=s.number(A + "tau_neg"))
    if mode in ("dppo_tv", "dppo_kl"):
        measure = mode.removeprefix("dppo_")
        return op.MovedProbability.parse(
            {"measure": measure, "low": low, "high": high, "cap": cap}, mode
        )
    if mode == "cispo":
        return op.Truncate(cap=1 + high, floor=1 - low if low < 1 else None)
    plain = op.Truncate(cap=1.0, floor=1.0)
    if mode == "reinforce" and s[C + "rollout_is"] is not None:
        bounds = _bounds(s)
        return (
            op.Truncate(cap=bounds[1])
            if bounds[0] is None
            else op.Mask(low=bounds[0], high=bounds[1])
        )
    return plain if mode in ("gpg", "reinforce") else None


def _aggregation(s: Settings, mode: str) -> Any:
    if mode in ("geo_mean", "sapo") or (mode == "gspo" and _gspo_by_sequence(s)):
        return op.SequenceMeanTokenMean()
    given = s[A + "loss_scale_factor"] is not None
    length = s.whole(A + "loss_scale_factor" if given else "data.max_response_length")
    return s.choice(A + "loss_agg_mode", {**_AGGREGATION, NORM: op.ConstantLength(length=length)})


def _gspo_by_sequence(s: Settings) -> bool:
    """Whether the release's GSPO reduces by sequences whatever is set."""
    return bool(s.facts.behaviour.get("GSPO by sequences", False))


def _correction(s: Settings) -> Any:
    kind = s[C + "rollout_is"]
    if kind is None or s.flag(C + "bypass_mode"):
        return None
    low, high = _bounds(s)
    if low is not None:
        return (op.SequenceMask if kind == "sequence" else op.TokenMask)(low=low, high=high)
    return op.SequenceTruncation(cap=high) if kind == "sequence" else op.TokenTruncation(cap=high)


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
    if not s.flag(C + "bypass_mode"):
        both = (s.said(A + f"clip_ratio_{side}").removesuffix(" (default)") for side in WIDTHS)
        said["clip"] = ", ".join(both)
    return said


WIDTHS = ("low", "high")
NOT_SET = -1.0
"""A width that leaves it to `clip_ratio`, in forks that have no null for it."""
BEYOND = 1e6
"""A cap that no ratio reaches: there is none."""
NORM = "seq-mean-token-sum-norm"
"""The reduction by a constant length."""


def _trust_changes(config: Configuration, s: Settings, mode: str) -> None:
    """Trust region and π_old."""
    dual = mode == "vanilla" and s.number_or(A + "clip_ratio_c", BEYOND) < BEYOND
    if dual and (config.updates != 1 or s.flag(C + "bypass_mode")):
        config.change(
            A + "clip_ratio_c",
            f"dual clip: where A < 0 and ρ > {s.number(A + 'clip_ratio_c'):g} a token no longer "
            "counts; bad answers that became likely are not pushed down",
            "operator",
        )
    if mode == "cispo" and s.number(A + "clip_ratio_low") < 1.0:
        config.change(
            A + "clip_ratio_low",
            "a lower bound on ρ that the paper has not: stale tokens count more",
            "operator",
        )
    if s.flag(C + "bypass_mode"):
        config.change(
            C + "bypass_mode",
            f"π_old is the engine's own log μ, and the loss is {s[C + 'loss_type']} whatever "
            "policy_loss.loss_mode says",
            "operator",
        )


def _reduction_changes(config: Configuration, s: Settings, mode: str) -> None:
    """How tokens and sequences are summed."""
    aggregation = s[A + "loss_agg_mode"]
    if mode == "gspo" and aggregation == "token-mean" and not _gspo_by_sequence(s):
        config.change(
            A + "loss_agg_mode",
            "multiplies every sequence's weight by its length; GSPO is seq-mean-token-mean, which "
            "verl before 0.9.1 used whatever was set",
            "operator",
        )
    unset = s[A + "loss_scale_factor"] is None
    if aggregation == NORM and unset and mode not in ("geo_mean", "sapo"):
        config.change(
            A + "loss_scale_factor",
            "divides by the padded width, which may be that of the batch at hand: set it",
            "push",
        )
    if aggregation == "seq-mean-token-mean" and mode == "vanilla":
        config.change(
            A + "loss_agg_mode",
            "each sequence is divided by its own length: short answers are pushed harder per "
            "token; not the gradient of E[U]",
            "operator",
        )


def _reward_changes(config: Configuration, s: Settings, estimator: str) -> None:
    """Reward, baseline and which prompts count."""
    grouped = estimator in ("grpo", "grpo_vectorized", "rloo", "rloo_vectorized")
    if grouped and s.whole(R + "n") == 1:
        effect = "one rollout a prompt has no baseline: GRPO takes the raw reward as advantage"
        if estimator != "grpo":
            effect = "one rollout a prompt has no baseline: raw reward or 0, by implementation"
        config.change(R + "n", effect, "push")
    if s["algorithm.kl_ctrl.type"] == "adaptive" and s.flag("algorithm.use_kl_in_reward"):
        config.change(
            "algorithm.kl_ctrl.type",
            f"β moves to hold the KL at {s['algorithm.kl_ctrl.target_kl']}: η = 1/β is whatever "
            "that takes",
        )
    if estimator == "gpg":
        config.change(
            "algorithm.adv_estimator",
            "advantages are multiplied by B over the number of rewards that are not 0: the step "
            "grows where rewards are rare",
            "push",
        )


def _other_changes(config: Configuration, s: Settings) -> None:
    """Teacher, sampler's weights and staleness."""
    if s[C + "rollout_is"] is not None and not s.flag(C + "bypass_mode"):
        config.change(
            C + "rollout_is",
            "capped weights: E[weight] < 1, long answers are cut more often",
            "operator",
        )
    if s.flag("distillation.enabled"):
        inner = "distillation.distillation_loss."
        config.change(
            inner + "loss_mode", "a divergence from a teacher, beside or instead of the reward"
        )
        what = "beside the reward: two pulls" if s.flag(inner + "use_task_rewards") else "alone"
        config.refuse(f"distillation.enabled: a teacher {what}; only its settings are read here")
        config.action = None
