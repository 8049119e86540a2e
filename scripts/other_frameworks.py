"""Decisive facts of example files of frameworks that the project reads by its files of facts.

Usage: python scripts/other_frameworks.py CHECKOUTS OUTPUT [--trl CLONE]

CHECKOUTS holds a working tree ``owner+name`` of each repository of `REPOSITORIES`. Nothing of the
project's reader is used: files are loaded as YAML or TOML, scripts are run in an empty root with
every program stubbed, and what a file leaves out is read off the framework's own classes by their
syntax. One JSON line a file: repository, commit, path, SHA-256 and facts, no texts. A file whose
words hold something that only its caller knows is left out.
"""

import argparse
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from configuration_truth import trl_truth
from configuration_truth.declared import fields_of, options_of
from configuration_truth.facts import Facts, flag, number, tidy
from configuration_truth.openrlhf_truth import flags
from configuration_truth.sandbox import OPEN, Sandbox, sandbox

Values = Mapping[str, Any]
TRL = Path("trl")
"""A clone of TRL, for what axolotl hands on; set by ``--trl``."""
PG = {"method": "policy_gradient"}
Z = "group_zscore"
OWN_REWARDS = ("reward_post_process", "advantage_function", "convert_samples_to_train_data")
"""Of slime: functions of one's own that change what an advantage is."""
NO_WORD = "of no advantage"
"""An advantage that the algebra has no word for: any claim of one is false."""


@cache
def text(path: Path) -> str:
    """A file of a framework's source."""
    return path.read_text(encoding="utf-8")


def fields(root: Path, file: str, *names: str) -> dict[str, Any]:
    """Fields of classes of a file with their defaults."""
    made: dict[str, Any] = {}
    for name in names:
        made |= fields_of(text(root / file), name)
    return made


def region(low: Any, high: Any, cap: Any = None) -> Facts:
    """A clip, or one with a cap where A < 0."""
    made: Facts = {"region": "clip" if cap is None else "dual_clip"}
    return made | {"clip_low": number(low), "clip_high": number(high), "dual_c": number(cap)}


def pull(beta: Any, place: str, kind: str | None) -> Facts:
    """A KL, or none."""
    beta = number(beta) or 0.0
    return {
        "beta": beta,
        "pull_place": place if beta else "none",
        "pull_kind": kind if beta else None,
    }


def drawn(k: Any, temperature: Any, top_p: Any, top_k: Any) -> Facts:
    """K and decoding."""
    top_k = number(top_k) or 0
    kept = top_k if 0 < top_k < 1_000_000 else 0
    return {
        "K": number(k),
        "temperature": number(temperature),
        "top_p": number(top_p),
        "top_k": kept,
    }


def llama_factory(root: Path, given: Values) -> Facts | None:
    """LLaMA-Factory's trainers."""
    file = "src/llamafactory/hparams/finetuning_args.py"
    s = {**fields(root, file, "RLHFArguments", "FinetuningArguments"), **given}
    if not flag(s.get("do_train", False)):
        return None
    stage, loss, beta = s["stage"], s["pref_loss"], number(s["pref_beta"])
    if stage in ("sft", "pt"):
        odd = flag(s["use_eaft_loss"]) or flag(s["use_asft_loss"])
        return {"method": "outside" if odd else "sft"}
    if stage == "rm":
        return {"method": "outside"}
    if stage == "kto":
        return {"method": "pairs", "loss": "kto", "beta": beta}
    smooth = number(s["dpo_label_smoothing"]) or 0.0
    name = "cdpo" if smooth else {"sigmoid": "dpo"}.get(loss, loss)
    return {"method": "pairs", "loss": name, "beta": None if loss in ("orpo", "simpo") else beta}


_AXOLOTL = {
    "rl_beta": "beta",
    "dpo_loss_type": "loss_type",
    "dpo_label_smoothing": "label_smoothing",
}
_AXOLOTL |= {"micro_batch_size": "per_device_train_batch_size"}


def axolotl(_: Path, given: Values) -> Facts | None:
    """What axolotl hands on to the TRL that it pins."""
    rl = given.get("rl")
    if rl is None:
        plugins = str(given.get("plugins"))
        if given.get("reward_model") or given.get("process_reward_model"):
            return {"method": "outside"}
        known = not re.search("kd|diffusion", plugins) and not given.get("trainer_cls")
        return {"method": "sft"} if known else None
    if rl in ("ebft",):
        return {"method": "outside"}
    own = {_AXOLOTL.get(name, name): value for name, value in given.items()}
    own |= {k: v for k, v in (given.get("trl") or {}).items() if v is not None}
    method = {"ipo": "dpo", "gdpo": "grpo", "simpo": "cpo"}.get(rl, rl)
    known = {} if method in ("orpo", "cpo") else dict(trl_truth.defaults(TRL, "v1.8.0", method))
    if method == "grpo":
        known |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
        own.setdefault("scale_rewards", True)
        made = trl_truth._facts("grpo", {**known, **{k: v for k, v in own.items() if k in known}})
        if rl == "gdpo":
            made["advantage"] = "batch_zscore"
        return {k: v for k, v in made.items() if k not in ("loss", "estimator")}
    if method == "dpo":
        own |= {"loss_type": "ipo"} if rl == "ipo" else {}
        return trl_truth._facts("dpo", {**known, **{k: v for k, v in own.items() if k in known}})
    loss = {"kto": "kto", "orpo": "orpo", "cpo": "simpo"}[method]
    beta = own.get("beta", known["beta"]) if method == "kto" else None
    return {"method": "pairs", "loss": loss, "beta": number(beta)}


def _swift_advantage(s: Values, estimator: str) -> Any:
    made: Facts = {}
    scale = s["scale_rewards"] or {"grpo": "group", "rloo": "none"}.get(estimator, "batch")
    made["advantage"] = {"group": Z, "batch": "batch_zscore", "none": "group_mean"}.get(
        scale, NO_WORD
    )
    if estimator == "rloo":
        made["advantage"] = "leave_one_out" if scale == "none" else NO_WORD
    if (
        estimator == "reinforce_plus_plus"
        or s.get("teacher_model")
        or s.get("teacher_model_server")
    ):
        made["advantage"] = NO_WORD
    return made["advantage"]


def _swift_loss(s: Values, loss: str) -> Facts:
    made: Facts = {}
    high = s["epsilon"] if s["epsilon_high"] is None else s["epsilon_high"]
    regions = {"cispo": "truncate", "sapo": "soft_gate", "real": NO_WORD, "fipo": NO_WORD}
    plain = loss not in regions and s["delta"] is None and not number(s["chord_mu_peak"])
    made |= region(s["epsilon"], high) if plain else {"region": regions.get(loss, NO_WORD)}
    if loss != "real":
        means = {"grpo": "sequence_mean_token_mean", "sapo": "sequence_mean_token_mean"}
        made["aggregation"] = means.get(
            loss, "constant_length" if loss == "dr_grpo" else "token_mean"
        )
    return made


def ms_swift(root: Path, given: Values) -> Facts | None:
    """ms-swift's `swift rlhf` and `swift sft`."""
    kind = given["program"] if given["program"] != "rlhf" else given.get("rlhf_type", "dpo")
    fixed = {"sft": "sft", "pt": "sft", "rm": "outside", "ppo": "outside", "gkd": "outside"}
    if kind in fixed:
        return {"method": fixed[kind]}
    mixins = ("RolloutTrainerArgumentsMixin", "GRPOArgumentsMixin")
    s = {
        **fields(root, "swift/rlhf_trainers/args_mixin.py", *mixins),
        **fields(root, "swift/arguments/rlhf_args.py", "GRPOArguments", "RLHFArguments"),
        **given,
    }
    if kind != "grpo":
        return _swift_pairs(kind, s)
    beta = 0.04 if s["beta"] is None else s["beta"]
    loss, estimator = s["loss_type"] or "grpo", s["advantage_estimator"]
    made: Facts = {**PG, **drawn(s["num_generations"], s["temperature"], s["top_p"], s["top_k"])}
    made |= {
        "entropy": 0.0,
        "level": "token" if s["importance_sampling_level"] == "token" else "sequence_mean",
    }
    made["advantage"] = _swift_advantage(s, estimator)
    if estimator == "grpo" and not s["kl_in_reward"]:
        made |= pull(beta, "loss", "k3")
    else:
        made |= {"beta": number(beta)}
    made |= _swift_loss(s, loss)
    accumulated = number(given.get("gradient_accumulation_steps")) or 1.0
    steps = number(s["steps_per_generation"])
    if s["generation_batch_size"] is None:
        windows = 1.0 if steps is None else max(1.0, steps // accumulated)
        made["updates"] = (number(s["num_iterations"]) or 1.0) * windows
    if (
        s["rollout_importance_sampling_mode"] is None
        and s["off_policy_sequence_mask_delta"] is None
    ):
        made["correction"] = "none"
    return made


def _swift_pairs(kind: str, s: Values) -> Facts:
    loss = s["loss_type"]
    name = {"kto": "kto", "orpo": "orpo", "simpo": "simpo"}.get(kind) or loss or "dpo"
    if isinstance(loss, list):
        return {"method": "outside"}
    beta = 0.1 if s["beta"] is None else s["beta"]
    found = {"sigmoid": "dpo"}.get(name, name)
    return {
        "method": "pairs",
        "loss": found,
        "beta": number(beta) if kind in ("dpo", "kto") else None,
    }


def _slime_advantage(given: Values, e: str, grouped: bool) -> Facts:
    made: Facts = {}
    whiten = bool(given.get("normalize_advantages"))
    scaled = not given.get("disable_grpo_std_normalization")
    own = [f"custom_{name}_path" for name in OWN_REWARDS]
    made["whitened"] = whiten
    away = any(given.get(name) for name in own) or given.get("use_opd")
    if away or (grouped and whiten and scaled):
        made["advantage"], made["whitened"] = NO_WORD, None
    elif grouped:
        made["advantage"] = Z if scaled else "group_mean"
    else:
        made["advantage"] = {"ppo": "gae", "reinforce_plus_plus": "return_to_go"}.get(
            e, "group_mean"
        )
    return made


def slime(root: Path, given: Values) -> Facts | None:
    """Slime's options, its rewards and its loss."""
    known = options_of(text(root / "slime/utils/arguments.py"))
    s = {**{k.replace("-", "_"): v for k, v in known.items()}, **given}
    if s["loss_type"] == "sft_loss":
        return {"method": "sft"}
    if s["loss_type"] != "policy_loss" or given.get("custom_config_path"):
        return None
    e = s["advantage_estimator"]
    made: Facts = {
        **PG,
        **drawn(
            s["n_samples_per_prompt"],
            s["rollout_temperature"],
            s["rollout_top_p"],
            s["rollout_top_k"],
        ),
    }
    grouped = e in ("grpo", "gspo", "cispo")
    made |= _slime_advantage(given, e, grouped)
    high = s["eps_clip"] if s["eps_clip_high"] is None else s["eps_clip_high"]
    made |= {"region": "truncate"} if e == "cispo" else region(s["eps_clip"], high, s["eps_clip_c"])
    made["level"] = "sequence_mean" if e == "gspo" else "token"
    if given.get("use_kl_loss"):
        kind = {"low_var_kl": "k3"}.get(s["kl_loss_type"], s["kl_loss_type"])
        made |= pull(s["kl_loss_coef"], "loss", kind)
    else:
        made |= pull(0.0 if grouped else s["kl_coef"], "reward", s["kl_loss_type"])
    made["entropy"] = number(s["entropy_coef"])
    made["aggregation"] = (
        "token_mean" if given.get("calculate_per_token_loss") else "sequence_mean_token_mean"
    )
    if not given.get("use_tis") and not given.get("get_mismatch_metrics"):
        made["correction"] = "none"
    elif not given.get("custom_tis_function_path"):
        made |= {"correction": "token_truncation", "correction_cap": number(s["tis_clip"])}
    made["updates"] = _slime_updates(s)
    return made


def _slime_updates(s: Values) -> Any:
    if s["num_steps_per_rollout"] is not None:
        return number(s["num_steps_per_rollout"])
    whole, part = number(s.get("rollout_batch_size")), number(s.get("global_batch_size"))
    return (
        None if whole is None or part is None else whole * number(s["n_samples_per_prompt"]) // part
    )


def _skyrl_advantage(a: Values, e: str) -> Facts:
    made: Facts = {}
    made["advantage"] = {
        "grpo": Z if flag(a["grpo_norm_by_std"]) else "group_mean",
        "rloo": "leave_one_out",
        "gae": "gae",
        "reinforce++": "return_to_go",
    }.get(e, NO_WORD)
    made["whitened"] = e in ("gae", "reinforce++")
    if flag(a["advantage_batch_normalize"]) or made["advantage"] == NO_WORD:
        made["advantage"], made["whitened"] = NO_WORD, None
    return made


def _skyrl_region(a: Values, loss: str) -> Facts:
    made: Facts = {}
    if loss in ("regular", "gspo", "dual_clip"):
        made |= region(
            a["eps_clip_low"],
            a["eps_clip_high"],
            a["clip_ratio_c"] if loss == "dual_clip" else None,
        )
    else:
        made["region"] = {"cispo": "truncate", "sapo": "soft_gate", "rollout_is": "mask"}.get(
            loss, NO_WORD
        )
    made["level"] = "sequence_mean" if loss == "gspo" else "token"
    return made


def skyrl(root: Path, given: Values) -> Facts | None:
    """SkyRL's configuration classes."""
    file = "skyrl/train/config/config.py"
    a = {**fields(root, file, "AlgorithmConfig"), **_under(given, "trainer.algorithm.")}
    t = {**fields(root, file, "TrainerConfig"), **_under(given, "trainer.")}
    g = {**fields(root, file, "GeneratorConfig"), **_under(given, "generator.")}
    p = {**fields(root, file, "SamplingParams"), **_under(given, "generator.sampling_params.")}
    made: Facts = {
        **PG,
        **drawn(g["n_samples_per_prompt"], p["temperature"], p["top_p"], p["top_k"]),
    }
    e, loss = str(a["advantage_estimator"]), a["policy_loss_type"]
    made |= _skyrl_advantage(a, e)
    made |= _skyrl_region(a, loss)
    means = {
        "sequence_mean": "sequence_mean_token_mean",
        "seq_mean_token_sum_norm": "constant_length",
    }
    made["aggregation"] = means.get(a["loss_reduction"], "token_mean")
    on = flag(a["use_kl_loss"]) or flag(a["use_kl_in_reward"])
    place = "loss" if flag(a["use_kl_loss"]) else "reward"
    made |= pull(a["kl_loss_coef"] if on else 0.0, place, a["kl_estimator_type"])
    made["updates"] = (
        number(t["train_batch_size"])
        // number(t["policy_mini_batch_size"])
        * number(t["update_epochs_per_batch"])
    )
    made["entropy"] = number(a["entropy_loss_coef"]) if flag(a["use_entropy_loss"]) else 0.0
    if not any("off_policy_correction" in name or "use_tis" in name for name in given):
        made["correction"] = "none"
    return made


def _under(given: Values, prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}


def _open_instruct_pairs(root: Path, given: Values) -> Facts:
    s = {
        **fields(root, "open_instruct/dpo_utils.py", "DPOConfig"),
        "loss_type": "dpo_norm",
        **given,
    }
    name = {"dpo_norm": "sigmoid_norm"}.get(s["loss_type"], s["loss_type"])
    return {
        "method": "pairs",
        "loss": name,
        "beta": None if name == "simpo" else number(s["beta"]),
    }


def open_instruct(root: Path, given: Values) -> Facts | None:
    """open-instruct's argument classes."""
    program = given["program"]
    if "finetune" in program:
        return {"method": "sft"}
    if "dpo" in program:
        return _open_instruct_pairs(root, given)
    s = {
        **fields(root, "open_instruct/olmo_core_utils.py", "TrainingConfig"),
        **fields(root, "open_instruct/data_loader.py", "VLLMConfig", "StreamingDataLoaderConfig"),
        **fields(root, "open_instruct/grpo_utils.py", "GRPOExperimentConfig"),
        "loss_fn": "dapo",
        **given,
    }
    made: Facts = {
        **PG,
        **drawn(s["num_samples_per_prompt_rollout"], s["temperature"], s["vllm_top_p"], 0),
    }
    made |= {"level": "token", "entropy": 0.0, "whitened": False}
    made["advantage"] = Z if s["advantage_normalization_type"] == "standard" else "group_mean"
    made |= (
        region(s["clip_lower"], s["clip_higher"])
        if s["loss_fn"] == "dapo"
        else {"region": "truncate"}
    )
    if s["loss_denominator"] == "token":
        made["aggregation"] = "token_mean"
    beta = s["beta"] if flag(s["load_ref_policy"]) else 0.0
    made |= pull(beta, "loss", {0: "k1", 1: "k2", 2: "k3", 3: "k1"}.get(s["kl_estimator"]))
    made["updates"] = number(s["num_epochs"]) * number(s["num_mini_batches"])
    masked = any(number(s[f"rho_mask_{side}_bound"]) for side in ("lower", "upper"))
    if not flag(s["use_rho_correction"]):
        made["correction"] = "none"
    elif not masked and not flag(s["rho_mask_sequence_level"]):
        made |= {
            "correction": "token_truncation",
            "correction_cap": number(s["rho_clamp_upper_bound"]),
        }
    return made


def _areal_region(actor: Values) -> Facts:
    made: Facts = {}
    high = actor["eps_clip"] if actor["eps_clip_higher"] is None else actor["eps_clip_higher"]
    away = actor["m2_threshold"] is not None or (
        flag(actor["use_decoupled_loss"])
        and actor.get("prox_logp_method", "recompute") not in ("recompute",)
    )
    if flag(actor["use_sapo_loss"]):
        made["region"] = "soft_gate"
    elif away and "prox_logp_method" in actor and not str(actor["prox_logp_method"]).isupper():
        made["region"] = NO_WORD
    else:
        made |= region(actor["eps_clip"], high, actor["c_clip"])
    return made


def areal(root: Path, given: Values) -> Facts | None:
    """AReaL's configuration classes."""
    file = "areal/api/cli_args.py"
    actor = {
        **fields(root, file, "TrainEngineConfig", "PPOActorConfig"),
        **(given.get("actor") or {}),
    }
    if "gconfig" not in given:
        loss = {
            "method": "pairs",
            "loss": actor.get("loss_type", "sigmoid"),
            "beta": actor.get("beta"),
        }
        return {**loss, "loss": "dpo"} if "beta" in (given.get("actor") or {}) else None
    if not given.get("actor") or any("behav" in name for name in given["actor"]):
        return None
    g = {**fields(root, file, "GenerationHyperparameters"), "top_k": 10**8, **given["gconfig"]}
    made: Facts = {**PG, **drawn(g["n_samples"], g["temperature"], g["top_p"], g["top_k"])}
    norm = fields(root, file, "NormConfig")
    r, a = actor["reward_norm"], actor["adv_norm"]
    r, a = ({**norm, **r} if r else None), ({**norm, **a} if a else None)
    made |= _areal_advantage(given, actor, r, a)
    made |= _areal_region(actor)
    made["level"] = "token" if actor["importance_sampling_level"] == "token" else "sequence_mean"
    made |= {
        "aggregation": "token_mean",
        "entropy": 0.0,
        "updates": number(actor["ppo_n_minibatches"]),
    }
    made |= pull(actor["kl_ctl"], "reward", actor["kl_estimator"])
    if made["beta"] and not given.get("ref"):
        made |= {"pull_place": NO_WORD, "pull_kind": None, "beta": None}
    if not actor["rejection_sampling"]:
        made["correction"] = "none"
    return made


def _areal_advantage(given: Values, actor: Values, r: Any, a: Any) -> Facts:
    if given.get("teacher"):
        return {"advantage": NO_WORD}
    batch = (
        a is not None and a["mean_level"] == a["std_level"] == "batch" and not a["mean_leave1out"]
    )
    if a is not None and not batch:
        return {"advantage": NO_WORD}
    if given.get("critic"):
        return {
            "advantage": "gae" if r is None else NO_WORD,
            "whitened": batch if r is None else None,
        }
    if r is None:
        return {"advantage": "return_to_go", "whitened": batch}
    if r["mean_level"] == "group" and r["std_level"] is None:
        return {
            "advantage": "leave_one_out" if r["mean_leave1out"] else "group_mean",
            "whitened": batch,
        }
    plain = not number(actor["kl_ctl"]) and actor["discount"] == actor["gae_lambda"] == 1
    if (
        r["mean_level"] == r["std_level"] == "group"
        and not r["mean_leave1out"]
        and a is None
        and plain
    ):
        return {"advantage": Z, "whitened": False}
    return {"advantage": NO_WORD}


def prime_rl(root: Path, given: Values) -> Facts | None:
    """prime-rl's configuration classes; their defaults are written out in ``Field(…)``."""
    o, loss = given.get("orchestrator") or {}, ((given.get("trainer") or {}).get("loss") or {})
    if o == {}:
        return None
    sampling = (o.get("train") or {}).get("sampling") or {}
    kind = (o.get("algo") or {}).get("type", "grpo")
    if kind in ("opd", "opsd", "sft"):
        return {"method": "outside"}
    sources = (o.get("train") or {}).get("source") or []
    own = {name for source in sources for name in source}
    config = text(root / "packages/prime-rl-configs/src/prime_rl/configs/orchestrator.py")
    k = o.get("group_size", _written(config, "OrchestratorConfig", "group_size"))
    made: Facts = {
        **PG,
        "region": NO_WORD,
        "level": "token",
        "aggregation": "token_mean",
        "entropy": 0.0,
    }
    made |= {"beta": 0.0, "pull_place": "none", "updates": 1, "correction": "none"}
    temperature = sampling.get(
        "temperature", _written(config, "TrainSamplingConfig", "temperature")
    )
    made |= {"K": None if "group_size" in own else number(k)}
    made |= {} if "sampling" in own else {"temperature": number(temperature)}
    made |= {} if "extra_body" in sampling else {"top_p": 1.0, "top_k": 0}
    penal = (o.get("algo") or {}).get("length_penalty")
    made["advantage"] = (
        "group_mean" if kind == "grpo" and not penal and "algo" not in own else NO_WORD
    )
    return made if loss.get("type", "default") != "custom" else None


def _written(source: str, name: str, setting: str) -> Any:
    """A default that stands first in a call of ``Field``."""
    body = source.partition(f"class {name}")[2]
    found = re.search(rf"^    {setting}: [^=]+= (?:Field\()?([\w.]+)", body, re.MULTILINE)
    return None if found is None else number(found.group(1))


def _roll_advantage(s: Values) -> Facts:
    made: Facts = {}
    e, mean, std = s["adv_estimator"], s["norm_mean_type"], s["norm_std_type"]
    whiten = flag(s["whiten_advantages"])
    if s["advantage_clip"] is not None or flag(s["whiten_rewards"]) or flag(s["use_opd"]):
        made["advantage"] = NO_WORD
    elif e == "grpo":
        made["advantage"] = NO_WORD if whiten or flag(s["add_token_level_kl"]) else Z
    elif mean is None and std is None:
        made |= {"advantage": "gae" if e == "gae" else "return_to_go", "whitened": whiten}
    elif e == "reinforce" and mean == "group" and std is None:
        made |= {"advantage": "group_mean", "whitened": whiten}
    elif (
        e == "reinforce"
        and mean == std == "group"
        and not whiten
        and not flag(s["add_token_level_kl"])
    ):
        made["advantage"] = Z
    else:
        made["advantage"] = NO_WORD
    return made


def _roll_loss(s: Values) -> Facts:
    made: Facts = {}
    made["level"] = "sequence_mean" if s["importance_sampling"] == "seq" else "token"
    names = {"seq-mean-token-mean": "sequence_mean_token_mean", "token-mean": "token_mean"}
    if s["loss_agg_mode"] in names:
        made["aggregation"] = names[s["loss_agg_mode"]]
    if flag(s["difficulty_loss_weight"]) or flag(s["length_loss_weight"]):
        made["aggregation"] = NO_WORD
    if flag(s["use_kl_loss"]):
        made |= pull(s["kl_loss_coef"], "loss", "k3")
    else:
        kl = {"kl": "k1", "mse": "k2"}.get(s["kl_penalty"])
        made |= pull(s["init_kl_coef"] if flag(s["add_token_level_kl"]) else 0.0, "reward", kl)
    return made


def roll(root: Path, given: Values) -> Facts | None:
    """ROLL's RLVR pipeline."""
    if "actor_infer" not in given or given.get("is_pure_opd") or "student_train" in given:
        return {"method": "outside"} if "student_train" in given else None
    if "train_env_manager" in given or "custom_envs" in given:
        return {"method": "outside"}
    s = {
        **fields(root, "roll/configs/base_config.py", "BaseConfig", "PPOConfig"),
        **fields(root, "roll/pipeline/rlvr/rlvr_config.py", "RLVRConfig"),
        **given,
    }
    g = {
        **fields(root, "roll/configs/generating_args.py", "GeneratingArguments"),
        **((given["actor_infer"] or {}).get("generating_args") or {}),
    }
    made: Facts = {
        **PG,
        **drawn(s["num_return_sequences_in_group"], g["temperature"], g["top_p"], g["top_k"]),
    }
    made |= _roll_advantage(s)
    odd = (given.get("actor_train") or {}).get("worker_cls") or s["use_policy_loss_type"] == "PG"
    if not odd:
        wide = flag(s["use_pg_clip_range"])
        low, high = (s["pg_clip_low"], s["pg_clip_high"]) if wide else (s["pg_clip"],) * 2
        made |= region(
            low, high, 1 + 2 * number(s["pg_clip"]) if flag(s["dual_clip_loss"]) else None
        )
    made |= _roll_loss(s)
    made["entropy"] = number(s["entropy_loss_coef"])
    return made


@dataclass(frozen=True)
class Repository:
    """A framework's repository and the files of it that are read."""

    name: str
    commit: str
    globs: tuple[str, ...]
    facts: Callable[[Path, Values], Facts | None]
    most: int
    program: str = ""
    """Regular expression of the program that a script starts; empty: the files are settings."""


REPOSITORIES = (
    Repository(
        "hiyouga/LLaMA-Factory",
        "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30",
        ("examples/train_*/*.yaml", "examples/extras/*/*.yaml"),
        llama_factory,
        24,
    ),
    Repository(
        "axolotl-ai-cloud/axolotl",
        "067b021c8b87a9e5e380b9173c704cf7340e30f5",
        (
            "examples/**/*dpo*.y*ml",
            "examples/**/*kto*.y*ml",
            "examples/**/*orpo*.y*ml",
            "examples/**/*g?po*.y*ml",
            "examples/llama-3/*.y*ml",
        ),
        axolotl,
        24,
    ),
    Repository(
        "modelscope/ms-swift",
        "3602360a562313afbf2ef6065fdf61f271a2c5b9",
        ("examples/train/rlhf/**/*.sh", "examples/train/grpo/**/*.sh", "examples/train/*.sh"),
        ms_swift,
        40,
        r"(?:.*/)?swift",
    ),
    Repository(
        "THUDM/slime",
        "624b824a898ab0ec1fcb4d373004c7f3852bf515",
        ("scripts/run-*.sh", "examples/**/*.sh"),
        slime,
        40,
        r"(?:.*/)?train(_async)?\.py",
    ),
    Repository(
        "NovaSky-AI/SkyRL",
        "a9564572eb8e91076be43c1bd5e4615e3de17265",
        ("examples/train/**/*.sh",),
        skyrl,
        60,
        r"skyrl\.train\.entrypoints\.main_base",
    ),
    Repository(
        "allenai/open-instruct",
        "e6c3044aa6201c8bfa4573c1b03142af599e730d",
        ("scripts/train/**/*.sh",),
        open_instruct,
        60,
        r"(?:.*/)?open_instruct/(grpo_fast|grpo|dpo|dpo_tune_cache|finetune)\.py",
    ),
    Repository(
        "inclusionAI/AReaL",
        "4aef98d8d818af55b43621aaadba047ae10f4e77",
        ("examples/**/*.yaml",),
        areal,
        60,
    ),
    Repository(
        "PrimeIntellect-ai/prime-rl",
        "559b44772e471d1538537b8805cc77f3824a5e64",
        ("examples/**/*.toml", "configs/**/*.toml"),
        prime_rl,
        40,
    ),
    Repository(
        "alibaba/ROLL",
        "8eb27cc2dc34c4d1310b169d9b86d339004d811a",
        ("examples/*rlvr*/*.yaml", "examples/docs_examples/*.yaml", "examples/*agentic*/*.yaml"),
        roll,
        40,
    ),
)


def loaded(path: Path) -> Values | None:
    """A file of settings, with its links to its own keys followed."""
    try:
        if path.suffix == ".toml":
            return tomllib.loads(path.read_text(encoding="utf-8"))
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        return None
    return _linked(data, data) if isinstance(data, dict) else None


def _linked(node: Any, whole: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _linked(value, whole) for key, value in node.items()}
    found = re.fullmatch(r"\$\{([\w.]+)\}", node) if isinstance(node, str) else None
    if found is None:
        return node
    value: Any = whole
    for name in found.group(1).split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return _linked(value, whole)


def started(box: Sandbox, root: Path, path: Path, program: str) -> Values | None:
    """The options or overrides of the one training command of a script; None if it has not one."""
    record = box.run(root, str(path.relative_to(root)), manner="lenient")
    found = []
    for call in record.calls:
        words = _words(call.words)
        at = [n for n, word in enumerate(words) if re.fullmatch(program, word)]
        if at and "pip" not in words[: at[0]]:
            found.append((words[at[0]], words[at[0] + 1 :]))
    if len(set(found)) != 1 or _hidden(found[0][1]):
        return None
    name, rest = found[0]
    if name.endswith("swift"):
        name, rest = rest[0], rest[1:]
    if any(word.startswith("--") for word in rest[:3]):
        options = {k.replace("-", "_"): _scalar(v) for k, v in flags(rest).items()}
        return {**options, "program": name}
    pairs = (word.lstrip("+").partition("=") for word in rest if "=" in word)
    return {key: _scalar(value) for key, _, value in pairs} | {"program": name}


def _hidden(words: tuple[str, ...]) -> bool:
    """Whether a word that only a program's output says may be the name of a setting."""
    before = ("", *words)
    return any(
        word.startswith(OPEN) and not previous.startswith("--")
        for previous, word in zip(before, words, strict=False)
    )


def _words(words: tuple[str, ...]) -> tuple[str, ...]:
    """A call's words; those of a quoted script among them, up to its end."""
    found: list[str] = []
    for word in words:
        found += word.split() if " python " in word and len(word) > 200 else [word]
    return tuple(word for word in found if word not in ("&&", "\\"))


def _scalar(value: Any) -> Any:
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def rows(checkouts: Path, box: Sandbox) -> Iterator[dict[str, Any]]:
    """Every file's row."""
    for one in REPOSITORIES:
        root = checkouts / one.name.replace("/", "+")
        every = sorted({path for pattern in one.globs for path in root.glob(pattern)})
        step = max(1, len(every) // one.most)
        for path in every[::step]:
            given = started(box, root, path, one.program) if one.program else loaded(path)
            made = None if given is None else one.facts(root, given)
            if made is None:
                continue
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            row = {
                "repository": one.name,
                "commit": one.commit,
                "path": str(path.relative_to(root)),
            }
            yield {**row, "sha256": sha, "facts": {**tidy(made), "method": made["method"]}}


def main() -> int:
    """Write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--trl", type=Path, required=True)
    told = parser.parse_args()
    globals()["TRL"] = told.trl
    with sandbox() as box, told.output.open("w", encoding="utf-8") as out:
        for row in rows(told.checkouts, box):
            print(json.dumps(row, ensure_ascii=False), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
