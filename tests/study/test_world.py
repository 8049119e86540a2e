"""Worlds: laws that are laws, utilities as promised, and the same ones every time."""

import numpy as np
import pytest

from tod.base import SpecError
from tod.study.distances import (
    best_sharpness,
    entropy,
    kl,
    overlap,
    total_variation,
    uncovered,
)
from tod.study.world import make_world, perturbed, proposal
from tolerance import double, of_weights, stated


def _moments(world):
    b = np.exp(world.base)
    mean = (b * world.utility).sum(axis=1)
    return mean, (b * world.utility**2).sum(axis=1) - mean**2


@pytest.mark.parametrize("shape", ["gaussian", "heavy"])
@pytest.mark.parametrize("ends", [False, True])
def test_a_utility_is_standardised_under_the_base(shape, ends):
    world = make_world(3, vocabulary=4, length=3, contexts=5, shape=shape, ends=ends)
    np.testing.assert_allclose(np.exp(world.base).sum(axis=1), 1.0)
    mean, variance = _moments(world)
    near = double(2 * 85, (np.abs(world.utility).max() + 1) ** 2)  # 85 sequences and fewer
    np.testing.assert_allclose(mean, 0.0, rtol=0, atol=near)
    np.testing.assert_allclose(variance, 1.0, rtol=near)


def test_a_heavy_tail_is_heavier():
    worlds = [make_world(5, shape=shape) for shape in ("gaussian", "heavy")]
    fourth = [float((np.exp(w.base) * w.utility**4).sum(axis=1).mean()) for w in worlds]
    assert fourth[1] > 2 * fourth[0]


def test_a_binary_utility_passes_no_more_than_it_must():
    world = make_world(4, shape="binary", success=0.05)
    b = np.exp(world.base)
    assert set(np.unique(world.utility)) == {0.0, 1.0}
    mass = (b * world.utility).sum(axis=1)
    least = np.where(world.utility > 0, b, np.inf).min(axis=1)
    assert (mass >= 0.05).all()
    assert (mass - b.max(axis=1) < 0.05).all()
    assert (least > 0).all()


def test_worlds_are_functions_of_their_number():
    one, again, other = (make_world(seed, contexts=2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.base, again.base)
    np.testing.assert_array_equal(one.utility, again.utility)
    assert np.abs(one.utility - other.utility).max() > 0.1


def test_success_outside_zero_one_is_refused():
    with pytest.raises(SpecError, match="success"):
        make_world(0, shape="binary", success=1.0)


def test_overlap_against_the_cumulant_generating_function(small):
    eta = 0.7
    b, u = np.exp(small.base), small.utility
    expected = (b * np.exp(eta * u)).sum(axis=1) ** 2 / (b * np.exp(2 * eta * u)).sum(axis=1)
    np.testing.assert_allclose(
        overlap(small.target(eta), small.base),
        expected,
        rtol=of_weights("float64", 27, 2 * eta * np.abs(u).max()),
    )


def test_distances_by_hand():
    p, q = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert total_variation(p, q)[0] == pytest.approx(0.4)
    assert kl(p, q)[0] == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1))
    assert entropy(p)[0] == pytest.approx(np.log(2.0))
    one = np.array([[0.0, -np.inf]])
    assert kl(one, p)[0] == pytest.approx(np.log(2.0))
    assert kl(p, one)[0] == np.inf
    assert overlap(p, one)[0] == 0.0
    assert uncovered(q, p, 3)[0] == pytest.approx(0.125)


@pytest.mark.parametrize("eta", [0.0, 0.37, 1.5, 6.1, 25.0])
def test_the_best_sharpness_of_a_tilt_is_its_own(small, eta):
    found, left = best_sharpness(small.target(eta), small.base, small.utility)
    # thirty golden sections of two gaps of the grid; TV has the slope ½E|U − Ū|
    width = stated(0.2, "two gaps of a tenth") * max(2, eta) * np.power(0.618, 30)
    q, u = np.exp(small.target(eta)), small.utility
    slope = 0.5 * (q * np.abs(u - (q * u).sum(axis=1, keepdims=True))).sum(axis=1).mean()
    rounded = double(27 + 8, 1 + eta * np.abs(u).max())
    assert left < width * slope + rounded
    assert found == pytest.approx(eta, abs=width + rounded / slope)


def test_the_best_sharpness_beats_its_neighbours(small):
    law = perturbed(small, 0.5)
    found, left = best_sharpness(law, small.base, small.utility)
    for other in (max(found - 0.05, 0.0), found + 0.05, found + 1.0):
        assert left <= float(total_variation(law, small.target(other)).mean()) + double(27 + 8, 40)


def test_proposals(small):
    eta = 1.2
    np.testing.assert_array_equal(proposal(small, "base", 0.0, eta), small.base)
    np.testing.assert_allclose(proposal(small, "tilt", 1.0, eta), small.target(eta))
    hole = proposal(small, "hole", 0.3, eta)
    q = np.exp(small.target(eta))
    missing = np.where(np.isneginf(hole), q, 0.0)
    assert (missing.sum(axis=1) >= 0.3).all()
    smallest = np.where(missing > 0, missing, np.inf).min(axis=1)
    assert (missing.sum(axis=1) - smallest < 0.3).all()
    np.testing.assert_allclose(np.exp(hole).sum(axis=1), 1.0)


@pytest.mark.parametrize("mass", [0.0, 1.0, 0.9999999])
def test_a_hole_that_is_none_or_everything_is_refused(small, mass):
    with pytest.raises(SpecError, match="hole"):
        proposal(small, "hole", mass, 1.0)
