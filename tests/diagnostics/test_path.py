"""The path from the anchor to the target: where a policy is on it, and how far off."""

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import Path, path_of, path_sums
from tod.study.world import make_world, normalised
from tolerance import double, of_weights

CONTEXTS, SIZE, ETA = 12, 16, 4.0
NEAR = of_weights("float64", CONTEXTS * SIZE, 40.0)


@pytest.fixture(scope="module")
def drawn():
    """Utilities and log b of candidates drawn from the base, and everything in their contexts."""
    world = make_world(7, vocabulary=4, length=3, contexts=CONTEXTS)
    rng = np.random.default_rng(1)
    rows = np.stack([rng.choice(64, SIZE, p=np.exp(b)) for b in world.base])
    return world, rows


def read(world, rows, log_pi, constant=0.0, log_mu=None):
    """The path of candidates at some rows, against π and an anchor known up to Z(c)."""
    at = np.arange(CONTEXTS)[:, None], rows
    gap = (log_pi - world.base)[at] + constant
    log_r = None if log_mu is None else (log_pi - log_mu)[at].ravel()
    contexts = Groups.equal(CONTEXTS, SIZE)
    some = np.ones(CONTEXTS, dtype=bool)
    tilt = ETA * world.utility[at].ravel()
    return path_of(tilt, gap.ravel(), log_r, contexts, some, eta=ETA)


@pytest.mark.parametrize("eta", [0.0, 1.0, 4.0, 5.5])
def test_on_the_path_there_is_no_damage_and_the_place_is_found(drawn, eta):
    world, rows = drawn
    found = read(world, rows, world.target(eta), log_mu=world.base)
    assert found.delta == pytest.approx(0.0, abs=NEAR)
    assert found.within == pytest.approx(0.0, abs=NEAR)
    assert found.eta_hat == pytest.approx(eta, abs=NEAR)
    variance = np.mean([np.var(u[r], ddof=1) for u, r in zip(world.utility, rows, strict=True)])
    assert found.lag == pytest.approx((ETA - eta) ** 2 * variance, abs=NEAR * 16)
    assert found.variance == pytest.approx(ETA**2 * variance, rel=NEAR)


def test_the_normaliser_of_a_context_is_no_matter(drawn):
    world, rows = drawn
    away = normalised(world.target(2.0) + 0.5 * np.sin(np.arange(64)))
    constant = np.linspace(-300, 300, CONTEXTS)[:, None]
    plain, moved = read(world, rows, away), read(world, rows, away, constant)
    for name in ("delta", "within", "eta_hat", "lag"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name), rel=NEAR * 300), name


def test_damage_grows_when_a_mode_is_taken_from_the_policy(drawn):
    world, rows = drawn
    law, found = world.target(2.0), []
    best = np.argsort(-world.utility, axis=1)[:, :8]
    for loss in (0.0, 1.0, 3.0):
        less = law.copy()
        np.put_along_axis(less, best, np.take_along_axis(law, best, axis=1) - loss, axis=1)
        found.append(read(world, rows, normalised(less), log_mu=world.base))
    assert found[0].delta < found[1].delta < found[2].delta
    assert found[0].ess_best > found[1].ess_best > found[2].ess_best


def test_damage_is_what_ordinary_least_squares_leaves(drawn):
    world, rows = drawn
    at = np.arange(CONTEXTS)[:, None], rows
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((CONTEXTS, 64))
    found = read(world, rows, normalised(world.target(1.0) + noise))
    y = (normalised(world.target(1.0) + noise) - world.base)[at]
    x = ETA * world.utility[at]
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    (slope,), (left,), *_ = np.linalg.lstsq(x.reshape(-1, 1), y.ravel(), rcond=None)
    assert found.progress == pytest.approx(slope, rel=NEAR)
    assert found.delta == pytest.approx(left / (SIZE - 1) / CONTEXTS, rel=NEAR)
    own = [np.linalg.lstsq(a[:, None], b, rcond=None)[1][0] for a, b in zip(x, y, strict=True)]
    assert found.within == pytest.approx(np.mean(own) / (SIZE - 2), rel=NEAR)


def test_the_largest_ess_is_where_the_policy_is(drawn):
    world, rows = drawn
    found = read(world, rows, world.target(3.0), log_mu=world.base)
    bracket = 0.4 * ((5**0.5 - 1) / 2) ** 8  # two cells of the grid after eight golden sections
    assert found.eta_best == pytest.approx(3.0, abs=ETA * bracket)
    assert 1.0 >= found.ess_best >= np.exp(-2 * found.variance * bracket**2)


def test_slopes_of_contexts_that_differ_are_damage_only_when_pooled(drawn):
    world, rows = drawn
    own = np.linspace(0.5, 3.5, CONTEXTS)[:, None]
    found = read(world, rows, normalised(world.base + own * world.utility))
    assert found.within == pytest.approx(0.0, abs=NEAR)
    assert found.delta > 0.1


def test_several_steps_have_a_slope_each(drawn):
    world, rows = drawn
    at = np.arange(CONTEXTS)[:, None], rows
    own = np.repeat([1.0, 3.0], CONTEXTS // 2)[:, None]
    gap = (normalised(world.base + own * world.utility) - world.base)[at].ravel()
    tilt, contexts = ETA * world.utility[at].ravel(), Groups.equal(CONTEXTS, SIZE)
    step = np.repeat([4, 7], CONTEXTS // 2)
    some = np.ones(CONTEXTS, dtype=bool)
    found = path_of(tilt, gap, None, contexts, some, eta=ETA, step=step)
    assert found.delta == pytest.approx(0.0, abs=NEAR)
    assert found.eta_hat == pytest.approx(2.0, rel=NEAR)
    assert path_of(tilt, gap, None, contexts, some, eta=ETA).delta > 0.1


def test_what_cannot_be_read_is_none_and_not_zero():
    contexts = Groups.equal(2, 2)
    x, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0, -np.inf])
    assert path_of(x, y, None, contexts, np.zeros(2, dtype=bool)) is None
    found = path_of(x, y, None, contexts, np.ones(2, dtype=bool))
    assert found == Path(None, 1.0, 0.0, 0.0, None, 0.5, 1.0, None, 1)
    assert np.isnan(path_sums(np.zeros(4), x, contexts).slope)


def test_sums_of_runs_side_by_side_are_those_of_each():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 3, 5, 8))
    sums = path_sums(x.ravel(), y.ravel(), Groups.equal(15, 8))
    stacked = type(sums)(
        *(getattr(sums, n).reshape(3, 5) for n in ("size", "tilt", "cross", "gap"))
    )
    for i in range(3):
        alone = path_sums(x[i].ravel(), y[i].ravel(), Groups.equal(5, 8))
        for name in ("slope", "lag", "delta", "within", "variance"):
            assert getattr(stacked, name)[i] == pytest.approx(getattr(alone, name), rel=double(40))
