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
