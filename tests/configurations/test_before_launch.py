"""Memory by a model's name, staleness by mini-batches, and fifteen idle settings of our own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tod.operators as op
from located_settings import read
from tod.configurations import Located, compare
from tod.configurations.check import CheckRemark, check
from tod.configurations.framework import Computed
from tod.configurations.memory import COPY, STATES, memory_of, parameters_named
from tod.configurations.staleness import staleness, weightless
from tod.findings.finding import Finding
from tod.show.terminal.atlas import compared_text
from tod.show.terminal.check_screen import check_markdown, check_text

A, R, ALG = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout.", "algorithm."
TWO = {"data.train_batch_size": 64, A + "ppo_mini_batch_size": 32}
ONE = {"data.train_batch_size": 64, A + "ppo_mini_batch_size": 64}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7e9),
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1.5e9),
        ("/models/llama_3_8b/", 8e9),
        ("/data/70B/checkpoints/mine", None),
        ("gpt2", None),
        ("some-7B-into-1B", None),
        ("Qwen2.5", None),
        ("abc-4bit", None),
    ],
)
def test_a_size_is_read_from_a_name(name: str, size: float | None) -> None:
    assert parameters_named(name) == size


GIVEN = {"actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B", "trainer.n_gpus_per_node": 8}


def test_an_estimate_names_what_it_assumes() -> None:
    """16 bytes: 2 + 2 of 16-bit weight and gradient, 4 + 4 + 4 of weight and two moments."""
    found = memory_of(GIVEN, reference=True)
    assert found is not None
    assert found.total == 7e9 * (2 + 2 + 4 + 4 + 4 + 2) == 7e9 * (STATES + COPY)
    assert found.gpus == 8
    for part in ("126 GB", "15.8 GB on each of 8", "7B by its name", "18 bytes", "assumed"):
        assert part in found.words
    alone = memory_of({**GIVEN, "trainer.nnodes": 2}, reference=False)
    assert alone is not None
    assert (alone.total, alone.gpus) == (7e9 * 16, 16)
    assert "π_ref" not in alone.words


@pytest.mark.parametrize(
    "more",
    [
        {"actor_rollout_ref.model.lora_rank": 32},
        {"use_peft": True},
        {"optim": "adafactor"},
        {"load_in_4bit": True},
        {"**$ARGS": "$ARGS"},
        {"actor_rollout_ref.model.path": "mine"},
    ],
)
def test_what_trains_otherwise_or_was_not_read_has_no_estimate(more: dict[str, Any]) -> None:
    assert memory_of({**GIVEN, **more}, reference=False) is None


def test_what_is_off_changes_no_estimate() -> None:
    off = {"actor_rollout_ref.model.lora_rank": 0, "use_peft": False, "optim": "adamw_torch"}
    assert memory_of({**GIVEN, **off}, reference=False) == memory_of(GIVEN, reference=False)


def test_an_estimate_or_its_lack_is_on_the_screen() -> None:
    made = check(read("verl", "ppo", dict(GIVEN)))
    assert any(r.setting == "memory" and "by its name" in r.said for r in made.remarks)
    assert "by its name" in check_text(made)
    bare = check(read("verl", "ppo", {"trainer.n_gpus_per_node": 8}))
    assert not any(r.setting == "memory" for r in bare.remarks)
    assert any(what.startswith("memory:") for what in bare.unchecked)


def test_staleness_begins_with_the_second_update() -> None:
    assert staleness(read("verl", "ppo", ONE)) is None
    assert staleness(read("verl", "ppo", {**ONE, A + "ppo_epochs": 2})) is not None
    located = read("verl", "ppo", TWO)
    found = staleness(located)
    assert found is not None
    assert found[0] is False, "ρ and a clip see it"
    assert found[1].startswith("2 updates a batch")
    assert "ppo_mini_batch_size=32" in located.updates_by
    assert staleness(replace(located, open=frozenset({"updates"}))) is None


def test_staleness_that_no_weight_sees_is_to_be_looked_at() -> None:
    gpg = {ALG + "adv_estimator": "gpg", A + "policy_loss.loss_mode": "gpg"}
    found = staleness(read("verl", "ppo", {**TWO, **gpg}))
    assert found is not None
    assert found[0] is True
    assert staleness(read("verl", "ppo", {**ONE, **gpg})) is None
    plain = op.PolicyGradient(trust_region=op.Truncate(cap=1.0, floor=1.0))
    assert weightless(plain)
    assert not weightless(op.PolicyGradient(trust_region=op.Truncate(cap=1.0, floor=0.5)))
    assert not weightless(plain.revised(correction=op.TokenTruncation(cap=2.0)))


def test_an_entropy_bonus_that_nobody_set_is_to_be_looked_at() -> None:
    from tod.configurations.locate import reader
    from tod.configurations.recognise import ConfigurationFile

    def levels(version: str, **values: Any) -> list[str]:
        file = ConfigurationFile("verl", {ALG + "adv_estimator": "grpo", **values})
        made = check(reader(file, "here", version))
        return [r.level for r in made.remarks if "entropy_coeff" in r.setting]

    assert levels("0.2.0") == ["look"], "0.001 by default then"
    assert levels("0.9.1") == []
    assert levels("0.2.0", **{A + "entropy_coeff": 0.001}) == ["note"]


def idle(located: Located) -> set[str]:
    return {one.setting.partition("=")[0].rpartition(".")[2] for one in located.without_effect}


STALE = {"num_iterations": 2}
IDLE: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("trl", "GRPOConfig", {"epsilon": 0.1}, STALE, "epsilon"),
    ("trl", "GRPOConfig", {"loss_type": "sapo", "epsilon_high": 0.3, **STALE},
     {"loss_type": "grpo"}, "epsilon_high"),
    ("trl", "GRPOConfig", {"beta": 0.0, "sync_ref_model": True}, {"beta": 0.1}, "sync_ref_model"),
    ("trl", "GRPOConfig", {"beta": 0.0, "use_bias_correction_kl": True}, {"beta": 0.1},
     "use_bias_correction_kl"),
    ("trl", "GRPOConfig", {"importance_sampling_level": "sequence", "epsilon": 0.2, **STALE},
     {"epsilon": 3e-4}, "epsilon"),
    ("trl", "RLOOConfig", {"ref_model_sync_steps": 9}, {"sync_ref_model": True},
     "ref_model_sync_steps"),
    ("trl", "DPOConfig", {"loss_type": "hinge", "label_smoothing": 0.1},
     {"loss_type": "robust"}, "label_smoothing"),
    ("verl", "ppo", {A + "use_kl_loss": True, A + "kl_loss_coef": 0.0},
     {A + "kl_loss_coef": 0.01}, "use_kl_loss"),
    ("verl", "ppo", {ALG + "kl_ctrl.kl_coef": 0.01}, {ALG + "use_kl_in_reward": True}, "kl_coef"),
    ("verl", "ppo", {ALG + "use_kl_in_reward": True, ALG + "kl_ctrl.kl_coef": 0.0},
     {ALG + "kl_ctrl.kl_coef": 0.1}, "use_kl_in_reward"),
    ("verl", "ppo", {**ONE, A + "clip_ratio_high": 0.28}, TWO, "clip_ratio_low"),
    ("verl", "ppo", {ALG + "filter_groups.enable": True, ALG + "filter_groups.metric": "seq_reward",
                     "reward_model.overlong_buffer.enable": True},
     {ALG + "filter_groups.metric": "acc"}, "metric"),
    ("verl", "ppo", {ALG + "rollout_correction.rollout_is_threshold": 3.0},
     {ALG + "rollout_correction.rollout_is": "token"}, "rollout_is_threshold"),
    ("openrlhf", "ppo", {"algo.kl.init_coef": 0.0, "algo.kl.estimator": "k2"},
     {"algo.kl.init_coef": 0.1}, "estimator"),
    ("nemo_rl", "grpo", {"loss_fn.reference_policy_kl_penalty": 0,
                         "loss_fn.reference_policy_kl_type": "k2"},
     {"loss_fn.reference_policy_kl_penalty": 0.1}, "reference_policy_kl_type"),
]  # fmt: skip
"""Framework, method, settings of which one is idle, what makes it act, and which one it is."""


@pytest.mark.parametrize("case", IDLE, ids=[f"{c[0]}-{c[4]}-{i}" for i, c in enumerate(IDLE)])
def test_an_idle_setting_is_named_until_its_condition_flips(case: Any) -> None:
    framework, method, values, flip, name = case
    assert name in idle(read(framework, method, values))
    assert name not in idle(read(framework, method, {**values, **flip}))


def test_there_are_fifteen() -> None:
    assert len(IDLE) == 15


def pilot(*findings: Finding) -> dict[str, Any]:
    return {
        "contexts": {"total": 10, "zero_information": 0, "candidates_per_context": {"median": 8}},
        "findings": {"findings": [finding.to_dict() for finding in findings]},
        "regime": {"verdict": "swap_stable", "reasons": []},
    }


def test_a_cap_below_the_pilots_answers_is_to_be_looked_at() -> None:
    """Of 80 lengths evenly from 20 to 300 tokens 12 are beyond 257; none of those up to 256."""
    import numpy as np

    from tod.base import Groups
    from tod.findings import RolloutTable, TrainingRun
    from tod.findings.detectors.configured import ConfiguredDetector

    def remarks(longest: int) -> list[str]:
        located = read("trl", "GRPOConfig", {"num_generations": 8, "max_completion_length": 256})
        table = RolloutTable(
            Groups.equal(10, 8),
            np.zeros(10, int),
            np.arange(80.0) % 2,
            length=np.linspace(20, longest, 80).astype(int),
        )
        told = {"samples_per_prompt": 8, "longest_answer": 256}
        found = ConfiguredDetector().look(TrainingRun(rollouts=table, expected=told))
        made = check(located, pilot=pilot(*found))  # type: ignore[misc]
        return [r.said for r in made.remarks if r.level == "look" and r.setting == "pilot"]

    assert remarks(256) == []
    assert remarks(300) == ["15 % of the answers are longer than the configured 256 tokens."]


def test_a_crowded_check_fits_a_terminal_and_says_all_in_markdown() -> None:
    values = {**GIVEN, **TWO, A + "use_kl_loss": True, A + "kl_loss_coef": 0, R + "n": 1}
    values |= {ALG + "adv_estimator": "grpo", ALG + "kl_ctrl.kl_coef": 0.1, R + "top_p": 0.9}
    values |= {ALG + "filter_groups.enable": True, R + "temperature": 0.7, "algoritm.x": 1}
    made = check(read("verl", "ppo", values), read("verl", "ppo", dict(ONE)))
    lines = check_text(made).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for remark in made.remarks:
        assert remark.said.replace("|", "\\|") in check_markdown(made, "x.sh")


def test_a_comparison_lists_what_differs_beside_the_triple() -> None:
    base = {A + "optim.lr": 1e-6, "data.train_files": "a.parquet", "trainer.logger": "wandb"}
    mine = {A + "optim.lr": 1e-5, "data.train_files": "a.parquet", "trainer.logger": "console"}
    mine |= {"actor_rollout_ref.model.path": "M-7B", "trainer.total_epochs": Computed("$EPOCHS")}
    made = check(read("verl", "ppo", {**TWO, **mine}), read("verl", "ppo", {**TWO, **base}))
    assert made.against is not None
    assert [(row.what, row.key_a, row.a, row.b) for row in made.against.also] == [
        ("model", "actor_rollout_ref.model.path", "M-7B", "not written"),
        ("learning rate", A + "optim.lr", "1e-05", "1e-06"),
        ("epochs", "trainer.total_epochs", "unknown: $EPOCHS", "not written"),
        ("", "trainer.logger", "", ""),
    ]
    said = "also different: model, learning rate, epochs and 1 more"
    assert said in " ".join(check_text(made).split())
    assert CheckRemark("note", A + "optim.lr", "1e-05; the base has 1e-06") in made.remarks
    itself = check(made.located, made.located)
    assert "one target, and nothing differs" in check_text(itself)


def test_another_frameworks_settings_are_held_against_those_of_their_kind() -> None:
    verl = read("verl", "ppo", {**TWO, A + "optim.lr": 1e-6, "critic.optim.lr": 1e-5})
    trl = read("trl", "GRPOConfig", {"learning_rate": 0.000001, "seed": 3})
    rows = compare(verl, trl).also
    assert [(row.what, row.key_a, row.a, row.key_b, row.b) for row in rows if row.what == "seed"]
    assert not any(row.what == "learning rate" for row in rows)


def test_model_data_and_adapters_of_a_script_are_read(tmp_path: Path) -> None:
    text = """from trl import GRPOConfig, GRPOTrainer
data = load_dataset("DATA")
args = GRPOConfig(output_dir="x", learning_rate=1e-6)
GRPOTrainer(model="M", args=args, train_dataset=data, peft_config=LoraConfig(r=RANK))
"""
    for name, data, rank in (("a", "gsm8k", "8"), ("b", "math", "16")):
        made = text.replace("DATA", data).replace("RANK", rank)
        (tmp_path / f"{name}.py").write_text(made, encoding="utf-8")
    found = compare(tmp_path / "a.py", tmp_path / "b.py")
    rows = {row.key_a: (row.what, row.a, row.b) for row in found.also}
    assert rows["dataset"] == ("data", "load_dataset('gsm8k')", "load_dataset('math')")
    assert rows["LoraConfig.r"] == ("adapters", "8", "16")
    assert "Also different (A | B)" in compared_text(found)
    assert {"model", "learning_rate"}.isdisjoint(rows)
