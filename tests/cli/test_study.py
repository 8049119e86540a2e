"""`tod study calibrate` from the outside."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from tod.base import SpecError, TodError
from tod.cli.options import thresholds_of
from tod.cli.study import study
from tod.regimes import Thresholds
from tolerance import printed

ROOT = Path(__file__).parents[2]


def results(path: Path, n: int = 120) -> Path:
    """Operators end apart exactly where ess_tri is below 0.35; the median knows half of it."""
    rng = np.random.default_rng(5)
    two = rng.uniform(0, 1, n)
    conditions = [
        {"world": i, "eta": 1.0, "excess": 0.3 if x < 0.35 else 0.01, "ess_tri": float(x)}
        | {"ess_median": float(np.clip(x + rng.normal(0, 0.3), 0.01, 1)), "ess_q10": None}
        for i, x in enumerate(two)
    ]
    path.write_text(json.dumps({"study": "toy", "seed": 5, "conditions": conditions}))
    return path


def run(*words: object) -> Any:
    return CliRunner().invoke(study, [str(w) for w in words], env={"COLUMNS": "80"})


def test_the_planted_edge_is_found_and_the_yaml_is_thresholds(tmp_path: Path) -> None:
    result = run("calibrate", results(tmp_path / "swap.json"), "--statistic", "ess_tri")
    assert result.exit_code == 0, result.exception
    assert max(map(len, result.output.splitlines())) <= 80
    assert "ess_tri" in result.output
    assert "ess_median" not in result.output
    row = next(line for line in result.output.splitlines() if line.split()[:1] == ["ess_tri"])
    assert row.split()[2:5] == ["1.00", "1.00", "1.00"]
    text = result.output[result.output.index("# thresholds") :]
    fitted = Thresholds.parse(yaml.safe_load(text))
    rows = json.loads((tmp_path / "swap.json").read_text())["conditions"]
    cuts = np.array([row["ess_tri"] for row in rows])
    gap = cuts[cuts >= 0.35].min() - cuts[cuts < 0.35].max() + printed(2)  # any cut between these
    assert fitted.overlap_dominated == pytest.approx(0.35, abs=gap)
    assert fitted.ess_q10_dominated == Thresholds().ess_q10_dominated


def test_json_holds_every_cut(tmp_path: Path) -> None:
    path = results(tmp_path / "swap.json")
    data = json.loads(run("calibrate", path, "--json", "-").output)
    assert set(data["cuts"]) == {"ess_tri", "ess_median"}
    cut = data["cuts"]["ess_tri"]
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
        ('{"conditions": [{"excess": 0.1, "ess_tri": "x"}]}', [], "ess_tri = 'x' is not a number"),
        ('{"conditions": [{"excess": 0.1, "ess_tri": NaN}]}', [], "not a number"),
        ('{"conditions": [{"excess": 0.1, "ess_tri": 1.5}]}', [], "not in [0, 1]"),
        ('{"conditions": [{"ess_tri": 0.5}]}', [], "no `excess`"),
        ('{"conditions": [{"excess": 0.1, "ess_tri": 0.5}]}', [], "both sides"),
        ('{"conditions": [{"excess": 0.1, "ess_tri": 0.5}]}', ["--statistic", "ess"], "ess_tri"),
        ('{"conditions": [{"excess": 1, "ess_tri": 0.5}]}', ["--limit", "9"], "both sides"),
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


def test_a_list_and_parquet_are_conditions_too(tmp_path: Path) -> None:
    path = results(tmp_path / "swap.json")
    wanted = json.loads(run("calibrate", path, "--json", "-").output)
    conditions = json.loads(path.read_text())["conditions"]
    (tmp_path / "list.json").write_text(json.dumps(conditions))
    pl.DataFrame(conditions).write_parquet(tmp_path / "rows.parquet")
    for name in ("list.json", "rows.parquet"):
        assert json.loads(run("calibrate", tmp_path / name, "--json", "-").output) == wanted
    (tmp_path / "bad.parquet").write_bytes(b"no such thing")
    for name in ("bad.parquet", "none.parquet"):
        error = run("calibrate", tmp_path / name).exception
        assert isinstance(error, TodError)
        assert "cannot be read" in str(error)


def test_no_text_names_a_command_that_is_not_there() -> None:
    from typer.main import get_command

    from tod.cli.main import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    said = run("calibrate", "--help").output + (ROOT / "docs/thresholds.md").read_text()
    named = {words.split()[1] for words in re.findall(r"`?tod [a-z]+", said)}
    assert named <= known, named - known


def test_the_round_trip_of_the_docs(tmp_path: Path) -> None:
    """Example → bounds → a diagnosis and a plan judged by them, by the commands of the page."""
    bounds = tmp_path / "thresholds.yaml"
    example = ROOT / "docs/examples/conditions.json"
    assert run("calibrate", example, "--output", bounds).exit_code == 0
    fitted = yaml.safe_load(bounds.read_text())
    rows = json.loads(example.read_text())["conditions"]
    cuts = sorted({row["ess_tri"] for row in rows})

    def youden(cut: float) -> float:
        below = [row["excess"] > 0.1 for row in rows if row["ess_tri"] < cut]
        above = [row["excess"] > 0.1 for row in rows if row["ess_tri"] >= cut]
        both = below + above
        return sum(below) / sum(both) + above.count(False) / both.count(False)

    best = max(youden((a + b) / 2) for a, b in pairwise(cuts))
    assert youden(fitted["overlap_dominated"]) == pytest.approx(best)
    rng = np.random.default_rng(1)
    dump = [
        {"step": 1, "context": f"c{i // 16}", "candidate": i % 16, "utility.r": rng.normal()}
        | {"prompt": "p", "completion": "a", "log_mu": -9.0, "log_policy": -9.0}
        for i in range(640)
    ]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dump))
    words = [tmp_path / "rollouts.jsonl", "--eta", "0.75", "--thresholds", bounds, "--json"]
    verdicts = []
    for given in (words, [words[0], "--eta", "0.75", "--json"]):
        where = tmp_path / "diagnosis.json"
        assert main("diagnose", *given, where).exit_code == 0
        regime = json.loads(where.read_text())["regime"]
        verdicts.append(regime["verdict"])
        assert (regime["thresholds"]["overlap_stable"] == 0.7) == (given is not words)
    assert verdicts == ["swap_stable", "transition"]  # the leg is between both bounds
    assert main("plan", *words, tmp_path / "plan.json").exit_code == 0


@pytest.mark.parametrize("text", ["- 1", "", "overlap_stabel: 0.7", "overlap_stable: 2"])
def test_bounds_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "bounds.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"bounds\.yaml"):
        thresholds_of(tmp_path / "bounds.yaml")
    with pytest.raises(SpecError, match="no such file"):
        thresholds_of(tmp_path / "nothing.yaml")


def main(*words: object) -> Any:
    from tod.cli.main import app

    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "80"})
