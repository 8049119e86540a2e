"""The catalog: each family against enumeration, an optimiser, its limits and reference values."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from tod.base import Groups, Spec, SpecError, to_numpy
from tod.candidates import Candidates
from tod.targets import ScalarReward, TargetSpec, TwoAnchor, Verifier
from tolerance import double, printed, unit_roundoff

OLD, REF, REWARD = [0.2, 0.5, 0.3], [0.4, 0.35, 0.25], [1.0, 0.0, 2.0]
TWO = TwoAnchor(tau=0.3, beta=0.1, utility="r")


@pytest.fixture
def three(backend):
    """Three outputs with known anchors; μ = π_old, one draw of each."""
    make = backend.make
    return Candidates(
        Groups.equal(1, 3),
        {"r": make(REWARD)},
        log_mu=make(np.log(OLD)),
        log_anchor={"old": make(np.log(OLD)), "ref": make(np.log(REF))},
    )


def tolerance(backend):
    return printed(10) + backend.of_weights(3, 5.0)  # log densities up to five nats


def test_two_anchor_reference_values(backend, three):
    tol, target = tolerance(backend), TWO.target
    assert TWO.eta == pytest.approx(2.5)
    log_q = to_numpy(target.log_density(three))
    np.testing.assert_allclose(log_q, [1.0638488827, -0.7823159165, 3.7504468065], rtol=0, atol=tol)
    q = to_numpy(three.contexts.softmax(target.log_density(three)))
    np.testing.assert_allclose(q, [0.0631333691, 0.0099650569, 0.9269015740], rtol=0, atol=tol)
    log_z = np.logaddexp.reduce(log_q)
    assert log_z == pytest.approx(3.8263547024, abs=tol)
    assert np.logaddexp.reduce(to_numpy(target.log_anchor(three))) == pytest.approx(
        -0.0183474189, abs=tol
    )
    assert 0.4 * log_z == pytest.approx(1.5305418810, abs=tol)
    log_w = to_numpy(target.log_weights(three))
    np.testing.assert_allclose(log_w, [2.6732867951, -0.0891687360, 4.9544196108], rtol=0, atol=tol)
    ess_rel = np.exp(log_w).sum() ** 2 / (3 * np.exp(2 * log_w).sum())
    assert ess_rel == pytest.approx(0.4054297676, abs=tol)
    chi2 = (q**2 / OLD).sum() - 1
    assert chi2 == pytest.approx(1.8839494758, abs=tol + 30 * backend.of_weights(3, 5.0))
    assert (q * np.log(q / OLD)).sum() == pytest.approx(
        0.9337896636, abs=tol + 10 * backend.of_weights(3, 5.0)
    )


@pytest.mark.parametrize(("tau", "beta"), [(0.3, 0.1), (0.0, 0.4), (0.7, 0.0), (0.05, 1.2)])
def test_two_anchor_target_maximises_the_regularised_reward(tau, beta):
    """L7: E r − τ·KL(π‖π_old) − β·KL(π‖π_ref), found by a numerical optimiser on logits."""
    old, ref, r = map(np.array, (OLD, REF, REWARD))

    def loss(z):
        log_pi = z - np.logaddexp.reduce(z)
        pi = np.exp(log_pi)
        inner = r - tau * (log_pi - np.log(old)) - beta * (log_pi - np.log(ref))
        # ∂J/∂z by hand: the score of a softmax, and E[∂ log π] = 0
        return -(pi * inner).sum(), -pi * (inner - (pi * inner).sum())

    gtol = 1e-10
    found = minimize(loss, np.zeros(3), jac=True, method="BFGS", options={"gtol": gtol})
    c = Candidates(
        Groups.equal(1, 3), {"r": r}, log_anchor={"old": np.log(old), "ref": np.log(ref)}
    )
    family = TwoAnchor(tau=tau, beta=beta, utility="r")
    log_q = family.target.log_density(c)
    q = c.contexts.softmax(log_q)
    np.testing.assert_allclose(
        np.exp(found.x - np.logaddexp.reduce(found.x)),
        c.contexts.softmax(log_q),
        rtol=0,
        # off by gradient/curvature, and by √u where only the value is read: the search may end so
        atol=gtol / (tau + beta) / q.min() + unit_roundoff("float64") ** 0.5,
    )
    near = double(3 + 16, 4 * (1 + np.abs(log_q).max()))
    assert -found.fun == pytest.approx((tau + beta) * np.logaddexp.reduce(log_q), abs=near)


def test_two_anchors_turned_by_eta_keep_their_anchor():
    turned = TWO.turned({"eta": 1.25})
    assert (turned.tau, turned.beta) == (pytest.approx(0.6), pytest.approx(0.2))
    assert turned.target.anchor == pytest.approx(TWO.target.anchor)
    assert TWO.turned(TWO.knobs()) == TWO
    for bad in ({"eta": 0.0}, {"eta": math.inf}, {"eta": -1.0}, {"sharp": 1.0}):
        with pytest.raises(SpecError):
            TWO.turned(bad)


def test_a_single_anchor_names_no_other():
    assert TwoAnchor(tau=0.0, beta=0.5, utility="r").target.anchor == {"ref": 1.0}
    assert TwoAnchor(tau=0.5, beta=0.0, utility="r").target.anchor == {"old": 1.0}
    assert (
        TwoAnchor(tau=0.5, beta=0.0, utility="r").target.identified({"old": "mu"}).needs() == set()
    )


@pytest.mark.parametrize(("tau", "beta"), [(0.3, 0.1), (0.0, 0.4), (0.7, 0.0), (0.5, 1e-13)])
def test_iterated_sharpness_is_that_of_the_iterated_update(tau, beta):
    """Iterate q_{n+1} ∝ q_n^{τ/s}·ref^{β/s}·e^{r/s} from ref, and fit the tilt of ref."""
    family, log_q, r = TwoAnchor(tau=tau, beta=beta, utility="r"), np.log(REF), np.array(REWARD)
    for n in range(1, 7):
        log_q = (tau * log_q + beta * np.log(REF) + r) / (tau + beta)
        log_q -= np.logaddexp.reduce(log_q)
        tilt = log_q - np.log(REF)
        eta = (tilt[2] - tilt[1]) / (r[2] - r[1])
        assert family.iterated_eta(n) == pytest.approx(
            eta, rel=double(8 * n, 4 * (1 + np.abs(tilt).max()))
        )
    assert family.iterated_eta(0) == 0.0


def test_iterated_sharpness_reaches_one_over_beta():
    assert TWO.iterated_eta(1) == pytest.approx(TWO.eta)
    assert TWO.iterated_eta(10_000) == pytest.approx(1 / TWO.beta)


def test_verifier_reference_mass_of_passes(backend):
    """Mass of passes at η is p·e^η/(1 − p + p·e^η)."""
    p, eta = 0.05, 2.2
    log_ref = np.log([p / 2, p / 2, 1 - p])
    c = Candidates(
        Groups.equal(1, 3),
        {"ok": backend.make([1.0, 1.0, 0.0])},
        log_anchor={"ref": backend.make(log_ref)},
    )
    q = to_numpy(c.contexts.softmax(Verifier(utility="ok", eta=eta).target.log_density(c)))
    want = p * math.exp(eta) / (1 - p + p * math.exp(eta))
    assert q[:2].sum() == pytest.approx(want, abs=backend.of_weights(3, 5.0))


class _Holder(Spec):
    target: TargetSpec


EXAMPLES = [
    {"kind": "scalar_reward", "utility": "r", "eta": 2.0},
    {"kind": "scalar_reward", "utility": "r", "eta": 0.0, "anchor": {"mu": 1.0}},
    {"kind": "verifier", "utility": "r", "eta": 5.0, "anchor": {"old": 0.5, "ref": 0.5}},
    {"kind": "two_anchor", "utility": "r", "tau": 0.15, "beta": 0.05},
    {"kind": "tilt", "anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": -5.0}]},
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["kind"])
def test_every_family_round_trips_and_turns_to_itself(example):
    held = _Holder.parse({"target": example})
    assert _Holder.parse(held.model_dump(mode="json")) == held
    target = held.target
    assert set(target.knobs()) in ({"eta"}, {"tau", "beta"})
    if target.kind != "tilt":
        assert target.turned(target.knobs()) == target
    assert target.target.kind == "tilt"


REFUSED = [
    ({"kind": "scalar_reward", "utility": "r", "eta": -0.5}, r"target\.eta.*-0\.5"),
    ({"kind": "verifier", "utility": "r", "eta": -1}, r"target\.eta"),
    ({"kind": "scalar_reward", "utility": "r", "eta": "nan"}, r"target\.eta.*finite"),
    ({"kind": "scalar_reward", "utility": "r", "eta": 1, "anchor": {}}, r"target\.anchor"),
    ({"kind": "two_anchor", "utility": "r", "tau": -1, "beta": 2}, r"target\.tau"),
    ({"kind": "two_anchor", "utility": "r", "tau": 0, "beta": 0}, "argmax of the reward"),
    ({"kind": "two_anchor", "utility": "r", "tau": 1}, r"target\.beta: required"),
    ({"kind": "two_anchors", "utility": "r"}, "unknown kind 'two_anchors'.*`two_anchor`"),
    ({"kind": "verifier", "utilty": "r", "eta": 1}, r"target\.utilty: unknown key.*`utility`"),
]


@pytest.mark.parametrize(("target", "message"), REFUSED, ids=lambda x: str(x)[:50])
def test_bad_families_are_refused_with_a_way_out(target, message):
    with pytest.raises(SpecError, match=message):
        _Holder.parse({"target": target})


def test_other_knobs_are_refused():
    with pytest.raises(SpecError, match="'eta' alone"):
        ScalarReward(utility="r", eta=1.0).turned({"tau": 1.0})
