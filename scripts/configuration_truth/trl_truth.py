"""Decisive facts of a TRL run: its YAML or options over the defaults of the version it pins."""

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from configuration_truth.declared import fields_of
from configuration_truth.facts import Facts, flag, number, text, tidy
from configuration_truth.hydra_layers import NotComposedError

_PIN = re.compile(r"trl(?:\[[\w,-]*\])?\s*(==|>=|~=)\s*([\d.]+)|trl @ git\+\S+?@([0-9a-f]{7,40})")
_CLASSES = {"grpo": "GRPOConfig", "dpo": "DPOConfig", "sft": "SFTConfig", "rloo": "RLOOConfig"}
_CLASSES |= {"orpo": "ORPOConfig", "kto": "KTOConfig", "cpo": "CPOConfig"}
_OUTER = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
"""Defaults that TRL inherits."""
_AGGREGATION = {
    "grpo": "sequence_mean_token_mean",
    "sapo": "sequence_mean_token_mean",
    "bnpo": "token_mean",
    "dapo": "token_mean",
    "cispo": "token_mean",
    "dr_grpo": "constant_length",
    "luspo": "sequence_mean_token_sum",
}
_SCALING = {"group": "group_zscore", "batch": "batch_zscore", "none": "group_mean"}
_SCALING |= {"True": "group_zscore", "False": "group_mean", "true": "group_zscore"}
_SCALING |= {"false": "group_mean"}
_LOSSES = {"sigmoid": "dpo", "robust": "robust_dpo", "nca_pair": "nca", "exo_pair": "exo"}


def versions(root: Path) -> list[str]:
    """Revisions of TRL that a checkout may run with: its pin, or the least and the newest.

    Args:
        root: The checkout.

    Raises:
        NotComposedError: None is pinned.
    """
    if (root / "trl/trainer").is_dir():
        return ["HEAD"]
    names = ["setup.py", "pyproject.toml", "requirements.txt"]
    names += [f"*/*/{name}" for name in names]
    for path in [path for name in names for path in sorted(root.glob(name))]:
        pin = _PIN.search(path.read_text(encoding="utf-8", errors="replace"))
        if pin is not None and pin.group(3):
            return [pin.group(3)]
        if pin is not None:
            tag = "v" + pin.group(2)
            return [tag] if pin.group(1) == "==" else [tag, "HEAD"]
    raise NotComposedError("no version of TRL is pinned")


@cache
def defaults(trl: Path, version: str, method: str) -> Mapping[str, Any]:
    """Fields of a configuration class of a version, with their defaults.

    Raises:
        NotComposedError: That version has no such class.
    """
    name = _CLASSES[method]
    command = ["git", "-C", str(trl), "show", f"{version}:trl/trainer/{method}_config.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotComposedError(f"TRL {version} has no {name}")
    return {**_OUTER, **fields_of(done.stdout, name)}


def trl_facts(method: str, values: Mapping[str, Any], root: Path, trl: Path) -> Facts:
    """Facts that all versions it may run with share.

    Raises:
        NotComposedError: No version is pinned, or it has no such method.
    """
    if method not in _CLASSES:
        raise NotComposedError(f"no reader of {method}")
    made = []
    for version in versions(root):
        known = defaults(trl, version, method)
        own = {key: value for key, value in values.items() if key in known}
        made.append(_facts(method, {**known, **own}))
    first = made[0]
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in made)}


def _facts(method: str, s: Mapping[str, Any]) -> Facts:
    if method == "grpo":
        return _grpo(s)
    if method == "sft":
        return {"method": "sft"}
    if method == "dpo":
        return _dpo(s)
    return {"method": {"rloo": "policy_gradient", "cpo": "outside"}.get(method, method)}


def _dpo(s: Mapping[str, Any]) -> Facts:
    loss = s.get("loss_type", "sigmoid")
    if isinstance(loss, list):
        loss = loss[0] if len(loss) == 1 else "several"
    smoothing = number(s.get("label_smoothing", 0.0)) or 0.0
    name = "cdpo" if loss == "sigmoid" and smoothing else _LOSSES.get(str(loss), str(loss))
    facts: Facts = {"method": "pairs", "loss": name, "beta": number(s["beta"])}
    return tidy({**facts, "label_smoothing": smoothing if name == "cdpo" else None})


def _grpo(s: Mapping[str, Any]) -> Facts:
    # a release without the field reduces in one way of its own, which its code alone says
    loss = text(s["loss_type"]) if "loss_type" in s else None
    beta = number(s["beta"])
    facts: Facts = {"method": "policy_gradient", "loss": loss, "beta": beta}
    facts |= {"pull_place": "loss" if beta else "none", "pull_kind": "k3" if beta else None}
    facts["advantage"] = _SCALING.get(str(s.get("scale_rewards", True)), "other")
    level = s.get("importance_sampling_level", "token")
    facts["level"] = "sequence_mean" if level == "sequence" else "token"
    facts["aggregation"] = None if loss is None else _AGGREGATION.get(loss, "other")
    low, high = number(s.get("epsilon", 0.2)), number(s.get("epsilon_high"))
    regions = {"cispo": "truncate", "sapo": "soft_gate"}
    facts["region"] = regions.get(str(loss), "clip")
    if facts["region"] == "clip":
        facts |= {"clip_low": low, "clip_high": low if high is None else high}
    facts["K"] = number(s["num_generations"])
    facts["updates"] = _updates(s)
    facts["temperature"] = number(s["temperature"])
    # before they were fields they were the engine's own
    facts["top_p"] = number(s["top_p"]) if "top_p" in s else None
    facts["top_k"] = max(0, number(s["top_k"]) or 0) if "top_k" in s else None
    facts["entropy"] = number(s.get("entropy_coef", 0.0))
    if not flag(s.get("use_vllm", False)) or not s.get("vllm_importance_sampling_correction"):
        facts["correction"] = "none"
    return tidy(facts)


def _updates(s: Mapping[str, Any]) -> Any:
    iterations = number(s.get("num_iterations", 1))
    accumulated = number(s["gradient_accumulation_steps"])
    steps = number(s.get("steps_per_generation"))
    if s.get("generation_batch_size") is not None or not accumulated:
        return None
    return iterations * max(1.0, (accumulated if steps is None else steps) // accumulated)
