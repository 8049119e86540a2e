"""The probe against closed forms, and the planted probe that must lose its power."""

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.diagnostics import ProbeReading, read_probe
from tolerance import chance, double

C, SIZE = 12, 24


@pytest.fixture
def worlds() -> tuple[np.ndarray, np.ndarray]:
    """Utilities and log b of every outcome, [C, SIZE]: all outcomes are enumerated."""
    rng = np.random.default_rng(4)
    u = rng.normal(size=(C, SIZE))
    b = rng.gumbel(size=(C, SIZE))
    return u, b - np.logaddexp.reduce(b, axis=1, keepdims=True)


def normalised(log_p: np.ndarray) -> np.ndarray:
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)


def draws(log_p: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Places of outcomes, [C, size]."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(SIZE, size, p=np.exp(row)) for row in log_p])


def reading(u: np.ndarray, b: np.ndarray, pi: np.ndarray, at: np.ndarray) -> ProbeReading:
    u, b, pi = (np.take_along_axis(v, at, axis=1).ravel() for v in (u, b, pi))
    return read_probe(u, b, pi, Groups.equal(*at.shape))


@pytest.mark.parametrize("eta", [0.0, 0.7, 4.0])
def test_on_the_path_delta_is_zero_and_eta_is_its_own(worlds, eta: float) -> None:
    """π = b·exp(ηU)/Z(c), whatever is added to log π of a context (here log Z and more)."""
    u, b = worlds
    at = draws(b, 8)
    shift = np.linspace(-30, 30, C)[:, None]
    for pi in (normalised(b + eta * u), b + eta * u + shift):
        found = reading(u, b, pi, at)
        near = double(C * SIZE, condition=60)
        assert found.eta == pytest.approx(eta, abs=near)
        assert found.delta == pytest.approx(0.0, abs=near)
        assert (found.contexts, found.candidates) == (C, C * 8)


def test_eta_and_delta_against_a_regression_by_hand() -> None:
    """Two contexts, of three and two candidates; a third without information is left out."""
    x, y = [1.0, 0.0, -1.0, 2.0, 0.0, 3.0, 3.0], [2.0, 0.5, -1.0, 1.0, 0.0, 9.0, -9.0]
    found = read_probe(np.array(x), np.zeros(7), np.array(y), Groups(np.array([3, 2, 2])))
    # centred: x (1, 0, -1), (1, -1); y (1.5, 0, -1.5), (.5, -.5): slope (3 + 1)/(2 + 2) = 1
    assert found.eta == pytest.approx(1.0, abs=double(8))
    # rest (.5, 0, -.5) and (-.5, .5): .5/2 and .5/1
    assert found.delta == pytest.approx((0.25 + 0.5) / 2, abs=double(8))
    gaps = np.array([-0.5, -0.5, 0.0])
    assert found.kl == pytest.approx(gaps.mean(), abs=double(8))
    assert found.kl_error == pytest.approx(np.std(gaps, ddof=1) / 3**0.5, abs=double(8))


def test_the_kl_is_that_of_the_reference_to_the_policy(worlds) -> None:
    u, b = worlds
    pi = normalised(b + 1.5 * u)
    exact = float((np.exp(b) * (b - pi)).sum(axis=1).mean())
    found = reading(u, b, pi, draws(b, 4000))
    spread = float(np.sqrt((np.exp(b) * (b - pi) ** 2).sum(axis=1).max()))
    assert found.kl == pytest.approx(exact, abs=chance(spread, C * 4000))


def without_a_mode(b: np.ndarray, pi: np.ndarray, mass: float) -> np.ndarray:
    """The policy with the reference's likeliest outcome of every context at this share of it."""
    fallen = pi.copy()
    top = b.argmax(axis=1)
    fallen[np.arange(C), top] += np.log(mass) if mass else -np.inf
    return normalised(fallen)


def test_damage_grows_as_a_mode_goes_and_a_probe_of_the_policy_does_not_see_it(worlds) -> None:
    u, b = worlds
    pi = normalised(b + u)
    at = draws(b, 16)
    shares = (1.0, 0.3, 0.03, 1e-3, 1e-8)
    deltas, kls, own = [], [], []
    for share in shares:
        fallen = without_a_mode(b, pi, share)
        found = reading(u, b, fallen, at)
        deltas.append(found.delta)
        kls.append(found.kl)
        own.append(reading(u, b, fallen, draws(fallen, 16)).delta)
    assert deltas == sorted(deltas)
    assert kls == sorted(kls)
    # a mode of share p that is down by ln s adds about p·(1-p)·ln² s in its context
    assert deltas[-1] > 1.0
    assert own[-1] < 0.01 * deltas[-1], "candidates of the policy hold nothing of what is gone"
    gone = reading(u, b, without_a_mode(b, pi, 0.0), at)
    assert (gone.eta, gone.delta, gone.kl) == (None, np.inf, np.inf)


def test_without_information_there_is_no_damage_to_read() -> None:
    found = read_probe(np.ones(6), np.zeros(6), np.arange(6.0), Groups.equal(2, 3))
    assert (found.eta, found.delta, found.contexts) == (None, None, 0)
    assert found.kl == pytest.approx(-2.5, abs=double(6))
    assert read_probe(np.ones(0), np.ones(0), np.ones(0), Groups.equal(0, 1)).kl is None


@pytest.mark.parametrize(("place", "value"), [(0, np.nan), (1, -np.inf), (2, np.nan), (2, np.inf)])
def test_numbers_that_no_probe_can_hold_are_refused(place: int, value: float) -> None:
    columns = [np.zeros(4), np.zeros(4), np.zeros(4)]
    columns[place][2] = value
    name = ("utility", "log_reference", "log_policy")[place]
    with pytest.raises(DataError, match=f"{name} of candidate 2 of the probe"):
        read_probe(*columns, Groups.equal(2, 2))
