"""Planted runs: what they hold, and that findings name them, date them and leave health alone."""

from dataclasses import replace

import numpy as np
import pytest

from tod.findings import find
from tod.findings.detector import detectors
from tod.findings.detectors.learning_end import LearningEndDetector
from tod.findings.planted import FAULTS, HEALTHY, PlantedOutcome, outcome, summary
from tod.findings.planted.outcomes import compared
from tod.findings.rollout_series import series_of

EVERY = FAULTS + HEALTHY
BY_NAME = {scenario.name: scenario for scenario in EVERY}
FEW = range(2)
MANY = range(100, 125)


def test_there_are_enough_and_each_has_a_name_and_a_detector():
    assert len(FAULTS) >= 30
    assert len(HEALTHY) >= 12
    assert len(BY_NAME) == len(EVERY)
    known = {kind for d in detectors() for kind in (d.kinds or (d.kind,))}
    assert all(set(scenario.kinds) & known for scenario in FAULTS)
    assert not any(scenario.kinds for scenario in HEALTHY)


@pytest.mark.parametrize("scenario", EVERY, ids=lambda s: s.name)
def test_equal_seeds_plant_equal_runs_within_their_sizes(scenario):
    first, second, other = scenario.plant(0), scenario.plant(0), scenario.plant(1)
    assert first.truth == second.truth
    for name, series in first.run.series.items():
        np.testing.assert_array_equal(series.values, second.run.series[name].values)
    sizes = scenario.sizes
    for planted in (first, other):
        steps = planted.run.steps if planted.run.rollouts is None else planted.run.rollouts.steps
        assert sizes.steps[0] <= len(steps) <= sizes.steps[1]
        truth = planted.truth
        if truth is not None and truth.step is not None:
            assert steps[3] <= truth.step <= steps[-3]
    if first.run.rollouts is not None:
        np.testing.assert_array_equal(first.run.rollouts.reward, second.run.rollouts.reward)
        assert len(first.run.rollouts.reward) <= 40_000


@pytest.mark.parametrize("seed", FEW)
def test_a_jump_changes_nothing_before_its_step(seed):
    broken = BY_NAME["every answer fails"].plant(seed)
    whole = replace(BY_NAME["every answer fails"], after=None).plant(seed)
    assert broken.truth is not None
    assert broken.run.rollouts is not None
    assert whole.run.rollouts is not None
    rows = broken.run.rollouts.step_of_row < broken.truth.step
    np.testing.assert_array_equal(broken.run.rollouts.reward[rows], whole.run.rollouts.reward[rows])
    assert not broken.run.rollouts.reward[~rows].any()
    assert whole.run.rollouts.reward[~rows].any()


@pytest.mark.parametrize("seed", FEW)
@pytest.mark.parametrize("factor", [2, 4, 12])
def test_planted_lengths_grow_by_their_factor(seed, factor):
    planted = BY_NAME[f"length x{factor}"].plant(seed)
    assert planted.run.rollouts is not None
    length = series_of(planted.run.rollouts)["length"]
    ratio = length.values[-1] / np.median(length.values[length.steps < planted.truth.step])
    # the drift of a healthy run moves the length by −18 % to +35 %, its noise by 3 %, rows by less
    assert 0.7 * factor < ratio < 1.6 * factor


def test_outcomes_compare_with_the_truth():
    planted = BY_NAME["every answer fails"].plant(0)
    said = compared("x", 0, planted, find(planted.run))
    assert said.named
    assert said.named_first
    assert said.error == 0
    assert said.covered
    later = replace(planted, truth=replace(planted.truth, step=planted.truth.step - 5))
    said = compared("x", 0, later, find(planted.run))
    assert said.error == 5
    assert not said.covered
    other = replace(planted, truth=replace(planted.truth, kinds=("noise",)))
    said = compared("x", 0, other, find(planted.run))
    assert not said.named
    assert said.error is None
    assert PlantedOutcome.of(said.to_dict()) == said


def test_few_runs_of_every_scenario_reach_their_bounds():
    said = summary(EVERY, [outcome(scenario, seed) for scenario in EVERY for seed in FEW])
    assert said.missed == ()
    first = sum(tally.first for tally in said.faults)
    assert first >= 0.85 * sum(tally.runs for tally in said.faults)
    assert said.false_critical == 0


def test_a_detector_that_sees_nothing_is_below_its_bound(monkeypatch):
    monkeypatch.setattr(LearningEndDetector, "look", lambda self, run: ())
    scenario = BY_NAME["every answer fails"]
    said = summary([scenario], [outcome(scenario, seed) for seed in range(3)])
    assert not said.passed
    assert said.missed == ("every answer fails: named in 0 of 3, not 95%",)


def test_alarms_on_healthy_runs_are_counted_together(monkeypatch):
    fail = BY_NAME["every answer fails"]
    alarming = [replace(fail, kinds=(), name=scenario.name) for scenario in HEALTHY[:4]]
    said = summary(alarming, [outcome(scenario, seed) for scenario in alarming for seed in FEW])
    assert said.false_faults == said.healthy_runs == 8
    assert said.false["all_fail"] == 8
    assert "a fault in 8 of 8 healthy runs, not 2.0%" in said.missed


@pytest.mark.slow
@pytest.mark.parametrize("scenario", FAULTS, ids=lambda s: s.name)
def test_a_planted_fault_reaches_its_bounds(scenario):
    said = summary([scenario], [outcome(scenario, seed) for seed in MANY])
    assert said.missed == ()


@pytest.mark.slow
def test_healthy_runs_have_no_fault():
    said = summary(HEALTHY, [outcome(scenario, seed) for scenario in HEALTHY for seed in MANY])
    assert said.missed == (), said.false
