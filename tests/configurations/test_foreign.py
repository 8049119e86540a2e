"""Files of others are refused by their right name, however they are asked to be read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tod.base import SpecError
from tod.configurations import locate
from tod.configurations.foreign import foreign

OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "axolotl.yaml": (
        {
            "base_model": "meta-llama/Llama-3.2-1B",
            "adapter": "lora",
            "sequence_len": 2048,
            "rl": "grpo",
            "trl": {"beta": 0.001, "num_generations": 8},
            "learning_rate": 1e-5,
        },
        "axolotl's",
    ),
    "llama_factory.yaml": (
        {
            "model_name_or_path": "Qwen/Qwen2.5-0.5B",
            "stage": "dpo",
            "finetuning_type": "lora",
            "pref_beta": 0.1,
            "pref_loss": "sigmoid",
            "learning_rate": 5e-6,
        },
        "LLaMA-Factory's",
    ),
    "swift.json": ({"rlhf_type": "grpo", "beta": 0.04, "num_generations": 8}, "ms-swift's"),
    "skyrl.yaml": (
        {"trainer": {"algorithm": {"advantage_estimator": "grpo"}}, "generator": {"n": 8}},
        "SkyRL's",
    ),
    "areal.yaml": ({"trial_name": "t", "gconfig": {"n_samples": 4}, "actor": {}}, "AReaL's"),
    "roll.yaml": ({"exp_name": "a", "actor_train": {}, "actor_infer": {}}, "ROLL's"),
    "ds.json": ({"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}, "DeepSpeed's"),
    "config.json": ({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 896}, "a model's"),
    "trainer_state.json": ({"log_history": [], "global_step": 3}, "a trainer's log"),
    "package.json": ({"name": "x", "version": "1.0.0", "dependencies": {}}, "a package's"),
    "package-lock.json": ({"name": "x", "lockfileVersion": 3, "packages": {}}, "a package's"),
    "compose.yaml": ({"services": {"web": {"image": "x"}}}, "Docker Compose's"),
    "notebook.json": ({"cells": [], "nbformat": 4, "metadata": {}}, "a notebook"),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("asked", [("trl", "grpo"), ("verl", None), ("nemo_rl", "grpo")])
def test_it_is_named_whatever_it_is_to_be_read_as(
    tmp_path: Path, name: str, asked: tuple[str, str | None]
) -> None:
    data, whose = OTHERS[name]
    path = tmp_path / name
    path.write_text(json.dumps(data) if name.endswith("json") else yaml.safe_dump(data))
    with pytest.raises(SpecError, match=f"looks like {whose}"):
        locate(path, *asked)


def test_every_kind_has_a_case() -> None:
    named = {whose for _, whose in OTHERS.values()}
    assert len(named) >= len({kind.name for kind in foreign()}) / 2
    for data, whose in OTHERS.values():
        assert next(kind.name for kind in foreign() if kind.is_of(data)) == whose


def test_settings_that_decide_nothing_give_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("colour: red\nsize: 3\n")
    with pytest.raises(SpecError, match=r"none of its 2 settings decides anything.*colour"):
        locate(path, "trl", "grpo")
    path.write_text("beta: 0.1\ncolour: red\nsize: 3\nshape: round\n")
    with pytest.raises(SpecError, match="3 of its 4 settings are not of trl"):
        locate(path, "trl", "grpo")
    path.write_text("beta: 0.1\ncolour: red\nlearning_rate: 1.0e-5\n")
    assert locate(path, "trl", "grpo").unknown == ("colour",)


def test_own_files_are_read(tmp_path: Path) -> None:
    """Optimisation and logging alone are a file of theirs, of defaults."""
    path = tmp_path / "a.yaml"
    path.write_text("learning_rate: 1.0e-5\nlogging_steps: 1\n")
    assert locate(path, "trl", "grpo").operator is not None
