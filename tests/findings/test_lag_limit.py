"""Bounds of the lag that configurations of several frameworks write down."""

from pathlib import Path

import pytest

from tod.base import SpecError
from tod.cli.configured import configured, expected_by
from tod.findings.lag_limit import lag_limit

WRITTEN = {
    "areal.yaml": ("rollout:\n  max_head_offpolicyness: 2\n  consumer_batch_size: 256\n", 2),
    "rl.toml": ("[orchestrator]\nmax_off_policy_steps = 8\nbatch_size = 512\n", 8),
    "orchestrator.toml": ("max_off_policy_steps = 0\n", 0),
    "nemo.yaml": (
        "grpo:\n  async_grpo:\n    enabled: true\n    max_trajectory_age_steps: 1\n",
        1,
    ),
    "off.yaml": (
        "grpo:\n  async_grpo:\n    enabled: false\n    max_trajectory_age_steps: 1\n",
        None,
    ),
    "trl.py": ("import trl\nargs = trl.AsyncGRPOConfig(max_staleness=3, beta=0.0)\n", 3),
    "trl.json": ('{"max_staleness": 4}', 4),
    "verl.yaml": ("async_training:\n  staleness_threshold: 1\n", None),
    "queue.yaml": ("train:\n  async_queue_size: 2\n", None),
    "share.yaml": ("rollout:\n  max_head_offpolicyness: 0.5\n", None),
    "torn.json": ("{", None),
    "two.py": (
        "from trl import AsyncGRPOConfig\n"
        "a, b = AsyncGRPOConfig(max_staleness=1), AsyncGRPOConfig(max_staleness=8)\n",
        None,
    ),
    "deep.json": ('{"a":' * 900 + "1" + "}" * 900, None),
    "bomb.yaml": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{i}: &a{i} {{l: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 40)),
        None,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_file_says(tmp_path: Path, name: str) -> None:
    """A bound in versions, and no queue, share or setting that is off."""
    text, limit = WRITTEN[name]
    (tmp_path / name).write_text(text)
    assert lag_limit(tmp_path / name) == limit


def test_a_file_that_is_placed_nowhere_is_read_for_its_bound(tmp_path: Path) -> None:
    """Its bound stands though nothing else of it can be read; other files are refused."""
    config = tmp_path / "areal.yaml"
    config.write_text(WRITTEN["areal.yaml"][0])
    assert expected_by(configured(config)) == {"max_lag": 2}
    other = tmp_path / "other.yaml"
    other.write_text("a: 1\n")
    with pytest.raises(SpecError):
        configured(other)


def test_no_file_states_nothing(tmp_path: Path) -> None:
    """A path that is not there is left to the reader of configurations."""
    assert lag_limit(tmp_path / "none.yaml") is None
