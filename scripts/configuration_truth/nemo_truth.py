"""Decisive facts of a NeMo-RL run: its YAML with what it inherits, and a command's overrides.

Needs hydra-core and omegaconf.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from configuration_truth.declared import fields_of
from configuration_truth.facts import OPEN, Facts, either, flag, number, text, tidy
from configuration_truth.hydra_layers import NotComposedError, plain, quick_yaml

L = "loss_fn."
_METHODS = ("grpo", "ppo", "dpo", "sft", "distillation", "rm")
_CORRECTIONS = {"tis": "token_truncation", "icepop": "token_mask"}
_CORRECTIONS |= {"seq-mask-tis": "geometric_rejection"}


def nemo_config(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A YAML with what it inherits, under a command's overrides; flat.

    Raises:
        NotComposedError: A layer is missing, or the loader refuses the words.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    quick_yaml()
    _resolvers()
    try:
        config = _inherited(path)
        OmegaConf.set_struct(config, True)
        parsed = OverridesParser.create().parse_overrides(overrides=list(overrides))
        ConfigLoaderImpl._apply_overrides_to_config(overrides=parsed, cfg=config)
        return plain(config)
    except Exception as error:
        raise NotComposedError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None


def _resolvers() -> None:
    from omegaconf import OmegaConf

    two = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b, "sub": lambda a, b: a - b}
    two |= {"div": lambda a, b: a / b, "max": max, "min": min}
    for name, function in two.items():
        if not OmegaConf.has_resolver(name):
            OmegaConf.register_new_resolver(name, function)


def _inherited(path: Path) -> Any:
    from omegaconf import DictConfig, ListConfig, OmegaConf

    config = OmegaConf.load(path)
    parents = config.pop("defaults") if "defaults" in config else []
    base = OmegaConf.create({})
    for parent in parents if isinstance(parents, ListConfig) else [parents] if parents else []:
        base = _merged(base, _inherited((path.parent / str(parent)).resolve()))
    assert isinstance(base, DictConfig)
    return _merged(base, config)


def _merged(base: Any, over: Any) -> Any:
    """One over the other; a section with ``_override_: true`` replaces the one below."""
    from omegaconf import DictConfig, OmegaConf

    for key in list(over):
        if OmegaConf.is_missing(over, key) or not isinstance(over[key], DictConfig):
            continue
        if over[key].get("_override_", False):
            over[key].pop("_override_")
            base.pop(key, None)
    return OmegaConf.merge(base, over)


def nemo_facts(config: Mapping[str, Any], root: Path, program: str = "") -> Facts | None:
    """Facts of a run; None where no section says a method.

    Args:
        config: Its composed configuration, flat.
        root: The checkout, whose code has the defaults of what a YAML leaves out.
        program: Program that runs it; its name goes before the sections there are.
    """
    sections = {name.split(".")[0] for name in config}
    named = [name for name in _METHODS if f"_{name}" in program.rsplit("/", 1)[-1]]
    method = next(iter([*named, *(name for name in _METHODS if name in sections)]), None)
    if method in ("sft", "distillation"):
        return {"method": method}
    if method == "dpo":
        beta = number(config.get("dpo.reference_policy_kl_penalty"))
        return tidy({"method": "pairs", "loss": "dpo", "beta": beta})
    if method in ("rm", "ppo"):
        return {"method": "outside"}
    return None if method is None else _grpo(_with_defaults(config, root))


def _with_defaults(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    algorithms = root / "nemo_rl/algorithms"
    own = {L + k: v for k, v in _declared(algorithms, "ClippedPGLossConfig").items()}
    own |= {f"grpo.{k}": v for k, v in _declared(algorithms, "GRPOConfig").items()}
    return {**own, **config}


@cache
def _declared(folder: Path, name: str) -> dict[str, Any]:
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if f"class {name}(" in source:
            return fields_of(source, name)
    return {}


def _grpo(c: Mapping[str, Any]) -> Facts:
    estimator = text(c.get("grpo.adv_estimator.name", "grpo"))
    facts: Facts = {"method": "policy_gradient", "estimator": estimator}
    facts["advantage"], facts["whitened"] = _advantage(estimator, c)
    beta, in_reward = number(c[L + "reference_policy_kl_penalty"]), flag(c[L + "use_kl_in_reward"])
    facts["beta"] = beta
    facts["pull_place"] = "none" if beta == 0 else either(in_reward, "reward", "loss")
    facts["pull_kind"] = None if beta == 0 else text(c[L + "reference_policy_kl_type"])
    sequence = flag(c[L + "sequence_level_importance_ratios"])
    facts["level"] = either(sequence, "sequence_mean", "token")
    facts["aggregation"] = either(
        flag(c[L + "token_level_loss"]), "token_mean", "sequence_mean_token_mean"
    )
    facts |= _region(c) | _correction(c, sequence) | _drawn(c)
    facts["filter"] = flag(c.get("grpo.use_dynamic_sampling", False))
    return tidy(facts)


def _advantage(estimator: str, c: Mapping[str, Any]) -> tuple[Any, Any]:
    if estimator == "reinforce_plus_plus":
        minus = flag(c.get("grpo.adv_estimator.minus_baseline", True))
        return either(minus, "group_mean", "return_to_go"), True
    if estimator != "grpo":
        return (OPEN if estimator == OPEN else "other"), None
    z, one_out = (
        flag(c.get(f"grpo.adv_estimator.{name}", c.get(f"grpo.{name}", True)))
        for name in ("normalize_rewards", "use_leave_one_out_baseline")
    )
    if OPEN in (z, one_out):
        return OPEN, False
    names = {(True, True): "leave_one_out_zscore", (True, False): "group_zscore"}
    names |= {(False, True): "leave_one_out", (False, False): "group_mean"}
    return names[z, one_out], False


def _region(c: Mapping[str, Any]) -> Facts:
    low, high = number(c[L + "ratio_clip_min"]), number(c[L + "ratio_clip_max"])
    cap = number(c.get(L + "ratio_clip_c"))
    if flag(c.get(L + "force_on_policy_ratio", False)):
        return {}  # ρ is 1: every region is idle
    if flag(c.get(L + "disable_ppo_ratio", False)):
        return {"region": "none"}
    if flag(c.get(L + "use_cispo", False)):
        return {"region": "truncate", "clip_low": low, "clip_high": high}
    region = "clip" if cap is None else "dual_clip"
    return {"region": region, "clip_low": low, "clip_high": high, "dual_c": cap}


def _correction(c: Mapping[str, Any], sequence: Any) -> Facts:
    if not flag(c[L + "use_importance_sampling_correction"]):
        return {"correction": "none"}
    cap = number(c.get(L + "truncated_importance_sampling_ratio"))
    kind = str(c.get(L + "truncated_importance_sampling_type"))
    if sequence:
        return {"correction": "sequence_truncation" if kind in ("None", "tis") else "other"}
    if cap is None:
        return {"correction": "token_truncation"}
    return {"correction": _CORRECTIONS.get(kind, "token_truncation"), "correction_cap": cap}


def _drawn(c: Mapping[str, Any]) -> Facts:
    prompts = number(c.get("grpo.num_prompts_per_step"))
    k, batch = (
        number(c.get(name))
        for name in ("grpo.num_generations_per_prompt", "policy.train_global_batch_size")
    )
    facts: Facts = {"K": k}
    if None not in (prompts, k, batch):
        facts["updates"] = OPEN if OPEN in (prompts, k, batch) else max(1.0, prompts * k // batch)
    for name in ("temperature", "top_p"):
        facts[name] = number(c.get(f"policy.generation.{name}", 1.0))
    top_k = number(c.get("policy.generation.top_k"))
    facts["top_k"] = OPEN if top_k == OPEN else max(0, top_k or 0)
    return facts
