"""A program of one's own: whose trainer it runs, and which defaults it starts from."""

from pathlib import Path

import pytest

from tod.base import SpecError
from tod.configurations import Located, locate
from tod.configurations.trainer import Trainer, trainer_of

OF_VERL = "from verl.trainer.ppo.ray_trainer import RayPPOTrainer\n"
CHANGED = Trainer("verl", "RayPPOTrainer", changed=True)
MAIN = """import hydra
{trainer}

@hydra.main(config_path="settings", config_name="mine", version_base=None)
def main(config):
    RayPPOTrainer(config).fit()
"""
LISTED = """actor_rollout_ref:
  actor: {entropy_coeff: 0.0, ppo_mini_batch_size: 32, kl_loss_coef: 0.001, use_kl_loss: false}
  rollout: {n: 5, temperature: 0.9}
algorithm: {adv_estimator: grpo, kl_ctrl: {kl_coef: 0.004}}
data: {train_batch_size: 64}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OF_VERL, Trainer("verl", "RayPPOTrainer")),
        (f"{OF_VERL}class Mine(RayPPOTrainer):\n    pass\n", CHANGED),
        (f"{OF_VERL}RayPPOTrainer.fit = print\n", CHANGED),
        ("def f():\n    from agents.train import TeamTrainer\n", Trainer("agents", "TeamTrainer")),
        ("from .here import OwnTrainer as T\n", Trainer("", "OwnTrainer")),
        (f"{OF_VERL}from b import OtherTrainer\n", None),
        ("import verl\n", None),
        ("not python (\n", None),
    ],
)
def test_whose_trainer(text: str, expected: Trainer | None) -> None:
    assert trainer_of(text) == expected


def started(folder: Path, trainer: str, listed: str | None = None) -> Located:
    name = "main_ppo"
    (folder / "jobs").mkdir()
    (folder / f"{name}.py").write_text(MAIN.format(trainer=trainer), encoding="utf-8")
    if listed is not None:
        (folder / "settings").mkdir()
        (folder / "settings" / "mine.yaml").write_text(listed, encoding="utf-8")
    script = folder / "jobs" / "a.sh"
    words = "actor_rollout_ref.actor.use_kl_loss=False algorithm.gamma=1.0 data.max_prompt_length=9"
    script.write_text(f"python3 {name}.py {words}\n", encoding="utf-8")
    return locate(script)


def test_another_trainer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="trains by agents's TeamTrainer, which is not read here"):
        started(tmp_path, "from agents.train import TeamTrainer")


def test_a_file_that_lists_all_defaults_says_the_release(tmp_path: Path) -> None:
    found = started(tmp_path, OF_VERL, LISTED)
    assert found.version is not None
    assert found.version < "0.4", "it lists no dual clip, and no reward KL of its own flag"
    assert "its own mine.yaml" in str(found.version_from)
    assert found.operator is not None
    assert (found.operator.proposal.size, found.operator.proposal.temperature) == (5, 0.9)
    assert found.law.etas == {"reward": 250.0}  # 1/0.004: it pulls in the reward, as releases then


def test_what_a_program_changes_of_the_trainer_may_be_anything(tmp_path: Path) -> None:
    found = started(tmp_path, f"{OF_VERL}RayPPOTrainer.fit = print", LISTED)
    assert found.undetermined == ("**what main_ppo.py makes of RayPPOTrainer",)
    assert found.procedure is None


def test_a_program_whose_defaults_are_not_here_stays_unknown(tmp_path: Path) -> None:
    found = started(tmp_path, OF_VERL)
    assert found.status == "unknown"
    assert found.procedure is None
