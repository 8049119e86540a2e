"""`tod diagnose RUN` says what the run's own record says, field by field, for every recipe.

What only the engine knows is taken from its record: the activation over the updates, the entropy
over the vocabulary, and the token means of log π_old − log μ and of log π − log π_old.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import read_yaml
from tod.diagnosis import diagnose
from tod.engine.search.job import search
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.formats import read
from tod.runs import plain
from tolerance import of_weights

CONFIGS = Path(__file__).parents[2] / "configs"
BLOCKS = (
    "contexts",
    "ess_rel",
    "tails",
    "overlap",
    "coverage",
    "mismatch",
    "staleness",
    "drift",
    "activation",
    "entropy",
)
FAST = (
    "quickstart",  # two anchors, policy gradient with a residual
    "weighted_mle",  # scalar reward, weighted regression
    "opd_full",  # teacher, no credit
    "dpo",  # preference
    "sft",  # data
    "rlvr_partial",  # several utilities
    "majority_vote",  # selection, votes
    "best_of_k",  # selection
)
"""One a target family and one a kind of action."""


NEAR = of_weights("float64", 64, 40.0)
"""Both sides sum the same recorded log-probs of tokens in double precision."""


def same(a: Any, b: Any, path: str = "") -> list[str]:
    """Paths at which two records differ: sums of log-probs are added in another order."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [p for key in keys for p in same(a.get(key), b.get(key), f"{path}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [p for x, y in zip(a, b, strict=True) for p in same(x, y, path)]
    if isinstance(a, int | float) and isinstance(b, int | float):
        near = np.isclose(a, b, rtol=NEAR, atol=NEAR)
        return [] if near else [f"{path}: {a} and {b}"]
    return [] if a == b else [f"{path}: {a} and {b}"]


def run(path: Path, output: Path) -> Path:
    """Two tiny steps, or two tiny batches of a search."""
    data = read_yaml(path)
    proposal = data["operator"].get("proposal", {})
    changes = [f"output={output}", "operator.proposal.prompts=4"]
    if "search" in data:
        changes.append("search.contexts=8")
    else:
        changes += ["evaluate=null", "train.steps=2"]
    if proposal.get("size", 0) > 8:
        changes.append("operator.proposal.size=4")
    settings = RunSettings.load(path, tuple(changes))
    return search(settings) if settings.search is not None else train(settings)


def differences(path: Path, output: Path) -> list[str]:
    """Where the record of every step and the diagnosis of its rollouts differ."""
    directory = run(path, output)
    found = diagnose(read(directory))
    lines = (directory / "steps.jsonl").read_text().splitlines()
    records = {record["step"]: record for record in map(json.loads, lines) if record["step"]}
    assert set(records) == set(found.summaries)
    return [
        f"step {step}{where}"
        for step, record in records.items()
        for where in same(
            {name: record.get(name) for name in BLOCKS},
            {
                name: value
                for name, value in plain(found.summaries[step].to_dict()).items()
                if name in BLOCKS  # the population of a record is that of the pool so far
            },
        )
    ]


@pytest.mark.parametrize("name", FAST)
def test_a_run_and_its_diagnosis_agree(name: str, tmp_path: Path) -> None:
    assert differences(CONFIGS / f"{name}.yaml", tmp_path / "run") == []


REST = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - set(FAST))


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_every_recipe_and_its_diagnosis_agree(name: str, tmp_path: Path) -> None:
    assert differences(CONFIGS / f"{name}.yaml", tmp_path / "run") == []
