"""What a gap between two engines is: planted in numbers, against sums written out by hand."""

import math

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.diagnostics import Alternative, in_sync
from tod.diagnostics.sync import _coefficient
from tolerance import double

ROWS = Groups.equal(8, 12)
RNG = np.random.default_rng(5)
POLICY = -RNG.gamma(1.0, 1.0, 96)
OLDER = POLICY + 0.05 * RNG.standard_normal(96)
OLDEST = OLDER + 0.2 * RNG.standard_normal(96)
KNOWN = [
    Alternative("initial", "those of the start", OLDEST),
    Alternative("stale", "1 version old", OLDER),
]


def rounded(values, noise, seed=0):
    return values + noise * np.random.default_rng(seed).standard_normal(len(values))


def test_the_coefficient_is_the_regression_through_zero_with_white_s_error():
    gap, change = np.array([0.1, -0.2, 0.4]), np.array([0.2, -0.1, 0.5])
    alpha, error = _coefficient(gap, change)
    by_hand = (0.02 + 0.02 + 0.2) / (0.04 + 0.01 + 0.25)
    left = [0.1 - 0.2 * by_hand, -0.2 + 0.1 * by_hand, 0.4 - 0.5 * by_hand]
    spread = (0.2 * left[0]) ** 2 + (0.1 * left[1]) ** 2 + (0.5 * left[2]) ** 2
    assert alpha == pytest.approx(by_hand, rel=double(8), abs=0)
    # α of error double(8) enters each residual, d − αΔ, whose parts are up to ten times as large
    assert error == pytest.approx(math.sqrt(spread) / 0.3, rel=double(24, 10), abs=0)
    assert _coefficient(gap, np.zeros(3)) == (0.0, math.inf)


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 1e-2])
def test_the_same_weights_are_noise_and_older_ones_are_told(noise):
    said = [
        in_sync(rounded(held, noise), POLICY, ROWS, noise=noise, alternatives=KNOWN)
        for held in (POLICY, OLDER, OLDEST)
    ]
    assert [one.kind for one in said] == ["noise", "stale", "initial"]
    assert [one.name for one in said] == ["", "1 version old", "those of the start"]
    assert said[0].good
    assert said[0].hidden == ()


def test_older_weights_are_told_within_what_rounding_may_be():
    """The whole gap is less than half precision's: only its direction tells."""
    said = in_sync(rounded(OLDER, 0.02), POLICY, ROWS, noise=0.03, alternatives=KNOWN)
    assert said.rms < said.limit
    assert said.kind == "stale"


def test_what_is_too_close_is_said_and_not_guessed():
    near = POLICY + 1e-4 * RNG.standard_normal(96)
    known = [Alternative("stale", "1 version old", near)]
    said = in_sync(rounded(POLICY, 0.02), POLICY, ROWS, noise=0.02, alternatives=known)
    assert said.kind == "noise"
    assert said.hidden == ("1 version old",)


def test_alternatives_that_fit_as_well_are_named():
    twin = Alternative("stale", "2 versions old", OLDER + 1e-9)
    said = in_sync(rounded(OLDER, 1e-4), POLICY, ROWS, noise=1e-4, alternatives=[*KNOWN, twin])
    assert {said.name, *said.also} == {"1 version old", "2 versions old"}


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (POLICY - np.minimum(np.log(0.9), -0.05) * (POLICY > -2), "truncated"),
        (1.4 * POLICY + 0.2, "temperature"),
        (POLICY + 0.1 * RNG.standard_normal(96), "weights"),
    ],
)
def test_without_an_alternative_the_shape_is_read(held, kind):
    assert in_sync(held, POLICY, ROWS, noise=1e-5).kind == kind


def test_tokens_that_mean_something_else_here():
    """The server's own draws are likely to it and, read by another vocabulary, unlikely here."""
    assert in_sync(np.roll(POLICY, 5), 4 * POLICY - 1, ROWS, noise=1e-5).kind == "other_tokens"


def test_few_tokens_far_off_are_a_router_only_where_there_are_experts():
    held = rounded(POLICY, 1e-4)
    held[[7, 19, 50, 59]] += [0.4, 0.3, -0.3, 0.5]
    assert in_sync(held, POLICY, ROWS, noise=1e-5, experts=True).kind == "router"
    assert in_sync(held, POLICY, ROWS, noise=1e-5).kind == "weights"


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(DataError, match=r"\[4, 96\]"):
        in_sync(POLICY[:4], POLICY, ROWS, noise=1e-5)
