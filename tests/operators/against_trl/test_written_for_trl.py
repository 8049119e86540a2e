"""What a translation writes for TRL, taken by TRL's own configuration class and loss."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from located_settings import read
from tod.configurations.translate import translate
from tod.operators import DualClip, PolicyGradient
from tolerance import of_credit

trl = pytest.importorskip("trl")

A = "actor_rollout_ref.actor."
VERL = {
    "algorithm.adv_estimator": "grpo",
    "data.train_batch_size": 24,
    A + "ppo_mini_batch_size": 8,
    A + "ppo_epochs": 2,
    "actor_rollout_ref.rollout.n": 4,
    A + "clip_ratio_c": 1.5,
    A + "optim.lr": 2e-6,
}


def test_its_configuration_class_takes_every_field(tmp_path: Path) -> None:
    """24 prompts of 4 rollouts, mini-batches of 8 prompts, 2 passes: 3 · 2 updates a batch."""
    values = yaml.safe_load(translate(read("verl", "ppo", VERL), "trl").text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = trl.GRPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, **values)
    assert made.generation_batch_size == 24 * 4
    every = made.steps_per_generation * made.num_iterations
    assert every // made.gradient_accumulation_steps == 3 * 2
    assert made.learning_rate == 2e-6


def test_its_loss_has_the_gradient_of_the_file(draw: Any, theirs: Any, gap: Any) -> None:
    """But for the ε beside σ_c, which the translation says it cannot write: a dual clip at 1.5."""
    here = read("verl", "ppo", VERL)
    made = translate(here, "trl")
    assert [row.part for row in made.cannot] == ["action.advantage"]
    assert here.operator is not None
    action = here.operator.action
    assert isinstance(action, PolicyGradient)
    assert isinstance(action.trust_region, DualClip)
    written = yaml.safe_load(made.text)
    names = ("loss_type", "epsilon", "epsilon_high", "delta", "scale_rewards", "beta")
    _, gradient = theirs(draw, **{name: written[name] for name in names})
    theirs_epsilon = action.revised(advantage={"kind": "group_zscore", "epsilon": 1e-4, "ddof": 1})
    ours = theirs_epsilon.credit(draw.batch()).per_token
    assert gap(ours, gradient) <= of_credit("float64")
    bare = theirs_epsilon.revised(trust_region={"kind": "clip"}).credit(draw.batch()).per_token
    assert gap(bare, gradient) > of_credit("float64"), "the cap acts in this draw"
