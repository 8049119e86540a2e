"""Alarms on planted series: when they ring, before what, and how often in health."""

import pytest

from tod.arc import Alarm, ArcConfig, alarms_of, rates, rings
from tod.arc.alarms import readings
from tolerance import double


@pytest.mark.parametrize("window", [1, 3])
def test_it_rings_where_the_mean_of_the_window_passes_the_bound(window):
    values = [0.1] * 10 + [1.0] * 10
    found = rings(Alarm("x", 0.5, above=True, window=window), range(1, 21), values, harm=15)
    # one of three at 1: mean .4; two of three: .7
    wanted = {1: 11, 3: 12}[window]
    assert (found.step, found.lead) == (wanted, 15 - wanted)
    assert found.value == pytest.approx({1: 1.0, 3: 0.7}[window], rel=double(4))


def test_below_and_relative_to_its_own_start():
    values = [2.0, 2.0, 1.5, 1.1, 0.9, 0.1]
    found = rings(Alarm("entropy", 0.5, above=False, of_start=True), range(6), values)
    assert (found.step, found.value, found.lead) == (4, 0.9, None)


def test_readings_that_are_not_there_are_left_out_and_without_any_nothing_is_known():
    values = [None, 0.1, None, None, 0.9, None]
    found = rings(Alarm("probe.delta", 0.5, above=True), range(1, 7), values)
    assert (found.step, found.readings) == (5, 2)
    none = rings(Alarm("probe.delta", 0.5, above=True), range(1, 7), [None] * 6)
    assert (none.step, none.readings) == (None, 0)
    short = rings(Alarm("x", 0.5, above=True, window=4), range(3), [1.0] * 3)
    assert (short.step, short.readings) == (None, 3)


def test_rates_count_catches_before_the_harm_and_false_alarms_in_health():
    alarm = Alarm("x", 0.5, above=True)

    def run(at, harm):
        values = [0.0] * 10 if at is None else [0.0] * at + [1.0] * (10 - at)
        return harm is not None, [rings(alarm, range(10), values, harm)]

    unread = (True, [rings(alarm, range(10), [None] * 10, 4)])
    runs = [run(2, 8), run(5, 8), run(9, 8), run(None, 8), run(3, None), run(None, None), unread]
    (found,) = rates(runs)
    assert (found.harmed, found.caught, found.lead) == (4, 2, 4.5)
    assert (found.healthy, found.false) == (2, 1)


def test_alarms_take_their_bounds_from_the_controller():
    config = ArcConfig(ess_target=0.6, drift_budget=2.0, activation_limit=None, window=2)
    found = {alarm.path: alarm for alarm in alarms_of(config)}
    assert found["ess_rel.median"] == Alarm("ess_rel.median", 0.6, above=False, window=2)
    assert found["drift.ref"].bound == 2.0
    assert "activation" not in found
    assert found["probe.delta"].window == 1


def test_figures_are_read_by_their_path():
    records = [{"probe": None}, {"probe": {"delta": 0.5}}, {"entropy": 1}]
    assert readings(records, "probe.delta") == [None, 0.5, None]
    assert readings(records, "entropy") == [None, None, 1.0]
