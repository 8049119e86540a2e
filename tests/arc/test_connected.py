"""Knobs that are connected to nothing are refused, each for its own reason."""

import pytest

from tod.arc import ArcConfig, check_connected
from tod.base import SpecError

LIVE = {
    "advantage": "group_mean",
    "updates_per_batch": 4,
    "pull": "residual",
    "refresh": 1,
    "target_kind": "two_anchor",
    "beta": 0.05,
}
ANCHORS, ETA = ArcConfig(knob="anchors"), ArcConfig()
TILT = {**LIVE, "target_kind": "tilt", "beta": None}


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (ANCHORS, LIVE),
        (ANCHORS, {**LIVE, "beta": 0.0}),
        (ANCHORS, {**LIVE, "updates_per_batch": 1}),
        (ANCHORS, {**LIVE, "pull": "residual_old"}),
        (ANCHORS, {**LIVE, "advantage": None, "pull": None, "updates_per_batch": 1, "beta": 0.0}),
        (ANCHORS, {**LIVE, "advantage": "weights", "pull": None, "beta": 0.0}),
        (ETA, TILT),
        (ETA, {**TILT, "advantage": "leave_one_out", "refresh": 8}),
        (ArcConfig(knob="both"), TILT),
    ],
)
def test_live_knobs_pass(config, changes):
    assert check_connected(config, **changes) is None


@pytest.mark.parametrize(
    ("config", "changes", "reason", "way_out"),
    [
        (ETA, {**TILT, "advantage": "group_zscore"}, "divides eta out", "group_mean"),
        (ETA, {**TILT, "advantage": "batch_zscore"}, "divides eta out", "group_mean"),
        (ANCHORS, {**LIVE, "advantage": "group_zscore"}, r"1/\(tau\+beta\) out", "group_mean"),
        (ETA, {**TILT, "pull": "none"}, "only rescale the step", "residual"),
        (ANCHORS, {**LIVE, "pull": None}, "only rescale the step", "residual"),
        (ANCHORS, {**LIVE, "beta": 0.0, "updates_per_batch": 1}, "toward nothing", "two or more"),
        (ANCHORS, {**LIVE, "beta": None, "updates_per_batch": 1}, "toward nothing", "two or more"),
        (ANCHORS, {**LIVE, "beta": 0.0, "pull": "residual:old"}, "dead knob", "at: current"),
        (ANCHORS, {**LIVE, "beta": 0.0, "pull": "frozen"}, "dead knob", "at: current"),
        (ETA, LIVE, "no eta of its own", "knob: anchors"),
        (ANCHORS, TILT, "no tau and beta", "knob: eta"),
        (ETA, {**TILT, "refresh": None}, "never refreshed", "Set refresh"),
        (ETA, {**TILT, "refresh": 0}, "never refreshed", "Set refresh"),
        (ANCHORS, {**LIVE, "refresh": float("inf")}, "never refreshed", "Set refresh"),
    ],
)
def test_dead_knobs_are_refused_with_a_way_out(config, changes, reason, way_out):
    with pytest.raises(SpecError, match=reason) as caught:
        check_connected(config, **changes)
    assert way_out in str(caught.value)
