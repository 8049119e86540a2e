"""The share of the gap that distillation closes, and the page that says so."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location(
        "distillation_bench", ROOT / "benchmarks" / "distillation.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(rng, share, seed, form="full vocabulary"):
    before = rng.beta(0.4, 1.6, 400)
    teacher = np.clip(before + rng.normal(0.3, 0.3, 400), 0, 1)
    after = before + share * (teacher - before) + rng.normal(0, 0.1, 400)
    row = {"form": form, "seed": seed, "passes": after.tolist(), "flops": 1e12}
    return row, {"student": before.tolist(), "teacher": teacher.tolist()}


def test_the_share_is_a_ratio_of_means_and_its_error_that_of_leaving_prompts_out(bench, rng):
    row, ends = made(rng, 0.6, 0)
    found = bench.shares([row], ends)
    a, b, t = (np.array(x) for x in (row["passes"], ends["student"], ends["teacher"]))
    assert found["share"] == pytest.approx((a.mean() - b.mean()) / (t.mean() - b.mean()))
    without = [
        (np.delete(a, i).mean() - np.delete(b, i).mean())
        / (np.delete(t, i).mean() - np.delete(b, i).mean())
        for i in range(400)
    ]
    jackknife = np.sqrt(399 / 400 * np.sum((without - np.mean(without)) ** 2))
    assert found["by_prompt"] == pytest.approx(jackknife, rel=2 / len(a))  # the next order in 1/n
    assert np.isnan(found["by_seed"])


def test_the_difference_is_paired_by_prompt_and_its_error_by_seed_adds_up(bench, rng):
    row, ends = made(rng, 0.5, 0)
    up = {**row, "passes": [x + 0.06 for x in row["passes"]], "seed": 1}
    other = [{**r, "form": "sampled"} for r in (row, up)]
    gap = np.mean(ends["teacher"]) - np.mean(ends["student"])
    better = [{**r, "passes": [x + 0.03 for x in r["passes"]]} for r in (row, up)]
    found = bench.compared([*better, *other], ends)
    assert found["share"] == pytest.approx(0.03 / gap)
    one = abs(0.06 / gap) / 2  # standard error of two values is half their distance
    assert bench.shares(better, ends)["by_seed"] == pytest.approx(one)
    assert found["by_seed"] == pytest.approx(one * np.sqrt(2))


def test_unequal_compute_is_refused(bench):
    bench.equal([{"flops": 1.0}, {"flops": 1.02}])
    with pytest.raises(SystemExit, match="not at equal compute"):
        bench.equal([{"flops": 1.0}, {"flops": 1.04}])


def test_the_page_shows_the_numbers_beside_it_and_they_reach_the_goal(bench):
    results = ROOT / "docs" / "results"
    known = json.loads((results / "distillation.json").read_text(encoding="utf-8"))
    runs = sorted(known["runs"], key=lambda r: (list(bench.FORMS).index(r["form"]), r["seed"]))
    bench.equal(runs)
    page = (results / "distillation.md").read_text(encoding="utf-8")
    assert bench.table(runs, known["ends"]) in page
    full = [r for r in runs if r["form"] == "full vocabulary"]
    assert bench.shares(full, known["ends"])["share"] >= 0.6
    assert max(r["cpu_seconds"] for r in full) <= 300
