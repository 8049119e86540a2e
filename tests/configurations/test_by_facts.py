"""Frameworks that are read by their facts: whose a file is, and what it says.

Every expectation is worked out by hand from what the framework's source does at the commit that its
facts name.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tod.base import SpecError
from tod.configurations import Located, locate
from tod.configurations.foreign import read_by_facts
from tod.configurations.framework import facts
from tod.configurations.rules import Cases, Rules, equals, holds, names_in, value_of


def at(tmp_path: Path, name: str, text: str, **asked: Any) -> Located:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return locate(path, **asked)


def part(found: Located, name: str) -> Any:
    """A part of the action as plain data."""
    assert found.operator is not None
    return found.operator.model_dump(mode="json")["action"].get(name)


LLAMA_FACTORY = {
    "model_name_or_path": "some/model",
    "stage": "dpo",
    "do_train": True,
    "finetuning_type": "lora",
    "dataset": "pairs_of_mine",
    "template": "llama3",
    "cutoff_len": 2048,
}


@pytest.mark.parametrize(
    ("more", "loss", "beta"),
    [
        ({}, {"kind": "dpo"}, 0.1),
        ({"pref_beta": 0.3}, {"kind": "dpo"}, 0.3),
        ({"dpo_label_smoothing": 0.2}, {"kind": "cdpo", "epsilon": 0.2}, 0.1),
        ({"pref_loss": "ipo"}, {"kind": "ipo", "by_length": True}, 0.1),
        ({"pref_loss": "hinge"}, {"kind": "hinge"}, 0.1),
        ({"pref_loss": "orpo", "pref_beta": 0.2}, {"kind": "orpo", "weight": 0.2}, None),
        ({"pref_loss": "simpo"}, {"kind": "simpo", "scale": 0.1, "margin": 0.5}, None),
    ],
)
def test_llama_factory_pairs(
    tmp_path: Path, more: dict[str, Any], loss: dict[str, Any], beta: float | None
) -> None:
    found = at(tmp_path, "a.yaml", yaml.safe_dump({**LLAMA_FACTORY, **more}))
    assert (found.framework, found.method) == ("llama_factory", "dpo")
    assert part(found, "loss") == loss
    assert getattr(found.target, "beta", None) == beta


def test_llama_factory_says_what_it_cannot(tmp_path: Path) -> None:
    mixed = at(tmp_path, "a.yaml", yaml.safe_dump({**LLAMA_FACTORY, "pref_bco_weight": 0.5}))
    assert (mixed.status, mixed.operator) == ("not_composed", None)
    assert "not in the algebra" in mixed.notes[0]
    rewards = at(tmp_path, "b.yaml", yaml.safe_dump({**LLAMA_FACTORY, "stage": "rm"}))
    assert rewards.status == "not_composed"
    eaft = {**LLAMA_FACTORY, "stage": "sft", "use_eaft_loss": True}
    assert at(tmp_path, "c.yaml", yaml.safe_dump(eaft)).operator is None
    with pytest.raises(SpecError, match="trains nothing"):
        at(tmp_path, "d.yaml", yaml.safe_dump({**LLAMA_FACTORY, "do_train": 0, "do_predict": 1}))


def test_llama_factory_ppo(tmp_path: Path) -> None:
    found = at(tmp_path, "a.yaml", yaml.safe_dump({**LLAMA_FACTORY, "stage": "ppo"}))
    assert found.operator is not None
    proposal = found.operator.proposal
    assert (proposal.temperature, proposal.top_p, proposal.top_k) == (0.95, 0.7, 50)
    assert (proposal.scoring_temperature, proposal.size, found.updates) == (1.0, 1, 4)
    assert "proposal.prompts" in found.open, "the number of processes is not in the file"


def test_llama_factory_commands(tmp_path: Path) -> None:
    (tmp_path / "dpo.yaml").write_text(yaml.safe_dump(LLAMA_FACTORY), encoding="utf-8")
    found = at(tmp_path, "a.sh", "FORCE_TORCHRUN=1 llamafactory-cli train dpo.yaml pref_beta=0.5\n")
    assert getattr(found.target, "beta", None) == 0.5
    flags = "torchrun src/train.py --stage dpo --pref_beta 0.25 --pref_loss sigmoid --do_train\n"
    assert getattr(at(tmp_path, "b.sh", flags).target, "beta", None) == 0.25
    away = at(tmp_path, "c.sh", "llamafactory-cli train nowhere.yaml stage=dpo\n")
    assert away.status == "unknown"


@pytest.mark.parametrize("framework", read_by_facts())
def test_rules_name_settings_that_are_recorded(framework: str) -> None:
    """Every condition and expression reads a setting of its method, so that none is never met."""
    known = facts(framework)
    assert known.reading is not None
    assert set(known.reading.methods) == set(known.defaults)
    for method, rules in known.reading.methods.items():
        there = set(known.defaults[method])
        used = _settings_of(rules)
        assert used <= there, (framework, method, used - there)
        spelled = {name for names in rules.named.values() for name in names.split()}
        assert spelled <= there, (framework, method, spelled - there)


def _settings_of(rules: Rules) -> set[str]:
    found: set[str] = set(rules.fields)
    cases: list[Cases] = [value for value in dict(rules).values() if isinstance(value, tuple)]
    for several in [*cases, *rules.proposal.values()]:
        for case in several:
            found |= set(case.when)
            found |= names_in(getattr(case, "then", None))
            found |= set(getattr(case, "setting", "").split())
    return found


def test_conditions() -> None:
    values: dict[str, Any] = {"a": "0.0", "b": None, "c": "True", "d": "grpo", "e": 3}
    assert holds({"a": 0, "b": None, "c": True, "d": ["gspo", "grpo"], "e": "positive"}, values.get)
    assert not equals("0.0", "positive")
    assert equals("x", {"not": "y"})
    assert not equals(None, "set")
    assert equals(["a.kd"], {"has": "kd"})


def test_expressions() -> None:
    values: dict[str, Any] = {"a.b": 6, "c": None, "d": "4"}
    assert value_of("a.b * d / 3", values.get) == 8.0
    assert value_of("c or d", values.get) == "4"
    assert value_of("max(1, a.b // d)", values.get) == 1.0
    assert value_of("up(a.b / d) - -1", values.get) == 3.0
    with pytest.raises(SpecError, match="no number"):
        value_of("c + 1", values.get)
    with pytest.raises(SpecError, match="divided by 0"):
        value_of("d / 0", values.get)
    with pytest.raises(SpecError, match="no expression"):
        value_of("open('x')", values.get)


SHAPES: dict[str, tuple[str, str]] = {
    "axolotl": (
        "a.yaml",
        "base_model: some/model\ndatasets: [{path: mine}]\nsequence_len: 1024\nadapter: lora\n",
    ),
    "llama_factory": ("a.yaml", yaml.safe_dump(LLAMA_FACTORY)),
    "ms_swift": ("a.sh", "swift rlhf --rlhf_type grpo --model some/model --num_generations 4\n"),
    "slime": (
        "a.sh",
        "ARGS=(--rollout-batch-size 8 --n-samples-per-prompt 4 --global-batch-size 32)\n"
        "ray job submit -- python3 train.py ${ARGS[@]} --advantage-estimator grpo "
        "--rollout-max-response-len 512\n",
    ),
    "skyrl": (
        "a.sh",
        "uv run -m skyrl.train.entrypoints.main_base "
        "trainer.algorithm.loss_reduction=sequence_mean generator.n_samples_per_prompt=6\n",
    ),
    "open_instruct": ("a.sh", "python open_instruct/grpo_fast.py --beta 0.01 --temperature 0.7\n"),
    "areal": (
        "a.yaml",
        "trial_name: t\ngconfig: {n_samples: 4}\nactor: {kl_ctl: 0.0}\n"
        "train_dataset: {batch_size: 8}\n",
    ),
    "prime_rl": ("a.toml", "max_steps = 5\n[orchestrator]\nbatch_size = 64\ngroup_size = 8\n"),
    "roll": (
        "a.yaml",
        "exp_name: a\nadv_estimator: grpo\nnum_return_sequences_in_group: 8\nrewards: {m: {}}\n"
        "actor_train: {}\nactor_infer: {generating_args: {temperature: 0.9}}\n",
    ),
}
"""A small file of each framework, of its real shape."""


@pytest.mark.parametrize("framework", sorted(SHAPES))
def test_a_file_is_of_its_own_framework_and_no_other(tmp_path: Path, framework: str) -> None:
    name, text = SHAPES[framework]
    found = at(tmp_path, name, text)
    assert found.framework == framework
    for other in ["trl", "verl", "nemo_rl", *sorted({*SHAPES} - {framework})]:
        with pytest.raises(SpecError, match=r"looks like|a program of"):
            locate(tmp_path / name, other)
    with pytest.raises(SpecError, match=r"looks like|a program of"):
        locate(tmp_path / name, "trl", "grpo")


@pytest.mark.parametrize(
    ("name", "text", "whose"),
    [
        ("a.json", '{"cells": [], "nbformat": 4}', "a notebook"),
        ("package.json", '{"name": "x", "version": "1.0.0", "dependencies": {}}', "a package"),
        ("package-lock.json", '{"name": "x", "lockfileVersion": 3, "packages": {}}', "a package"),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.ruff]\nline-length = 9\n', "a Python"),
        ("a.yaml", "model_class: llm\ndist_config: {}\ncutoff_len: 9\n", "the second LLaMA"),
    ],
)
@pytest.mark.parametrize("framework", ["trl", "slime", "axolotl", "areal"])
def test_what_is_no_configuration_is_refused_by_its_name(
    tmp_path: Path, name: str, text: str, whose: str, framework: str
) -> None:
    with pytest.raises(SpecError, match=f"looks like {whose}"):
        at(tmp_path, name, text, framework=framework)


def test_slime(tmp_path: Path) -> None:
    found = at(tmp_path, *SHAPES["slime"])
    assert found.operator is not None
    assert (found.operator.proposal.size, found.updates) == (4, 1)
    assert part(found, "advantage") == {"kind": "group_zscore", "epsilon": 1e-6, "ddof": 1}
    assert part(found, "aggregation") == {"kind": "sequence_mean_token_mean"}
    more = SHAPES["slime"][1].rstrip() + " --normalize-advantages --eps-clip-high 0.28\n"
    both = at(tmp_path, "b.sh", more)
    assert (both.operator, both.status) == (None, "not_composed")
    assert "action.advantage" in both.not_said
    assert both.read is not None, "the other parts are said"
    region = both.read.model_dump(mode="json")["action"]["trust_region"]
    assert region == {"kind": "clip", "low": 0.2, "high": 0.28}
    own = SHAPES["slime"][1].rstrip() + " --custom-config-path more.yaml\n"
    assert at(tmp_path, "c.sh", own).status == "unknown"


def test_a_list_that_no_line_makes_is_empty(tmp_path: Path) -> None:
    text = SHAPES["slime"][1].rstrip() + " ${EVAL_ARGS[@]}\n"
    found = at(tmp_path, "a.sh", text)
    assert (found.status, found.updates) == ("none", 1)
    assert any("EVAL_ARGS unset outside" in note for note in found.notes)
    assert at(tmp_path, "b.sh", f"source nowhere.sh\n{text}").status == "unknown"
    assert at(tmp_path, "c.sh", text.replace("[@]", "")).status == "unknown"


def test_skyrl_averages_its_kl_by_sequences(tmp_path: Path) -> None:
    name, text = SHAPES["skyrl"]
    found = at(tmp_path, name, text)
    assert found.procedure is not None
    assert found.operator is not None
    assert found.operator.proposal.size == 6
    mixed = at(tmp_path, "b.sh", text.replace("sequence_mean", "token_mean"))
    assert (mixed.status, mixed.procedure) == ("not_composed", None)
    off = text.replace("sequence_mean", "token_mean trainer.algorithm.use_kl_loss=false")
    assert at(tmp_path, "c.sh", off).status == "none"


def test_open_instruct(tmp_path: Path) -> None:
    found = at(tmp_path, *SHAPES["open_instruct"])
    assert found.method == "grpo"
    assert part(found, "correction") == {"kind": "token_truncation", "cap": 2.0, "floor": 0.0}
    assert part(found, "trust_region") == {"kind": "clip", "low": 0.2, "high": 0.272}
    assert getattr(found.target, "eta", None) == pytest.approx(1 / 0.01)
    text = "python mason.py --x 1 -- python open_instruct/dpo.py --loss_type dpo --beta 0.2\n"
    pairs = at(tmp_path, "b.sh", text)
    assert (pairs.method, getattr(pairs.target, "beta", None)) == ("dpo", 0.2)


def test_areal(tmp_path: Path) -> None:
    name, text = SHAPES["areal"]
    found = at(tmp_path, name, text)
    assert part(found, "advantage")["kind"] == "return_to_go"
    assert found.updates == 4, "ppo_n_minibatches"
    no_reference = at(tmp_path, "b.yaml", text.replace("0.0", "0.1"))
    assert "action.pull" in no_reference.not_said
    norm = "{kl_ctl: 0.0, reward_norm: {mean_level: group, std_level: group}}"
    scaled = at(tmp_path, "c.yaml", text.replace("{kl_ctl: 0.0}", norm))
    assert part(scaled, "advantage") == {"kind": "group_zscore", "epsilon": 1e-5, "ddof": 1}
    with pytest.raises(SpecError, match="only the program says"):
        at(tmp_path, "d.yaml", "trial_name: t\nactor: {path: some/model}\n")


def test_ms_swift(tmp_path: Path) -> None:
    found = at(tmp_path, *SHAPES["ms_swift"])
    assert found.operator is not None
    proposal = found.operator.proposal
    assert (proposal.size, proposal.temperature) == (4, 0.9)
    assert getattr(found.target, "eta", None) == pytest.approx(1 / 0.04)
    assert at(tmp_path, "b.sh", "swift sft --model a --dataset b\n").method == "sft"
    pairs = at(tmp_path, "c.sh", "swift rlhf --rlhf_type simpo --model a\n")
    assert part(pairs, "loss") == {"kind": "simpo", "scale": 2.0, "margin": 1.0}


def test_prime_rl_and_roll_say_what_they_can(tmp_path: Path) -> None:
    found = at(tmp_path, *SHAPES["prime_rl"])
    assert found.status == "not_composed"
    assert {"action.trust_region", "proposal.max_new_tokens"} <= found.not_said
    assert found.read is not None
    assert found.read.proposal.size == 8
    rlvr = at(tmp_path, *SHAPES["roll"])
    assert rlvr.operator is not None
    assert (rlvr.operator.proposal.size, rlvr.updates) == (8, None)
    assert {"updates", "proposal.max_new_tokens"} <= rlvr.open
    assert rlvr.operator.proposal.scoring_temperature == 1.0


def test_axolotl_has_the_defaults_of_the_trl_that_it_pins(tmp_path: Path) -> None:
    text = SHAPES["axolotl"][1] + "rl: grpo\ntrl: {num_generations: 6, beta: 0.02}\n"
    found = at(tmp_path, "a.yaml", text)
    assert found.method.startswith("grpo: TRL 1.8.0")
    assert found.operator is not None
    assert (found.operator.proposal.size, found.operator.proposal.temperature) == (6, 1.0)
    assert part(found, "aggregation") == {"kind": "token_mean"}
    other = at(tmp_path, "b.yaml", text + "trainer_cls: mine.Trainer\n")
    assert (other.status, other.procedure) == ("not_composed", None)
    with pytest.raises(SpecError, match="not in the algebra"):
        at(tmp_path, "c.yaml", SHAPES["axolotl"][1] + "rl: ebft\n")


def test_defaults_that_changed_are_said(tmp_path: Path) -> None:
    """ms-swift cut its rollouts by default up to 4.0.2."""
    name, text = SHAPES["ms_swift"]
    found = at(tmp_path, name, text)
    assert found.operator is not None
    assert (found.operator.proposal.top_p, found.operator.proposal.top_k) == (1.0, None)
    assert "top_k 50 since 3.2.0, -1 since 4.0.3" in found.other_releases
    assert str(found.version_from).startswith("assumed")
    older = locate(tmp_path / name, version="3.9.0")
    assert older.operator is not None
    assert (older.operator.proposal.top_p, older.operator.proposal.top_k) == (0.9, 50)
    told = at(tmp_path, "b.sh", text.rstrip() + " --top_k 20 --top_p 0.8\n")
    assert (told.other_releases, told.version_from) == ((), None)


def test_a_release_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(LLAMA_FACTORY), encoding="utf-8")
    assert locate(path, version="0.9.1").version == "0.9.1"
    with pytest.raises(SpecError, match=r"was read 0\.8\.0 to"):
        locate(path, version="0.1.0")


@pytest.mark.parametrize("words", ["8 9", "many", "2.5", "inf"])
def test_a_count_that_is_none_is_refused(tmp_path: Path, words: str) -> None:
    text = SHAPES["slime"][1].rstrip() + f" --n-samples-per-prompt {words}\n"
    with pytest.raises(SpecError, match="is no whole number"):
        at(tmp_path, "a.sh", text)
