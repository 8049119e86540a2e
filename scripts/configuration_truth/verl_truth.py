"""Decisive facts of a verl run: its composed configuration, read by the code of its commit."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from configuration_truth.facts import OPEN, Facts, either, flag, number, ratio_up, text, tidy

A = "actor_rollout_ref.actor."
R = "actor_rollout_ref.rollout."
_TRAINERS = ("main_ppo", "main_dapo", "fully_async_main", "main_ppo_split", "main")
"""Programs that step by verl's own advantages and losses."""
_KINDS = {"kl": "k1", "k1": "k1", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3"}
_AGGREGATION = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "sequence_mean_token_mean",
    "seq-mean-token-sum": "sequence_mean_token_sum",
    "seq-mean-token-sum-norm": "constant_length",
}
_LEVELS = {"gspo": "sequence_mean", "geo_mean": "sequence_mean_of_clipped"}
_REGIONS = {"gspo": "clip", "geo_mean": "clip", "cispo": "truncate", "sapo": "soft_gate"}
_FORCED = ("gspo", "sapo", "geo_mean")
"""Losses that reduce by sequences whatever is set, in some releases."""
_OTHER_LOSSES = ("clip_cov", "kl_cov", "dppo_tv", "dppo_kl", "dro")


@dataclass(frozen=True)
class Code:
    """What a checkout's code does that its configuration does not say.

    Attributes:
        dual_clip: Where A < 0 and ρ is large, the loss is cut at ``clip_ratio_c``.
        kl_by_flag: A KL in the reward has a setting of its own; before, it was on unless
            ``use_kl_loss``.
        by_n: The mini-batch counts prompts, each n times.
        forced: Losses whose reduction is a mean over sequences of token means whatever is set.
    """

    dual_clip: bool
    kl_by_flag: bool
    by_n: bool
    forced: tuple[str, ...]


@cache
def code_of(package: Path) -> Code | None:
    """What the code of a ``verl`` package does; None where it is not in the checkout."""
    if not (package / "trainer/ppo/core_algos.py").is_file():
        return None
    read = {
        name: (package / name).read_text(encoding="utf-8") if (package / name).is_file() else ""
        for name in ("trainer/ppo/core_algos.py", "trainer/ppo/ray_trainer.py")
    }
    algos, trainer = read.values()
    forced = [
        loss
        for loss in _FORCED
        if re.search(rf"def compute_policy_loss_{loss}\b", algos)
        and (
            loss == "geo_mean"
            or re.search(
                r"agg_loss\([^)]*loss_agg_mode=[\"']seq-mean-token-mean[\"']", _body(algos, loss)
            )
        )
    ]
    scaled = re.compile(r"ppo_mini_batch_size\s*(\*=|=.*\*)\s*.*rollout(\.|_)n\b")
    workers = [*package.glob("workers/**/*.py"), *package.glob("trainer/**/*.py")]
    return Code(
        dual_clip="clip_ratio_c" in algos,
        kl_by_flag="use_kl_in_reward" in trainer or "use_kl_in_reward" in algos,
        by_n=any(scaled.search(path.read_text(encoding="utf-8")) for path in workers),
        forced=tuple(forced),
    )


def _body(source: str, loss: str) -> str:
    start = source.index(f"def compute_policy_loss_{loss}")
    end = source.find("\n@register", start)
    return source[start : end if end > 0 else None]


def verl_facts(program: str, config: Mapping[str, Any], code: Code | None) -> Facts:
    """Facts of a run; without the code what hangs on it is left out.

    ``method`` is ``policy_gradient``, ``sft``, or ``outside`` for a program with a trainer of its
    own, of which nothing else is said. ``advantage``: ``group_zscore``, ``group_mean``,
    ``leave_one_out``, ``gae``, ``return_to_go``, or ``other``; ``level``: of the ratio.
    """
    name = re.split(r"[./]", program.removesuffix(".py"))[-1]
    if "sft" in name:
        return {"method": "sft"}
    if name not in _TRAINERS or A + "ppo_mini_batch_size" not in config:
        return {"method": "outside"}
    facts: Facts = {
        "method": "policy_gradient",
        "estimator": text(config["algorithm.adv_estimator"]),
    }
    if flag(config.get("distillation.enabled", False)) is not False:
        return tidy({**facts, "method": "outside"})
    bypass = _bypass(config)
    loss = text(config.get(A + "policy_loss.loss_mode", "vanilla"))
    if bypass is True and "algorithm.rollout_correction.loss_type" in config:
        kind = text(config["algorithm.rollout_correction.loss_type"])
        loss = either(kind if kind == OPEN else kind == "reinforce", "reinforce", "vanilla")
    facts |= {"loss": loss, "bypass": bypass, "advantage": _advantage(facts["estimator"], config)}
    if facts["advantage"] not in ("other", OPEN):
        facts["whitened"] = facts["estimator"] == "gae" or "plus_plus" in facts["estimator"]
    facts |= _pull(config, code) | _region(config, loss, code) | _sizes(name, config, code)
    facts |= _correction(config, bypass)
    facts["level"] = OPEN if loss == OPEN else _LEVELS.get(loss, "token")
    if loss == "reinforce" and config.get("algorithm.rollout_correction.rollout_is") != "token":
        facts["level"] = None
    facts["aggregation"] = _aggregation(config, loss, code)
    facts["entropy"] = number(config.get(A + "entropy_coeff", 0))
    facts["filter"] = flag(config.get("algorithm.filter_groups.enable", False))
    return tidy(facts)


def _bypass(config: Mapping[str, Any]) -> Any:
    older = ("bypass_old_logprob_for_rollout",)
    names = ["algorithm.rollout_correction.bypass_mode"]
    names += [f"algorithm.rollout_correction.{name}" for name in older]
    return next((flag(config[name]) for name in names if name in config), False)


def _advantage(estimator: str, config: Mapping[str, Any]) -> Any:
    if estimator in ("grpo", "grpo_vectorized"):
        std = flag(config.get("algorithm.norm_adv_by_std_in_grpo", True))
        return either(std, "group_zscore", "group_mean")
    names = {"gae": "gae", "rloo": "leave_one_out", "rloo_vectorized": "leave_one_out"}
    names["opo"] = "length_weighted_mean"
    names |= {"reinforce_plus_plus": "return_to_go", "gpg": "group_mean", OPEN: OPEN}
    names["reinforce_plus_plus_baseline"] = "group_mean"
    return names.get(estimator, "other")


def _pull(config: Mapping[str, Any], code: Code | None) -> Facts:
    """``pull_place``: none, loss, reward or both; ``beta``: the weight there, 0 for none."""
    in_loss = flag(config.get(A + "use_kl_loss", False))
    flagged = "algorithm.use_kl_in_reward" in config
    if code is None and not flagged:
        return {}
    if flagged and (code is None or code.kl_by_flag):
        in_reward = flag(config["algorithm.use_kl_in_reward"])
    else:
        in_reward = either(in_loss, False, True)
    places = {
        "loss": (in_loss, A + "kl_loss_coef", A + "kl_loss_type"),
        "reward": (in_reward, "algorithm.kl_ctrl.kl_coef", "algorithm.kl_penalty"),
    }
    weights = {
        place: either(on, number(config.get(weight)), 0.0)
        for place, (on, weight, _) in places.items()
    }
    if OPEN in weights.values() or None in weights.values():
        return {"pull_place": OPEN, "beta": OPEN}
    there = [place for place, beta in weights.items() if beta != 0]
    if len(there) != 1:
        place = "both" if there else "none"
        return {"pull_place": place, "beta": None if there else 0.0}
    (place,) = there
    kind = text(config.get(places[place][2], "low_var_kl" if place == "loss" else "kl"))
    plain = _KINDS.get(kind.rstrip("+"), "other") if kind != OPEN else OPEN
    if kind.endswith("+") and plain in ("k1", "k3") and place == "loss":
        plain = "k2"
    return {"pull_place": place, "beta": weights[place], "pull_kind": plain}


def _region(config: Mapping[str, Any], loss: str, code: Code | None) -> Facts:
    """``region``: clip, dual_clip, truncate, soft_gate, none or other; bounds as 1−low, 1+high."""
    if loss == OPEN:
        return {"region": OPEN}
    both = number(config.get(A + "clip_ratio", 0.2))
    low, high = (number(config.get(A + f"clip_ratio_{side}")) for side in ("low", "high"))
    # a fork's −1 stands for none
    low, high = (both if bound in (None, -1.0) else bound for bound in (low, high))
    if loss == "geo_mean" and OPEN not in (low, high):
        low, high = -math.expm1(-low), math.expm1(high)
    if loss == "vanilla" and code is None:
        return {"clip_low": low, "clip_high": high}
    if loss == "vanilla" and code is not None and code.dual_clip:
        cap = number(config.get(A + "clip_ratio_c", 3.0))
        return {"region": "dual_clip", "clip_low": low, "clip_high": high, "dual_c": cap}
    if loss in ("vanilla", "gspo", "geo_mean", "cispo"):
        region = _REGIONS.get(loss, "clip")
        if loss == "cispo" and low != OPEN:
            low = min(low, 1.0)  # ρ has no bound below 0
        return {"region": region, "clip_low": low, "clip_high": high}
    if loss in _OTHER_LOSSES:
        return {"region": "other"}
    if loss == "reinforce":
        return {}  # ρ is cut by the correction's own weights
    return {"region": _REGIONS.get(loss, "none")}


def _aggregation(config: Mapping[str, Any], loss: str, code: Code | None) -> Any:
    if code is None and loss in _FORCED:
        return None
    if code is not None and loss in code.forced:
        return "sequence_mean_token_mean"
    mode = text(config.get(A + "loss_agg_mode", "token-mean"))
    return OPEN if mode == OPEN else _AGGREGATION.get(mode, "other")


def _sizes(program: str, config: Mapping[str, Any], code: Code | None) -> Facts:
    """``K``: rollouts a prompt; ``updates``: optimiser steps on every batch of them."""
    n, agents = number(config.get(R + "n", 1)), number(config.get(R + "n_agent", 1))
    prompts, mini = (
        number(config.get("data.train_batch_size")),
        number(config[A + "ppo_mini_batch_size"]),
    )
    epochs = number(config.get(A + "ppo_epochs", 1))
    by_n = n == 1 if code is None else code.by_n
    sizes = [prompts, mini, epochs, agents, *([] if by_n else [n])]
    facts: Facts = {"K": OPEN if OPEN in (n, agents) else n * agents}
    if OPEN in sizes:
        facts["updates"] = OPEN
    elif prompts and program != "fully_async_main" and (by_n or code is not None):
        facts["updates"] = ratio_up(prompts * agents * (1 if by_n else n), mini) * epochs
    facts["temperature"] = number(config.get(R + "temperature", 1.0))
    facts["top_p"] = number(config.get(R + "top_p", 1.0))
    top_k = number(config.get(R + "top_k", -1))
    facts["top_k"] = OPEN if top_k == OPEN else max(0, top_k or 0)
    return facts


def _correction(config: Mapping[str, Any], bypass: Any) -> Facts:
    """``correction`` of the sampler's mismatch by the kind of its weights, and their cap."""
    new, old = "algorithm.rollout_correction.", "algorithm."
    at = new if new + "rollout_is" in config else old
    kind, cap = config.get(at + "rollout_is"), config.get(at + "rollout_is_threshold")
    if isinstance(kind, bool) or (kind is None and at == old):
        level = config.get(old + "rollout_is_level", "token")
        kind = level if kind is True and cap is not None else None
    if kind is None and number(config.get(A + "tis_imp_ratio_cap", -1)) not in (-1.0, None, OPEN):
        kind, cap = "token", config[A + "tis_imp_ratio_cap"]
    if bypass is True:
        return {"correction": "none"}
    if kind in (None, "null", "None"):
        return {"correction": "none"}
    masked = isinstance(cap, str) and "_" in cap
    names = {"token": "token_mask" if masked else "token_truncation"}
    names["sequence"] = "sequence_mask" if masked else "sequence_truncation"
    upper = number(cap.split("_")[-1] if masked else cap)
    return {"correction": names.get(text(kind), OPEN), "correction_cap": upper}
