"""The benchmark of controllers tells who won, and who jumps."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "arc.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_of_arc", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def table_of(values):
    """One cell of three worlds, each arm's TV in them."""
    return {("c", arm): {"cell": "c", "arm": arm, "tv": tv} for arm, tv in values.items()}


def test_a_benchmark_that_the_ramp_wins_says_so(bench):
    table = table_of({"linear 80": [0.1, 0.2, 0.3], "plan and brake": [0.2, 0.2, 0.4]})
    said = bench.winner(table, ["c"], ["linear 80", "plan and brake"])
    assert said.startswith("Least mean TV: the ramp won")
    near = table_of({"linear 80": [0.1, 0.2, 0.3], "plan and brake": [0.11, 0.19, 0.29]})
    said = bench.winner(near, ["c"], ["linear 80", "plan and brake"])
    assert "the interval does not leave out 0" in said


def test_ratios_are_paired_by_world_and_counted(bench):
    table = table_of({"a": [0.2, 0.4, 0.6], "b": [0.1, 0.2, 0.3], "c": [0.1, 0.2, 0.3]})
    assert bench.ratio(table, ["c"], "a", "b") == pytest.approx((1.0, 1.0, 1.0))
    found = [bench.ratio(table, ["c"], *pair) for pair in (("a", "b"), ("b", "a"), ("b", "c"))]
    assert bench.counts(found) == "better in 1, worse in 1, undecided in 1"


def test_an_alarm_is_judged_by_its_order(bench):
    assert bench.auroc([3.0, 4.0], [1.0, 2.0]) == 1.0
    assert bench.auroc([1.0, 2.0], [1.0, 2.0]) == 0.5


def test_a_controller_that_jumps_to_the_goal_is_worse(bench):
    cell = bench.Cell("gaussian", 5.0, "clipped residual", "T = 100")
    arms = {name: bench.QUICK[name] for name in ("linear 80", "planted: jumps to η*")}
    records = bench.run(cell, arms, range(1000, 1008))
    table = {(record["cell"], record["arm"]): record for record in records}
    _, low, _ = bench.ratio(table, [cell.name], "planted: jumps to η*", "linear 80")
    assert low > 0
