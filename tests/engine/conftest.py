"""Small real runs on the embedded model, for tests of the engine."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tod.engine.settings import RunSettings

sys.path.insert(0, str(Path(__file__).parent))  # by_hand

ACTION = {
    "kind": "policy_gradient",
    "level": "sequence_mean",
    "trust_region": {"kind": "clip", "low": 0.03, "high": 0.04},
    "advantage": "group_mean",
    "aggregation": "sequence_mean_token_mean",
    "pull": {"kind": "residual", "at": "current"},
}


def small_run(output: Path, **changes: Any) -> RunSettings:
    """A run of a few seconds; ``changes`` are dotted with ``__``, as in ``train__steps=3``."""
    data: dict[str, Any] = {
        "name": "small",
        "model": "tod://tiny",
        "target": {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"},
        "operator": {
            "proposal": {"prompts": 6, "size": 4, "max_new_tokens": 20},
            "action": dict(ACTION),
        },
        "train": {"steps": 4, "updates_per_batch": 2, "learning_rate": 1e-3, "checkpoint_every": 1},
        "evaluate": None,
        "output": str(output),
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        here = data
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    return RunSettings.parse(data)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., RunSettings]:
    """Settings of a small run under the test's own directory."""

    def make(name: str = "run", **changes: Any) -> RunSettings:
        return small_run(tmp_path / name, **changes)

    return make
