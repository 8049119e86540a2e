"""`tod study calibrate` from the outside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tod.base import TodError
from tod.cli.study import study
from tod.regimes import Thresholds


def results(path: Path, n: int = 120) -> Path:
    """Operators end apart exactly where ess_two is below 0.35; the median knows half of it."""
    rng = np.random.default_rng(5)
    two = rng.uniform(0, 1, n)
    conditions = [
        {"world": i, "eta": 1.0, "excess": 0.3 if x < 0.35 else 0.01, "ess_two": float(x)}
        | {"ess_median": float(np.clip(x + rng.normal(0, 0.3), 0.01, 1)), "ess_q10": None}
        for i, x in enumerate(two)
    ]
    path.write_text(json.dumps({"study": "toy", "seed": 5, "conditions": conditions}))
    return path


def run(*words: object) -> Any:
    return CliRunner().invoke(study, [str(w) for w in words], env={"COLUMNS": "80"})


def test_the_planted_edge_is_found_and_the_yaml_is_thresholds(tmp_path: Path) -> None:
    result = run("calibrate", results(tmp_path / "swap.json"), "--statistic", "ess_two")
    assert result.exit_code == 0, result.exception
    assert max(map(len, result.output.splitlines())) <= 80
    assert "ess_two" in result.output
    assert "ess_median" not in result.output
    row = next(line for line in result.output.splitlines() if line.split()[:1] == ["ess_two"])
    assert row.split()[2:5] == ["1.00", "1.00", "1.00"]
    text = result.output[result.output.index("# thresholds") :]
    fitted = Thresholds.parse(yaml.safe_load(text))
    assert fitted.ess_two_dominated == pytest.approx(0.35, abs=0.02)
    assert fitted.overlap_dominated == Thresholds().overlap_dominated


def test_json_holds_every_cut(tmp_path: Path) -> None:
    path = results(tmp_path / "swap.json")
    data = json.loads(run("calibrate", path, "--json", "-").output)
    assert set(data["cuts"]) == {"ess_two", "ess_median"}
    cut = data["cuts"]["ess_two"]
    assert (cut["sensitivity"], cut["specificity"], cut["count"]) == (1.0, 1.0, 120)
    assert data["cuts"]["ess_median"]["sensitivity"] < 1
    assert data["apart"] == sum(
        c["excess"] > 0.1 for c in json.loads(path.read_text())["conditions"]
    )
    Thresholds.parse(data["thresholds"])
    where = tmp_path / "fit.json"
    assert run("calibrate", path, "--json", where).exit_code == 0
    assert json.loads(where.read_text()) == data


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("{", [], "not JSON"),
        ("[]", [], "no `conditions`"),
        ('{"conditions": []}', [], "no `conditions`"),
        ('{"conditions": [{"excess": 0.1}]}', [], "none of ess_tri"),
        ('{"conditions": [{"excess": 0.1, "ess_two": "x"}]}', [], "ess_two = 'x' is not a number"),
        ('{"conditions": [{"excess": 0.1, "ess_two": NaN}]}', [], "not a number"),
        ('{"conditions": [{"excess": 0.1, "ess_two": 1.5}]}', [], "not in [0, 1]"),
        ('{"conditions": [{"ess_two": 0.5}]}', [], "no `excess`"),
        ('{"conditions": [{"excess": 0.1, "ess_two": 0.5}]}', [], "both sides"),
        ('{"conditions": [{"excess": 0.1, "ess_two": 0.5}]}', ["--statistic", "ess"], "ess_two"),
        ('{"conditions": [{"excess": 1, "ess_two": 0.5}]}', ["--limit", "9"], "both sides"),
    ],
)
def test_bad_files_are_our_errors(
    tmp_path: Path, text: str, words: list[str], message: str
) -> None:
    path = tmp_path / "swap.json"
    path.write_text(text)
    error = run("calibrate", path, *words).exception
    assert isinstance(error, TodError)
    assert message in str(error)
    assert str(path) in str(error) or "--statistic" in str(error)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in str(run("calibrate", tmp_path / "nothing.json").exception)


def test_it_is_registered() -> None:
    from tod.cli.main import app

    result = CliRunner().invoke(app, ["study", "calibrate", "--help"])
    assert result.exit_code == 0
    assert "Example: tod study calibrate" in result.output
