"""When μ is refreshed, by every way to say it."""

import numpy as np
import pytest

from tod.base import SpecError
from tod.operators import Proposal, due
from tod.operators.proposals import LinearRefresh


def copies(refresh, steps=40):
    parsed = Proposal.parse({"refresh": refresh}).refresh
    return [step for step in range(1, steps + 1) if due(parsed, step)]


@pytest.mark.parametrize(
    ("refresh", "want"),
    [
        (1, list(range(1, 41))),
        (7, [1, 8, 15, 22, 29, 36]),
        (None, []),
        ([1, 1, 2, 4, 16], [1, 2, 3, 5, 9, 25]),
        ([9], [1, 10, 19, 28, 37]),
        ({"kind": "linear", "first": 1, "last": 1, "over": 3}, list(range(1, 41))),
        ({"kind": "linear", "first": 2, "last": 10, "over": 16}, [1, 3, 6, 10, 16, 26, 36]),
        ({"kind": "linear", "first": 9, "last": 1, "over": 20}, [1, 10, 15, 18, *range(20, 41)]),
    ],
)
def test_copies(refresh, want):
    assert copies(refresh) == want


def test_a_linear_schedule_is_numpys_interpolation():
    schedule = LinearRefresh(first=3, last=17, over=50)
    for step in (1, 2, 13, 50, 51, 90):
        want = round(float(np.interp(step - 1, [0, 50], [3, 17])))
        assert schedule.interval(step) == want


@pytest.mark.parametrize(
    ("refresh", "message"),
    [
        (0, "whole number of steps from 1"),
        (2.5, "whole number of steps from 1"),
        (True, "whole number of steps from 1"),
        ([1, 0], "whole number of steps from 1"),
        ([], "empty"),
        ({"kind": "linear", "first": 1}, "last: required.*over: required"),
        ({"kind": "linear", "first": 0, "last": 1, "over": 3}, "first"),
    ],
)
def test_what_is_no_schedule_is_refused_in_one_line(refresh, message):
    with pytest.raises(SpecError, match=message) as caught:
        Proposal.parse({"refresh": refresh})
    assert str(caught.value).startswith("refresh: ")
    assert "\n" not in str(caught.value)


def test_a_schedule_round_trips():
    for refresh in ([1, 2, 4], {"kind": "linear", "first": 1, "last": 8, "over": 60}):
        one = Proposal.parse({"refresh": refresh})
        assert Proposal.parse(one.model_dump(mode="json")) == one
