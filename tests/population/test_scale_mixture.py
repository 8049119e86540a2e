"""The law of scales against quadrature, and on draws whose scales are known."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2, norm

from tod.population.scale_mixture import (
    ENDS,
    STEP,
    TAU,
    ScaleLaw,
    _groups_at_points,
    _log_density,
    _posterior,
    degrees_of_freedom,
    scale_law,
)
from tolerance import chance, double, printed

WIDTH = 1 / 16


def density(y: float, nu: float, tau: float) -> float:
    """Density of ½ ln k2 − m: that of ½ ln(χ²_ν/ν) mixed over N(0, τ), by adaptive quadrature."""

    def at(x: float) -> float:
        square = math.exp(2 * (y - x))
        return norm.pdf(x, scale=tau) * chi2.pdf(nu * square, nu) * 2 * nu * square

    near = [p for p in (-2 * tau, 0.0, y, 2 * tau) if abs(p) < 8 * tau]
    return quad(at, -8 * tau, 8 * tau, points=near, epsabs=1e-12, epsrel=1e-10, limit=400)[0]


@pytest.mark.parametrize("nu", [1.0, 4.2, 7.0, 63.0, 252.0])
@pytest.mark.parametrize("tau", [0.03, 0.2, 1.5])
def test_density_by_quadrature(nu, tau):
    table = np.exp(_log_density(nu, np.array([tau]), 0.0)[:, 0])
    grid = (np.arange(len(table)) - len(table) // 2) * STEP
    wanted = [i for i in range(len(grid)) if abs(grid[i]) < 3][:: len(grid) // 40]
    got, want = table[wanted], [density(grid[i], nu, tau) for i in wanted]
    # equal steps are exact to exp(−2π²·(sd/step)²) of these sds; the rest wraps at −8
    wrapped = density(-8.0, nu, tau) + chi2.cdf(nu * math.exp(-16), nu)
    np.testing.assert_allclose(got, want, rtol=printed(6), atol=printed(9) + wrapped)


def test_posterior_by_quadrature():
    log_k2, groups = np.array([-1.0, -0.25, 0.5, 1.5]), np.array([3, 8, 5, 2])
    m, tau = np.linspace(-0.5, 0.7, 5), np.geomspace(*TAU, 5)
    got = _posterior({8: (log_k2, groups)}, 0.0, 0.5, m, tau)
    nu = degrees_of_freedom(8, 0.5)
    log_p = np.array(
        [[groups @ np.log([density(y / 2 - a, nu, t) for y in log_k2]) for t in tau] for a in m]
    )
    want = np.exp(log_p - log_p.max())
    # a table of logarithms is read between its points: curvature·step²/8 of every group at most
    near = groups.sum() * (nu + 1 / TAU[0]) * STEP**2 / 8
    np.testing.assert_allclose(got.mass, want / want.sum(), rtol=near, atol=double(8))


def test_unequal_sizes_are_one_product():
    one, two = (np.array([0.1, 0.7]), np.array([4, 6])), (np.array([-0.4]), np.array([9]))
    m, tau = np.linspace(-1, 1, 9), np.geomspace(*TAU, 6)
    both = _posterior({4: one, 16: two}, WIDTH, 0.0, m, tau).mass
    apart = [_posterior({k: x}, WIDTH, 0.0, m, tau).mass for k, x in ((4, one), (16, two))]
    product = apart[0] * apart[1]
    np.testing.assert_allclose(both, product / product.sum(), rtol=double(400, 30), atol=double(4))


def test_the_refined_grid_gives_what_a_wide_fine_one_gives(rng):
    log_k2 = 0.8 * rng.normal(size=40)
    cells = {8: (log_k2, np.ones(40, dtype=np.int64))}
    fine = _posterior(cells, WIDTH, 0.0, np.linspace(-1.2, 1.2, 401), np.geomspace(*TAU, 201))
    law = scale_law(cells, WIDTH, 0.0)
    step = law.m[1] - law.m[0]
    for share in (0.5, 0.9):
        got, want = (np.log(x.quantile(share)) for x in (law, fine))
        np.testing.assert_allclose(got, want, rtol=0, atol=step / 2)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_the_grid_resolves_a_law_of_many_groups(rng, tau):
    log_k2 = np.log(rng.chisquare(7, size=100_000) / 7) + 2 * tau * rng.normal(size=100_000)
    cells, count = np.unique(np.rint(log_k2 / WIDTH), return_counts=True)
    law = scale_law({8: (cells * WIDTH, count)}, WIDTH, 0.0)
    m = np.linspace(law.m[0] - 0.01, law.m[-1] + 0.01, 201)
    fine_tau = np.geomspace(0.9 * law.tau[0], 1.1 * law.tau[-1], 201)
    fine = _posterior({8: (cells * WIDTH, count)}, WIDTH, 0.0, m, fine_tau)
    for share in (0.5, 0.9):
        got, want = (np.log(x.quantile(share)) for x in (law, fine))
        # the coarser grid places every value to half a step
        step = max(law.m[1] - law.m[0], law.tau[1] - law.tau[0])
        np.testing.assert_allclose(got, want, rtol=0, atol=step / 2)


def test_groups_between_two_points_are_shared(rng):
    d, groups = rng.uniform(-20, 20, size=(3, 40)), rng.integers(1, 9, size=40)
    points = np.arange(1024)
    table = np.sin(points / 50)
    place = np.clip(d / STEP + 512, 0, 1023)
    want = (groups * np.interp(place, points, table)).sum(axis=1)
    # places past the last point are read a thousandth of a step before it
    near = groups.sum() * 1e-3 / 50
    assert _groups_at_points(d, groups) @ table == pytest.approx(want, rel=0, abs=near)


@pytest.mark.parametrize(("kurtosis", "size", "want"), [(0, 8, 7), (-1.2, 64, 153.893), (50, 4, 1)])
def test_degrees_of_freedom(kurtosis, size, want):
    assert degrees_of_freedom(size, kurtosis) == pytest.approx(want, abs=printed(3))


@pytest.mark.parametrize("size", [4, 8, 64])
def test_the_law_is_that_of_many_groups(rng, size):
    groups, m, tau = 20_000, -0.3, 0.5
    sigma = np.exp(m + tau * rng.normal(size=groups))
    log_k2 = np.log(rng.chisquare(size - 1, size=groups) / (size - 1) * sigma**2)
    cells, count = np.unique(np.rint(log_k2 / WIDTH), return_counts=True)
    law = scale_law({size: (cells * WIDTH, count)}, WIDTH, 0.0)
    spread = math.sqrt(tau**2 + 1 / (size - 1.5))
    for share, z in ((0.5, 0.0), (0.9, 1.2816)):
        low, middle, high = np.log(law.quantile(share))
        # three values of one posterior, some standard errors wide
        assert low < middle < high
        near = chance(spread * (1 + 2 * abs(z)), groups)
        assert middle == pytest.approx(m + z * tau, abs=near)
        assert high - low == pytest.approx(0, abs=2 * near)


def test_a_quantile_interpolates_its_posterior():
    law = ScaleLaw(np.array([0.0, 1.0]), np.array([0.5]), np.array([[0.5], [0.5]]))
    below = np.array([0.25, 0.75])
    want = np.exp(np.interp(ENDS, below, [0.0, 1.0]))
    assert law.quantile(0.5) == pytest.approx(want.tolist(), rel=double(8))


def test_an_outlier_does_not_break_it(rng):
    log_k2 = np.append(0.5 * rng.normal(size=60), [-80.0])
    law = scale_law({8: (log_k2, np.ones(61, dtype=np.int64))}, WIDTH, 0.0)
    assert np.isfinite(law.mass).all()
    assert law.quantile(0.5)[0] > 0.5
