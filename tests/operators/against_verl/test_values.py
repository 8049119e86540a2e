"""The critic's loss, and the numbers themselves: they are what the installed verl says."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tod.engine.critic import value_loss
from tod.operators import gae
from tolerance import assert_credit, of_credit, stated

TOL = of_credit("float64") + stated(1e-8, "verl adds it to the tokens that a mean divides by")


def test_value_loss(said: Any, gap: Any) -> None:
    batch, draw = said.batch(), said.draw
    rewards = np.zeros(len(draw.values))
    rewards[batch.sequences.offsets[1:] - 1] = draw.reward
    _, target = gae(rewards, draw.values, batch.sequences, 1.0, 0.95)
    leaf = torch.from_numpy(draw.new_values.copy()).requires_grad_()
    loss = value_loss(leaf, draw.values, target, len(draw.values), 0.2)
    loss.backward()
    assert leaf.grad is not None
    assert float(loss.detach()) == pytest.approx(said("value loss", "loss"), rel=TOL)
    assert gap(leaf.grad, said("value loss", "gradient")) <= TOL


@pytest.mark.skipif(
    importlib.util.find_spec("verl") is None,
    reason="verl is not installed: it asks for older transformers than ours and for ray; "
    "verl_values.py says how to install it",
)
def test_installed_verl_says_the_same(script: Path, kept: dict[str, Any], tmp_path: Path) -> None:
    fresh = tmp_path / "values.npz"
    command = [sys.executable, "-W", "ignore", str(script), "--output", str(fresh)]
    subprocess.run(command, check=True)
    found = dict(np.load(fresh))
    assert found.keys() == kept.keys()
    for name, numbers in kept.items():
        assert_credit(found[name], numbers)
