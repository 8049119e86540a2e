"""Scales, ticks and numbers for people."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base.text import DASH, fixed, large, percent, plainly
from tod.show.figures.scales import Scale, nice

finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def test_ends_map_to_ends_and_outside_stays_on_the_edge():
    scale = Scale((2.0, 4.0), (100.0, 0.0))
    assert [scale(v) for v in (2, 3, 4, 9, -9)] == [100, 50, 0, 0, 100]


def test_log_scale_is_even_in_factors():
    scale = Scale((0.1, 10.0), (0.0, 2.0), log=True)
    assert scale(1.0) == pytest.approx(1.0)
    assert scale.ticks() == pytest.approx([0.1, 1.0, 10.0])


@given(finite, finite)
def test_ticks_lie_inside_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6 * max(1.0, abs(low), abs(high)):
        return
    ticks = Scale((low, high), (0.0, 1.0)).ticks(5)
    slack = 1e-6 * (high - low)
    assert 1 <= len(ticks) <= 12
    assert all(low - slack <= tick <= high + slack for tick in ticks)


@given(st.lists(st.none() | finite, max_size=8))
def test_nice_domain_holds_everything(values):
    low, high = nice(values)
    assert low < high
    slack = 1e-8 * (high - low)
    assert all(low - slack <= v <= high + slack for v in values if v is not None)
    assert low <= 0 <= high


def test_unknown_is_a_dash_never_zero():
    for show in (plainly, fixed, percent, large):
        assert show(None) == DASH
        assert show(math.nan) == DASH
        assert show(0.0) != DASH


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.5, "0.5"),
        (1234.5, "1,234"),
        (-0.25, "−0.25"),
        (9.996, "10"),
        (1e-9, "1e−9"),
        (2e7, "2e7"),
    ],
)
def test_three_digits(value, said):
    assert plainly(value) == said


def test_counts_have_units():
    assert large(12_345) == "12.3 k"
    assert large(9_999) == "9,999"
    assert large(3.7e12) == "3.7 T"
