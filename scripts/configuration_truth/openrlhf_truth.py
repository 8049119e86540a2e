"""Decisive facts of an OpenRLHF command, over the options its checkout declares."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from configuration_truth.declared import options_of
from configuration_truth.facts import OPEN, Facts, either, flag, number, ratio_up, text, tidy
from configuration_truth.hydra_layers import NotComposedError

_NAMES = {
    "estimator": ("algo.advantage.estimator", "advantage_estimator"),
    "beta": ("algo.kl.init_coef", "init_kl_coef"),
    "in_loss": ("algo.kl.use_loss", "use_kl_loss"),
    "kind": ("algo.kl.estimator", "kl_estimator"),
    "both": ("actor.eps_clip", "eps_clip"),
    "bounds": ("actor.eps_clip_low_high", "eps_clip_low_high"),
    "dual": ("actor.dual_clip", "dual_clip"),
    "loss": ("actor.policy_loss_type", "policy_loss_type"),
    "K": ("rollout.n_samples_per_prompt", "n_samples_per_prompt"),
    "prompts": ("rollout.batch_size", "rollout_batch_size"),
    "batch": ("train.batch_size", "train_batch_size"),
    "epochs": ("train.max_epochs", "max_epochs"),
    "temperature": ("rollout.temperature", "temperature"),
    "top_p": ("rollout.top_p", "top_p"),
    "entropy": ("actor.entropy_coef", "entropy_loss_coef"),
    "corrected": ("algo.advantage.is_correction_enable", "enable_vllm_is_correction"),
    "corrected_by": ("algo.advantage.is_correction_type", "vllm_is_correction_type"),
    "filter": ("algo.dynamic_filtering_enable", "dynamic_filtering"),
    "unscaled": ("algo.advantage.no_std_norm", "no_advantage_std_norm"),
    "dpo_beta": ("model.beta", "beta"),
    "smoothing": ("model.label_smoothing", "label_smoothing"),
    "ipo": ("model.ipo_enable", "ipo"),
}
"""What is read: its option today, and its flat spelling before 2026."""
_ADVANTAGES = {
    "gae": "gae",
    "reinforce": "return_to_go",
    "rloo": "leave_one_out",
    "reinforce_baseline": "group_mean",
    "dr_grpo": "group_mean",
    "group_norm": "group_zscore",
}


def flags(words: Sequence[str]) -> dict[str, Any]:
    """Options ``--name value …`` of a command; one alone is true, several values are a list."""
    made: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, bar, value = word[2:].partition("=")
            made[name] = [value] if bar else []
        elif name:
            made[name].append(word)
    return {k: True if not v else v[0] if len(v) == 1 else v for k, v in made.items()}


def openrlhf_facts(program: str, words: Sequence[str], root: Path, script: str) -> Facts:
    """Facts of a command.

    Raises:
        NotComposedError: Its program is not in the checkout, so that its defaults are not known.
    """
    name = program.removesuffix(".py").replace("/", ".").rsplit(".", 1)[-1]
    if "sft" in name:
        return {"method": "sft"}
    if name not in ("train_ppo_ray", "train_ppo", "train_dpo"):
        return {"method": "outside"}
    files = list(root.rglob(f"openrlhf/cli/{name}.py"))
    if not files:
        raise NotComposedError(f"no openrlhf/cli/{name}.py in the checkout")
    near = max(files, key=lambda path: len(_common(path, root / script)))
    declared = options_of(near.read_text(encoding="utf-8"))
    said = {k.replace("-", "_"): v for k, v in flags(words).items()}
    strange = [key for key in said if not any(fnmatch(key, name) for name in declared)]
    if strange:
        raise NotComposedError(f"options that its parser has not: {len(strange)}")
    values = {**declared, **said}
    read = {
        short: next((values[n] for n in names if n in values), None)
        for short, names in _NAMES.items()
    }
    return _dpo(read) if name == "train_dpo" else _ppo(read, name)


def _common(one: Path, other: Path) -> list[str]:
    return [a for a, b in zip(one.parts, other.parts, strict=False) if a == b]


def _ppo(read: Mapping[str, Any], name: str) -> Facts:
    estimator = text(read["estimator"] or "gae")
    beta, in_loss = number(read["beta"]), flag(read["in_loss"] or False)
    facts: Facts = {"method": "policy_gradient", "estimator": estimator, "beta": beta}
    facts["advantage"] = OPEN if estimator == OPEN else _ADVANTAGES.get(estimator, "other")
    if estimator in ("gae", "reinforce", "reinforce_baseline"):
        facts["whitened"] = not flag(read["unscaled"] or False)
    facts["pull_place"] = "none" if beta == 0 else either(in_loss, "loss", "reward")
    facts["pull_kind"] = None if beta == 0 else text(read["kind"] or "k1")
    low = high = number(read["both"])
    if read["bounds"] is not None:
        low, high = (number(value) for value in read["bounds"])
    cap = number(read["dual"])
    facts |= {"region": "clip" if cap is None else "dual_clip", "dual_c": cap}
    gspo = read["loss"] == "gspo"
    facts |= {"clip_low": low, "clip_high": high, "level": "sequence_mean" if gspo else "token"}
    facts["aggregation"] = "sequence_mean_token_mean" if gspo else "token_mean"
    facts["K"] = number(read["K"])
    drawn = [facts["K"], number(read["prompts"]), number(read["batch"]), number(read["epochs"])]
    if name == "train_ppo_ray" and None not in drawn:
        k, prompts, batch, epochs = drawn
        facts["updates"] = OPEN if OPEN in drawn else ratio_up(k * prompts, batch) * epochs
    facts["temperature"] = number(read["temperature"] if read["temperature"] is not None else 1.0)
    facts["top_p"] = number(read["top_p"] if read["top_p"] is not None else 1.0)
    facts["entropy"] = number(read["entropy"]) or 0.0
    facts["filter"] = flag(read["filter"] or False)
    kinds = {"icepop": "token_mask", "seq-mask-tis": "geometric_rejection"}
    corrected = kinds.get(str(read["corrected_by"]), "token_truncation")
    facts["correction"] = either(flag(read["corrected"] or False), corrected, "none")
    return tidy(facts)


def _dpo(read: Mapping[str, Any]) -> Facts:
    smoothing = number(read["smoothing"]) or 0.0
    loss = "ipo" if flag(read["ipo"] or False) else "cdpo" if smoothing else "dpo"
    facts: Facts = {"method": "pairs", "loss": loss, "beta": number(read["dpo_beta"])}
    return tidy({**facts, "label_smoothing": smoothing if loss == "cdpo" else None})
