"""The worlds of scripts/population_coverage and the rates that are counted on them."""

import json

import numpy as np
import pytest

from population_coverage import __main__ as command
from population_coverage.partial_credit import FewValues
from population_coverage.reading import word
from population_coverage.tables import NEAR, Cell, cells, page
from population_coverage.world import weighted_quantile
from population_coverage.zero_one import PassRates
from tod.diagnostics.population_ess import Interval
from tolerance import chance, double

LEVELS = np.array([0.0, 0.3, 1.0])


def few_values(rng, prompts):
    return rng.dirichlet([1.0, 0.5, 2.0], prompts)


def pass_rates(rng, prompts):
    return rng.beta(1.0, 2.0, prompts)


@pytest.mark.parametrize(
    "world",
    [PassRates("beta", pass_rates, 2.0), FewValues("three", LEVELS, few_values, 2.0)],
    ids=["0/1", "partial"],
)
def test_what_is_drawn_has_the_truth_that_is_told(world):
    """One prompt: ESS of 10⁵ rollouts, and the share of 10⁴ groups of 5 that show a signal."""
    seed, many, k = 4, 10**5, 5
    one = world.law(np.random.default_rng(seed), 1)
    world.law = lambda _rng, prompts: np.repeat(one, prompts, axis=0)
    told = world.population(np.random.default_rng(0), 1, k)
    w = np.exp(world.draw(np.random.default_rng(1), 1, many).log_weight)
    ratio = w.mean() ** 2 / (w**2).mean()
    spread = w.std() / w.mean() * 2 + (w**2).std() / (w**2).mean()
    assert ratio == pytest.approx(told.ess[0], rel=chance(spread, many))
    rows = world.draw(np.random.default_rng(2), 10**4, k).utility.reshape(-1, k)
    seen = (rows.max(1) > rows.min(1)).mean()
    assert seen == pytest.approx(told.signal[0], abs=chance(0.5, 10**4))


def test_truth_is_the_weighted_quantile():
    world = PassRates("uniform", lambda rng, n: rng.random(n), 1.5)
    told = world.population(np.random.default_rng(20_000_003), 100_000, 8)
    truth = world.truth(8, 0.3)
    share = told.signal[told.ess <= truth].sum() / told.signal.sum()
    assert share == pytest.approx(0.3, abs=told.signal.max() / told.signal.sum() + double(1e5))
    assert weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.5) == 2.0


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (None, "not readable"),
        ((0.7, 0.8, 0.9), "stable"),
        ((0.69, 0.8, 0.9), "transition"),
        ((0.1, 0.2, 0.29), "dominated"),
        ((0.0, None, 0.3), "transition"),
        ((0.8, None, None), "stable"),
    ],
)
def test_word(ends, said):
    assert word(None if ends is None else Interval(*ends)) == said


def outcome(number, draw, truth, ends):
    interval = None if ends is None else dict(zip(("low", "value", "high"), ends, strict=True))
    return {
        "cell": ["0/1", 8, 64, number, draw, 7],
        "truth": {"median": truth, "q10": truth},
        "said": {"median": interval, "q10": interval},
        "seconds": 0.5,
    }


def test_rates_of_a_cell_counted_by_hand():
    some = [
        outcome(0, 0, 0.72, (0.71, 0.74, 0.8)),  # right and stable
        outcome(0, 1, 0.72, (0.6, 0.7, 0.75)),  # right, and another word: a flip
        outcome(1, 0, 0.5, (0.71, 0.8, 0.9)),  # false stable
        outcome(1, 1, 0.5, (0.1, 0.2, 0.25)),  # false dominated, and opposite
        outcome(2, 0, 0.1, (0.0, None, 0.2)),  # not above, true, dominated
        outcome(2, 1, 0.1, None),
    ]
    cell = Cell("0/1", 8, 64, some)
    assert cell.coverage("median") == cell.coverage("q10") == 2 / 4
    assert (cell.said("stable", 0.7, 1.1), cell.said("dominated", -1, 0.3)) == (1 / 2, 1)
    assert (cell.said("stable", -1, 0.7), cell.said("dominated", 0.3, 1.1)) == (1 / 3, 1 / 4)
    assert (cell.flips(), cell.opposite()) == ((1.0, 1), 1)
    assert (cell.one_ended(), cell.one_ended_true(), cell.unreadable()) == (1 / 6, 1, 1 / 6)
    (same,) = cells(some)
    assert same == cell
    assert "| 0/1 | 8 | 64 | 3 | .50 |" in page(some, [])


def test_worlds_near_a_bound_tell_of_flips_alone():
    """Two of three pairs of draws differ in a world near .7; another is sure of its word."""
    near = [
        outcome(0, 0, 0.72, (0.71, 0.74, 0.8)),
        outcome(0, 1, 0.72, (0.6, 0.7, 0.75)),
        outcome(0, 2, 0.72, (0.6, 0.7, 0.75)),
        *(outcome(1, draw, 0.28, (0.1, 0.2, 0.25)) for draw in (0, 1)),
    ]
    any_world = [outcome(0, 0, 0.72, (0.71, 0.74, 0.8)), outcome(2, 0, 0.9, (0.8, 0.85, 0.95))]
    (cell,) = cells([*any_world, *({**line, "near": True} for line in near)])
    assert cell.flips() == (pytest.approx((2 / 3 + 0) / 2), 2)
    assert cell.coverage("median") == 1.0
    assert cell.said("dominated", -1, 0.3) is None


def test_a_run_of_worlds_near_a_bound_keeps_no_other(tmp_path):
    path = tmp_path / "near.jsonl"
    command.run(path, command.Plan(["0/1"], [4], [16], worlds=12, draws=2, seed=3, near=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines
    for line in lines:
        truth = line["truth"]["median"]
        assert line["near"]
        assert min(abs(truth - 0.7), abs(truth - 0.3)) <= NEAR
    assert len({line["cell"][3] for line in lines}) < 12


def test_a_second_run_goes_on(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    plan = command.Plan(["0/1"], [4], [64, 128], worlds=1, draws=1, seed=3)
    command.run(path, plan)
    whole = path.read_text()
    path.write_text(whole.splitlines(keepends=True)[0] + '{"cell": [')
    command.run(path, plan)
    again, first = (
        [json.loads(line)["cell"] for line in text.splitlines()]
        for text in (path.read_text(), whole)
    )
    assert again == first
