"""What to change in a file for it to aim at another's target: tried, the fewest, or none."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tod.base import SpecError
from tod.configurations import compare, locate
from tod.configurations.locate import side
from tod.configurations.toward import toward

A = "actor_rollout_ref.actor."
KL_IN_REWARD = {
    "algorithm.adv_estimator": "rloo",
    "actor_rollout_ref.rollout.n": 8,
    "algorithm.use_kl_in_reward": True,
    "algorithm.kl_ctrl.kl_coef": 0.02,
}
STOCK = {
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.rollout.n": 8,
    A + "use_kl_loss": True,
    A + "kl_loss_coef": 0.001,
}
TRL = {"beta": 0.02, "scale_rewards": "none", "num_generations": 8}


def written(path: Path, values: dict[str, Any]) -> Path:
    if path.suffix == ".sh":
        words = " ".join(f"{name}={value}" for name, value in values.items())
        path.write_text(f"python3 -m verl.trainer.main_ppo {words}\n")
    else:
        path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("target", "start"), [(KL_IN_REWARD, STOCK), (STOCK, KL_IN_REWARD)], ids=["reward", "loss"]
)
def test_the_changed_file_aims_at_the_target(
    tmp_path: Path, target: dict[str, Any], start: dict[str, Any]
) -> None:
    a, b = written(tmp_path / "a.sh", target), written(tmp_path / "b.sh", start)
    assert compare(a, b).same_target == "no"
    found = toward(side(a), b)
    assert found.changes
    changes = {name: new for name, (_, new) in found.changes.items()}
    assert compare(a, written(tmp_path / "c.sh", {**start, **changes})).same_target == "yes"


def test_no_smaller_set_of_the_changes_does(tmp_path: Path) -> None:
    a = written(tmp_path / "a.yaml", TRL)
    b = written(tmp_path / "b.yaml", {**TRL, "beta": 0.5, "scale_rewards": "group", "top_p": 0.9})
    found = toward(side(a), b)
    assert found.changes is not None
    assert {name: new for name, (_, new) in found.changes.items()} == {
        "beta": 0.02,
        "scale_rewards": "none",
        "top_p": 1.0,
    }
    start = yaml.safe_load(b.read_text())
    for size in range(len(found.changes)):
        for names in combinations(found.changes, size):
            fewer = {name: found.changes[name][1] for name in names}
            assert compare(a, written(tmp_path / "c.yaml", {**start, **fewer})).same_target != "yes"


def test_a_file_that_aims_there_needs_nothing(tmp_path: Path) -> None:
    a = written(tmp_path / "a.yaml", TRL)
    assert toward(side(a), a).changes == {}


def test_what_no_change_reaches_is_said(tmp_path: Path) -> None:
    """A KL as a reward counts whole answers; TRL's GRPO has it in the loss, token by token."""
    a = written(tmp_path / "a.sh", KL_IN_REWARD)
    found = toward(side(a), written(tmp_path / "b.yaml", TRL))
    assert found.changes is None
    assert "token by token" in found.left


def test_nothing_aims_at_a_target_that_is_not_there(tmp_path: Path) -> None:
    a = written(tmp_path / "a.yaml", {**TRL, "beta": 0.0})
    with pytest.raises(SpecError, match="no finite target"):
        toward(side(a), a)
    assert not locate(a).law.finite
