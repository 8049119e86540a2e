"""'My run is GRPO, beta = 0, z-scored': TRL's own files and settings, from end to end."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from formats import writers
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


def test_without_a_kl_there_is_no_target(run: Path) -> None:
    text = " ".join(diagnosed(run, 0.0, "--verbose").split())
    assert "no finite target" in text
    assert "region bounds a step" in text or "learning rate alone bounds a step" in text
    assert "target (assumed)" in text
    assert "by eta" in text.lower() or "for eta" in text
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


def test_what_was_known_without_a_configuration_stays_known_with_one(run: Path) -> None:
    """The located target cannot be weighed: an assumed one's figures stand beside, named so."""
    command = ["diagnose", str(run / "completions")]
    alone = json.loads(CliRunner().invoke(app, [*command, "--json", "-"]).output)
    data = json.loads(diagnosed(run, 0.04, "--json", "-"))
    assert data["assumed"] == {
        "target": alone["target"],
        "ess_rel_median": alone["ess_rel"]["median"],
        "ess_rel_q10": alone["ess_rel"]["q10"],
        "verdict": alone["regime"]["verdict"],
        "feasible": alone["feasible"],
    }
    assert alone["assumed"] is None
    reward = pl.read_parquet(run / "completions" / "*.parquet")["accuracy_reward"].to_numpy()
    w = np.exp(reward.reshape(-1, K))[sigma(run) > 0]
    ess = np.sort(w.sum(1) ** 2 / (w**2).sum(1) / K)
    expected = np.quantile(ess, 0.5, method="inverted_cdf")
    told = data["assumed"]["ess_rel_median"]
    assert told == pytest.approx(expected, rel=of_weights("float64", K, 1.0), abs=0)
    for words in ((), ("--verbose",)):
        text = " ".join(diagnosed(run, 0.04, *words).split())
        assert "its q* needs a log_ref column. Assumed eta = 1 at mu" in text
        assert f"ESS_rel {expected:.2f}, {alone['regime']['verdict']}" in text
        assert "trust that for the rows, not for q*" in text
    assert "Assumed" not in diagnosed(run, 0.0)  # one line says already that a target is assumed
    assert json.loads(diagnosed(run, 0.0, "--json", "-"))["assumed"] is None


def test_the_same_of_verl_and_its_script(tmp_path: Path) -> None:
    writers.write_verl(writers.make_world(steps=4, groups=12), tmp_path)
    script = Path(__file__).parents[1] / "configurations/files/verl_grpo.sh"
    documents = []
    for words in ([], ["--config", str(script)]):
        command = ["diagnose", str(tmp_path), *words, "--json", "-"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.exception
        documents.append(json.loads(result.output))
    alone, data = documents
    assert alone["ess_rel"]["median"] is not None
    assert data["ess_rel"]["median"] is None
    assert data["assumed"]["ess_rel_median"] == alone["ess_rel"]["median"]
    assert data["assumed"]["verdict"] == alone["regime"]["verdict"]
    assert data["contexts"] == alone["contexts"]
