"""The committed runs of recipes that read swap-stable: verdicts and gains made again of counts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import green_runs
from tod.regimes import Thresholds

RESULTS = Path(__file__).parents[2] / "docs" / "results"
ROWS = green_runs.load(RESULTS / "green.jsonl")
SHIPPED = [row for row in ROWS if row["kind"] == green_runs.SHIPPED]
SEEDS = (100, 101, 102)


def named(row: dict[str, Any]) -> str:
    return "-".join(map(str, green_runs.identity(row))).replace(" ", "_")


def by_row(rows: list[dict[str, Any]]) -> Any:
    """All of them where there is time; the first seed of every recipe and twin always."""
    cases = [
        pytest.param(row, id=named(row), marks=[pytest.mark.slow] if row["seed"] > SEEDS[0] else [])
        for row in rows
    ]
    return pytest.mark.parametrize("row", cases)


def test_every_recipe_and_its_twin_was_run_at_three_seeds() -> None:
    made = [green_runs.identity(row) for row in ROWS]
    assert sorted(made) == sorted(green_runs.asked(list(green_runs.TWINS), SEEDS))


@by_row(ROWS)
def test_a_verdict_is_that_of_its_counts(row: dict[str, Any]) -> None:
    again = green_runs.judged(row).to_dict()
    assert again["verdict"] == row["verdict"]
    assert [leg["word"] for leg in again["legs"]] == [leg["word"] for leg in row["legs"]]


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_stable_is_what_the_bounds_say_by_hand(row: dict[str, Any]) -> None:
    bounds, summary = Thresholds(), row["summary"]
    ends = [(leg["ess"]["median"]["low"], leg["ess"]["q10"]["high"]) for leg in row["legs"]]
    above = all(low is not None and low >= bounds.overlap_stable for low, _ in ends)
    tenths = all(high is None or high >= bounds.ess_q10_dominated for _, high in ends)
    gated = (summary["activation"] or 0.0) > bounds.activation_stable
    counts = summary["contexts"]
    blind = counts["zero_information"] > counts["total"] / 2
    stable = above and tenths and not gated and not blind
    assert stable == (row["verdict"] == "swap_stable")


def test_recipes_read_stable_and_their_twins_do_not() -> None:
    verdicts = {named(row): row["verdict"] for row in SHIPPED}
    assert set(verdicts.values()) == {"swap_stable"}, verdicts
    assert "swap_stable" not in {row["verdict"] for row in ROWS if row not in SHIPPED}


def test_the_range_decides_three_recipes_and_not_the_others() -> None:
    """The least of ((1 − p)a + pb)²/((1 − p)a² + pb²) over p, of weights a = 1 and b = e^η."""
    p = np.linspace(0.0, 1.0, 100_001)
    least = {}
    for row in SHIPPED:
        b = math.exp(row["eta"])
        least[row["recipe"]] = float((((1 - p) + p * b) ** 2 / ((1 - p) + p * b**2)).min())
    decided = sorted(name for name, bound in least.items() if bound >= Thresholds().overlap_stable)
    assert decided == ["gspo_soft", "vargrad_soft", "weighted_mle_centred_soft"]
    assert len(least) == 6


def test_every_recipe_gains_more_than_two_standard_errors() -> None:
    (before,) = [row["before"] for row in ROWS if row["before"] is not None]
    for row in SHIPPED:
        moves = (np.array(row["after"]) - np.array(before)) / green_runs.SAMPLES
        error = moves.std(ddof=1) / math.sqrt(len(moves))
        assert moves.mean() > 2 * error, named(row)


def test_the_page_is_made_of_the_results() -> None:
    assert (RESULTS / "green.md").read_text(encoding="utf-8") == green_runs.page(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "stable"),
    [((), True), (green_runs.SHARP.overrides, False)],
    ids=["soft", "sharp"],
)
def test_a_short_run_reads_as_the_long_ones(
    overrides: tuple[str, ...], stable: bool, tmp_path: Path
) -> None:
    from tod.engine.settings import RunSettings
    from tod.engine.train import train

    short = (
        "train.steps=5",
        "train.schedule_steps=20",
        "evaluate=null",
        f"output={tmp_path / 'r'}",
    )
    file = green_runs.ROOT / "configs" / "gspo_soft.yaml"
    train(RunSettings.load(file, (*overrides, *short)))
    row = green_runs.stored(tmp_path / "r")
    assert (row["verdict"] == "swap_stable") == stable
    assert green_runs.judged(row).verdict == row["verdict"]
