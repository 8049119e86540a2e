"""'My run is GRPO, beta = 0, z-scored': TRL's own files and settings, from end to end."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tolerance import of_weights

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())
GROUPS, K = 40, 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`completions/completions_*.parquet` as GRPOTrainer writes them, advantages z-scored."""
    root = tmp_path_factory.mktemp("run")
    (root / "completions").mkdir()
    rng = np.random.default_rng(11)
    for step in (1, 2, 3):
        easy = rng.beta(0.8, 1.2, GROUPS)
        reward = (rng.random((GROUPS, K)) < easy[:, None]).astype(float)
        spread = reward.std(1, ddof=1, keepdims=True) + 1e-4
        pl.DataFrame(
            {
                "step": [step] * (GROUPS * K),
                "prompt": [f"{step}: what is {g}?" for g in range(GROUPS) for _ in range(K)],
                "completion": [f"it is {i}" for i in range(GROUPS * K)],
                "accuracy_reward": reward.ravel(),
                "advantage": ((reward - reward.mean(1, keepdims=True)) / spread).ravel(),
            }
        ).write_parquet(root / "completions" / f"completions_{step:05d}.parquet")
    return root


def diagnosed(run: Path, beta: float, *words: str) -> Any:
    settings = {"beta": beta, "num_generations": K, "scale_rewards": "group", "loss_type": "grpo"}
    config = run / f"beta-{beta}.json"
    config.write_text(json.dumps(settings | {"epsilon": 0.2, "learning_rate": 1e-6}))
    command = ["diagnose", str(run / "completions"), "--config", str(config), *words]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.exception
    return result.output


def sigma(run: Path) -> Any:
    table = pl.read_parquet(run / "completions" / "*.parquet")
    return table["accuracy_reward"].to_numpy().reshape(-1, K).std(1, ddof=1)


def test_without_a_kl_there_is_a_trust_region_and_no_target(run: Path) -> None:
    text = " ".join(diagnosed(run, 0.0, "--verbose").split())
    assert "no finite target" in text
    assert "only a trust region" in text
    assert "target (assumed)" in text
    assert "by eta were it declared" in text
    assert "what may still be read: groups, rewards and zero-variance groups" in text
    assert "swap-stable" not in text.split("regime:")[1].split("plain phase")[0]


def test_what_may_still_be_read_without_a_target(run: Path) -> None:
    data = json.loads(diagnosed(run, 0.0, "--json", "-"))
    jsonschema.validate(data, SCHEMA)
    spread = sigma(run)
    assert data["target"]["source"] == "assumed"
    assert data["contexts"]["informative"] == int((spread > 0).sum())
    blind = data["contexts"]["all_pass"] + data["contexts"]["all_fail"]
    assert blind == int((spread == 0).sum()) == data["contexts"]["zero_information"]
    assert data["regime"]["verdict"] != "swap_stable"
    assert data["regime"]["eta_intervals"]
    assert data["feasible"] is not None


def test_with_a_kl_every_context_has_its_own_eta(run: Path) -> None:
    """η_c = 1/(β(σ_c + 1e-4)), and σ_c by numpy."""
    text = " ".join(diagnosed(run, 0.04, "--verbose").split())
    assert "target (located): q* ∝ ref · exp(25 accuracy_reward/std)" in text
    spread = sigma(run)
    etas = 25 / (spread[spread > 0] + 1e-4)
    low, middle, high = np.quantile(etas, [0.1, 0.5, 0.9], method="inverted_cdf")
    told = f"eta_c differs by prompt: median {middle:.4g}, 10 % {low:.4g}, 90 % {high:.4g}"
    assert told in text


def test_the_located_target_cannot_be_weighed_and_says_what_is_missing(run: Path) -> None:
    data = json.loads(diagnosed(run, 0.04, "--json", "-"))
    jsonschema.validate(data, SCHEMA)
    assert data["target"]["source"] == "located"
    assert data["ess_rel"]["median"] is None
    (why,) = [item for item in data["cannot"] if item["what"] == "ess_rel"]
    assert "log_ref" in why["needs"]
    # the stand-in: the tilt alone, 25 standard deviations of the reward, by numpy
    table = pl.read_parquet(run / "completions" / "*.parquet")
    reward, spread = table["accuracy_reward"].to_numpy().reshape(-1, K), sigma(run)[:, None]
    w = np.exp(25 * (reward - reward.max(1, keepdims=True)) / (spread + 1e-4))[spread[:, 0] > 0]
    ess = np.sort(w.sum(1) ** 2 / (w**2).sum(1) / K)
    assert data["tilt_only"]["contexts"] == len(ess)
    expected = np.quantile(ess, 0.5, method="inverted_cdf")
    assert data["tilt_only"]["median"] == pytest.approx(
        expected, rel=of_weights("float64", K, 100.0)
    )
    text = " ".join(diagnosed(run, 0.04, "--verbose").split())
    assert "were the anchor μ" in text
    assert "not q*/μ" in text
