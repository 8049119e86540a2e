"""Settings of two files that differ and that no triple holds: rates, models, data, seeds."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tod.atlas.compare import Also
from tod.configurations.framework import ANY, Computed, decisive, facts

__all__ = ["CARED", "also_different", "kind_of"]

NOT_WRITTEN = "not written"
CARED: dict[str, str] = {
    "model": r"(model|model_name_or_path|base_model|pretrain|model\.path|model_name|hf_checkpoint)",
    "data": r"((train_)?datasets?(_name|_config|_path|_mixer|_mixer_list|_split)?|train_files?"
    r"|train_data|prompt_data|prompt_dataset|data_path|mixer_list|max_(train_)?samples|task\.\w+)",
    "reward": r"(reward_funcs?|reward_model|remote_url|remote_rm_url|reward_pretrain|rm_type"
    r"|custom_reward_function\.\w+)",
    "template": r"(template|chat_template|chat_template_name|input_template|prompt_file)",
    "learning rate": r"(learning_rate|\w+_learning_rate|lr)",
    "batch": r"(\w*batch_size(_per_\w+)?|gradient_accumulation_steps|num_prompts_per_step"
    r"|steps_per_generation|ppo_max_token_len_per_gpu)",
    "epochs": r"(num_train_epochs|total_epochs|max_epochs|num_epochs?|epochs|max_steps|train\.steps"
    r"|total_training_steps|total_train_\w+|num_episodes|total_episodes|max_num_\w+|num_rollout)",
    "lengths": r"max_(prompt_|seq_|total_sequence_)?len(gth)?",
    "adapters": r"(use_peft|peft\w*|adapter|finetuning_type|tuner_type|train_type|\w*lora\w*"
    r"|LoraConfig\.\w+|lora\.\w+)",
    "precision": r"(bf16|fp16|tf32|fp8|(torch_|model_)?dtype|precision|param_dtype"
    r"|load_in_[48]bit|quantization\w*)",
    "schedule": r"(lr_scheduler(_type|_kwargs)?|lr_decay_style|\w*warmup\w*|min_lr(_rate|_ratio)?)",
    "optimiser": r"(optim|optimizer|optim\.name|weight_decay|adam_\w+|betas|max_grad_norm"
    r"|grad_clip|clip_grad|max_norm|gradient_clipping)",
    "seed": r"(seed|data_seed|random_seed)",
}
"""What people ask about, by the ends of the names that frameworks give it; in this order."""
_CARED = {what: re.compile(rf"(^|.*\.){names}$") for what, names in CARED.items()}
_OF_OTHERS = re.compile(r"(^|\.)(critic|reward|rm|value|ref|teacher|val|eval|test)[._]")
"""Names of what is not the trained model's; across frameworks they are not compared."""
_NAMED = {"π_ref": "model"}
"""What facts call by another word than here."""


def also_different(
    a: Mapping[str, Any], b: Mapping[str, Any], frameworks: tuple[str, str]
) -> tuple[Also, ...]:
    """Settings that two files write differently, of those that their triples do not hold.

    In one framework every setting is held against the one of the same name; in two the first of
    each kind in `CARED`. What a file does not write is said to be so: its default is not known
    here. Numbers are compared as numbers. Settings of no kind there (logging, placement) come
    last, by name alone.

    Args:
        a: Flat settings of one file, as it writes them.
        b: Of the other.
        frameworks: Whose they are.
    """
    if not all(frameworks):
        return ()
    if frameworks[0] != frameworks[1]:
        return tuple(_across(a, b, frameworks))
    rows = list(_within(a, b, frameworks[0]))
    order = [*CARED, ""]
    return tuple(sorted(rows, key=lambda row: order.index(row.what)))


def _within(a: Mapping[str, Any], b: Mapping[str, Any], framework: str) -> Iterator[Also]:
    for key in dict.fromkeys([*a, *b]):
        if key.startswith(ANY) or not _apart(a.get(key), b.get(key)):
            continue
        what = kind_of(key, framework)
        if what:
            yield Also(what, key, _said(a, key), key, _said(b, key))
        elif framework == "tod" or key in decisive(framework):
            continue  # the triple holds it
        else:
            yield Also("", key, "", key, "")


def _across(
    a: Mapping[str, Any], b: Mapping[str, Any], frameworks: tuple[str, str]
) -> Iterator[Also]:
    mine = [_bykind_of(given, one) for given, one in zip((a, b), frameworks, strict=True)]
    for what in CARED:
        keys = [found.get(what, "") for found in mine]
        if any(keys) and _apart(a.get(keys[0]), b.get(keys[1])):
            yield Also(what, keys[0], _said(a, keys[0]), keys[1], _said(b, keys[1]))


def _bykind_of(given: Mapping[str, Any], framework: str) -> dict[str, str]:
    """The first setting of each kind."""
    found: dict[str, str] = {}
    for key in given:
        what = kind_of(key, framework)
        if what and not _OF_OTHERS.search(key):
            found.setdefault(what, key)
    return found


def kind_of(key: str, framework: str) -> str:
    """What a setting is among `CARED`; empty: none of it.

    Args:
        key: Its dotted name.
        framework: Whose it is.
    """
    if framework != "tod":
        for what, names in facts(framework).names.items():
            if key in names:
                return _NAMED.get(what, what)
    return next((what for what, names in _CARED.items() if names.match(key)), "")


def _apart(a: Any, b: Any) -> bool:
    """Whether two values differ; one that is not known is the same where the same word says it."""
    return bool(_plain(a) != _plain(b))


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    text = str(value).strip()
    try:
        return float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false", "none", "null") else text


def _said(given: Mapping[str, Any], key: str) -> str:
    """The value as written; ``unknown`` where only a run knows it."""
    if key not in given:
        bags = any(name.startswith(ANY) for name in given)
        return "unknown: words were not read" if bags else NOT_WRITTEN
    value = given[key]
    return f"unknown: {value}" if isinstance(value, Computed) else str(value)
