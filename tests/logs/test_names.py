"""The table of names: every name has keys with a source, and every key finds its name."""

import math
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tod.base import read_yaml
from tod.logs import names
from tod.logs.names import PLAIN, TRANSFORMS, Alias

TABLE = read_yaml(Path(str(files("tod.logs") / "names.yaml")))
ALIASES = names().aliases
EXACT = [alias for alias in ALIASES if alias.exact]


def example(alias: Alias) -> str:
    """A key that the alias is for."""
    return alias.key.replace("{name}", "gsm8k").replace("{any}", "solver")


def of(alias: Alias) -> str:
    return f"{alias.framework}:{alias.key}"


@pytest.mark.parametrize("canonical", sorted(names().canonical))
def test_every_name_has_a_key_with_a_source(canonical: str) -> None:
    mine = [alias for alias in ALIASES if alias.canonical == canonical]
    assert any(alias.framework != PLAIN for alias in mine) or canonical == "length_terminated"
    for alias in mine:
        source = alias.source.split(" (")[0]
        assert alias.framework == PLAIN or re.fullmatch(r"[\w./-]+\.py", source), alias
    assert names().canonical[canonical].endswith(".")


def test_every_framework_of_a_key_is_declared_with_its_version() -> None:
    assert {alias.framework for alias in ALIASES} <= set(names().frameworks)
    for framework in names().frameworks.values():
        assert framework.repository
        assert framework.version
        assert framework.base is None or framework.base in names().frameworks
        assert framework.signs or framework.name == PLAIN


def test_units_are_few() -> None:
    nats = {"nats", "nats per token", "nats per sequence"}
    counts = {"tokens", "samples", "trajectories", "versions", "epochs"}
    assert {alias.unit for alias in ALIASES} == {"", "seconds"} | nats | counts


def test_no_key_of_a_framework_means_two_things() -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for alias in ALIASES:
        key = (alias.framework, alias.key, alias.beside)
        assert seen.setdefault(key, alias.canonical) == alias.canonical, key


def test_only_known_words_stand_in_the_table() -> None:
    for entry in TABLE["names"].values():
        assert entry.keys() <= {"says", "unit", "keys", "except"}
        for groups in entry["keys"].values():
            for group in groups:
                assert group.keys() == {"source", "keys"}
                for key in group["keys"]:
                    if isinstance(key, dict):
                        assert key.keys() <= {"key", "unit", "note", "transform", "over", "beside"}
                        assert key.get("transform", "log") in TRANSFORMS


@pytest.mark.parametrize("alias", ALIASES, ids=of)
def test_a_key_finds_its_name_in_a_log_of_its_framework(alias: Alias) -> None:
    key = example(alias)
    keys = [key, *filter(None, (alias.over, alias.beside))]
    found = names().matches(keys, alias.framework)
    wanted = alias.canonical.replace("{name}", "gsm8k")
    told = {name: match.key for name, match in found.items()}
    assert told.get(wanted) == key, told


@pytest.mark.parametrize("name", [f for f in names().frameworks if f != PLAIN])
def test_signs_tell_the_framework(name: str) -> None:
    framework = names().frameworks[name]
    written = [sign.replace("{any}", "x").replace("{name}", "x") for sign in sign_keys(name)]
    for prefix in {"", framework.prefix}:
        keys = [prefix + key for key in written]
        base = [framework.base] if framework.base else []
        assert names().framework(keys) in [name, *base], (name, prefix)
    if not framework.base:
        assert names().framework(written) == name


def sign_keys(name: str) -> list[str]:
    return list(TABLE["frameworks"][name]["signs"])


def test_a_log_of_a_base_with_one_sign_of_its_child_is_the_childs() -> None:
    trl = ["completions/mean_length", "frac_reward_zero_std", "clip_ratio/low_mean", "reward"]
    assert names().framework(trl) == "trl"
    assert names().framework([*trl, "memory(GiB)"]) == "ms-swift"
    sft = ["loss", "grad_norm", "learning_rate", "epoch", "memory(GiB)"]
    assert names().framework(sft) == "ms-swift"
    assert names().framework(["reward", "steps_done"]) is None


def test_the_prefix_of_transformers_is_seen_through() -> None:
    found = names().matches(["train/kl", "train/rewards/f/mean", "eval/reward"], "trl")
    assert {name: match.key for name, match in found.items()} == {
        "kl": "train/kl",
        "reward.f": "train/rewards/f/mean",
        "eval.reward": "eval/reward",
    }


def test_kl_of_kto_is_per_sequence_and_that_of_grpo_per_token() -> None:
    assert names().matches(["kl"], "trl")["kl"].alias.unit == "nats per token"
    kto = names().matches(["kl", "logps/chosen"], "trl")
    assert kto["kl"].alias.unit == "nats per sequence"
    unknown = names().matches(["kl"], None)["kl"].alias
    assert (unknown.unit, unknown.note) == ("nats", "per token or per sequence is unknown")


def test_a_bare_word_of_an_unknown_framework_means_only_what_people_mean() -> None:
    keys = ["accuracy", "acc", "score", "train/ppo_kl", "actor/entropy", "kl_loss"]
    found = names().matches(keys, None)
    assert {name: match.key for name, match in found.items()} == {
        "reward": "score",
        "kl": "kl_loss",
        "entropy": "actor/entropy",
        "policy_kl": "train/ppo_kl",
    }
    assert "accuracy" in names().matches(["accuracy", "dpo_loss"], "tinker")


def test_first_choice_first() -> None:
    keys = ["critic/rewards/mean", "critic/score/mean"]
    assert names().matches(keys, "verl")["reward"].key == "critic/score/mean"
    assert names().matches(keys[:1], "verl")["reward"].key == "critic/rewards/mean"


def test_transforms() -> None:
    x = np.array([0.0, 0.5, 25.0, -1.0])
    assert TRANSFORMS["percent"](x).tolist() == [0.0, 0.005, 0.25, -0.01]
    assert TRANSFORMS["complement"](x).tolist() == [1.0, 0.5, -24.0, 2.0]
    assert TRANSFORMS["negative"](x).tolist() == [0.0, -0.5, -25.0, 1.0]
    logs = TRANSFORMS["log"](x)
    assert logs[1:3].tolist() == [math.log(0.5), math.log(25)]
    assert np.isnan(logs[[0, 3]]).all()
