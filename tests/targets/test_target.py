"""The general target: enumeration (L6), cancellation, shifts, supports, and refused specs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups, MissingLogProbs, Spec, SpecError, to_numpy
from tod.candidates import Candidates
from tod.targets import Target, TargetSpec, Tilt
from tolerance import of_weights

TILT = Tilt(utility="reward", eta=1.3)
TARGETS = {
    "ref": Target(anchor={"ref": 1.0}, tilts=(TILT,)),
    "mu": Target(anchor={"mu": 1.0}, tilts=(TILT,)),
    "old_ref": Target(anchor={"old": 0.75, "ref": 0.25}, tilts=(TILT,)),
    "mu_ref": Target(anchor={"mu": 0.4, "ref": 0.6}, tilts=(TILT,)),
    "negative": Target(anchor={"ref": 1.5, "old": -0.5}, tilts=(TILT,)),
    "several": Target(
        anchor={"ref": 1.0}, tilts=(TILT, Tilt(utility="style", eta=-0.7)), support=("passed",)
    ),
    "no_tilt": Target(anchor={"teacher": 1.0}),
}
targets = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


def enumerated(target: Target, c: Candidates) -> np.ndarray:
    """q* by brute force in probability space, context by context."""
    log = {"mu": to_numpy(c.log_mu), **{n: to_numpy(v) for n, v in c.log_anchor.items()}}
    mass = np.ones(len(c))
    for name, rho in target.anchor.items():
        mass = mass * np.exp(log[name]) ** rho
    for tilt in target.tilts:
        mass = mass * np.exp(tilt.eta * to_numpy(c.utility[tilt.utility]))
    for name in target.support:
        mass = mass * (to_numpy(c.utility[name]) > 0)
    return mass / c.contexts.spread(c.contexts.sum(mass))


def largest(target: Target, c: Candidates) -> float:
    """Largest |log q̃*| or |log μ| of a candidate that is not forbidden."""
    log_q = to_numpy(target.log_density(c))
    return float(np.abs(log_q[np.isfinite(log_q)]).max() + np.abs(to_numpy(c.log_mu)).max())


@targets
def test_density_is_the_enumerated_tilt(language, backend, target):
    c = language(backend.make)
    q = to_numpy(c.contexts.softmax(target.log_density(c)))
    near = backend.of_weights(27, largest(target, c))
    np.testing.assert_allclose(q, enumerated(target, c), rtol=near)


@targets
def test_weights_are_density_over_proposal(language, backend, target):
    """Cancellation never changes the number, only what must be recorded for it."""
    c = language(backend.make)
    got, want = target.log_weights(c), target.log_density(c) - c.log_mu
    np.testing.assert_allclose(
        to_numpy(got),
        to_numpy(want),
        rtol=0,
        atol=backend.rounding(8, largest(target, c)),
    )
    fixed = replace(c, semantics="fixed")
    np.testing.assert_array_equal(
        to_numpy(target.log_weights(fixed)), to_numpy(target.log_density(fixed))
    )


@targets
def test_exactly_the_needed_log_probs_suffice(language, target):
    c = language()
    needed = target.needs()
    kept = {n: v for n, v in c.log_anchor.items() if n in needed}
    lean = replace(c, log_mu=c.log_mu if "mu" in needed else None, log_anchor=kept)
    np.testing.assert_array_equal(target.log_weights(lean), target.log_weights(c))
    for name in needed:
        without = replace(
            lean,
            log_mu=None if name == "mu" else lean.log_mu,
            log_anchor={n: v for n, v in kept.items() if n != name},
        )
        with pytest.raises(MissingLogProbs, match=repr(name)):
            target.log_weights(without)


def test_what_cancels_is_not_needed():
    assert TARGETS["mu"].needs() == frozenset()
    assert TARGETS["mu"].needs("fixed") == {"mu"}
    assert TARGETS["ref"].needs() == {"ref", "mu"}
    assert Target(anchor={"mu": 1.0, "ref": 0.0}).needs() == frozenset()


def test_an_anchor_of_exponent_zero_is_no_anchor(language):
    """A policy that gives a candidate no mass must not turn 0·(−∞) into NaN."""
    c = language()
    teacher = c.log_anchor["teacher"].copy()
    teacher[4] = -math.inf
    c = replace(c, log_anchor={**c.log_anchor, "teacher": teacher})
    zero = Target(anchor={"ref": 1.0, "teacher": 0.0}, tilts=(TILT,))
    np.testing.assert_array_equal(zero.log_density(c), TARGETS["ref"].log_density(c))
    vetoed = Target(anchor={"ref": 0.5, "teacher": 0.5}).log_density(c)
    assert vetoed[4] == -math.inf
    assert np.isfinite(np.delete(vetoed, 4)).all()


@given(st.floats(-300, 300), st.floats(-5, 5))
def test_a_constant_added_to_a_utility_shifts_its_context(shift, eta):
    contexts = Groups(np.array([3, 1, 4]))
    u = np.arange(8.0) ** 1.5
    target = Target(anchor={"mu": 1.0}, tilts=(Tilt(utility="u", eta=eta),))
    moved = u + contexts.spread(np.array([shift, 0.0, -shift]))
    got, want = (
        contexts.softmax(target.log_weights(Candidates(contexts, {"u": values})))
        for values in (moved, u)
    )
    near = of_weights("float64", 4, abs(eta) * np.abs(moved).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=near)


def test_zero_sharpness_leaves_the_anchor_and_large_sharpness_the_argmax(language):
    c, small = language(), 1e-9
    q = {
        eta: c.contexts.softmax(
            Target(anchor={"ref": 1.0}, tilts=(Tilt(utility="reward", eta=eta),)).log_density(c)
        )
        for eta in (0.0, small, 1e5)
    }
    b = np.exp(c.log_anchor["ref"])
    near = of_weights("float64", 27, np.abs(c.log_anchor["ref"]).max())
    np.testing.assert_allclose(q[0.0], b, rtol=near)
    np.testing.assert_allclose(q[small], b, rtol=near + 2 * small * np.ptp(c.utility["reward"]))
    best = c.contexts.spread(c.contexts.max(c.utility["reward"])) == c.utility["reward"]
    # what is below the best has less than e^{−1e5·gap} beside the anchor's share
    np.testing.assert_allclose(q[1e5], best.astype(float), rtol=0, atol=near)


def test_at_ties_large_sharpness_leaves_the_anchor_on_the_ties(language):
    c = language()
    passed = c.utility["passed"]
    target = Target(anchor={"ref": 1.0}, tilts=(Tilt(utility="passed", eta=1e4),))
    restricted = np.exp(c.log_anchor["ref"]) * passed
    want = restricted / c.contexts.spread(c.contexts.sum(restricted))
    np.testing.assert_allclose(
        c.contexts.softmax(target.log_density(c)), want, rtol=0, atol=of_weights("float64", 27, 1e4)
    )
    by_support = Target(anchor={"ref": 1.0}, support=("passed",))
    np.testing.assert_allclose(
        c.contexts.softmax(by_support.log_density(c)),
        want,
        rtol=0,
        atol=of_weights("float64", 27, 10),
    )


def test_utility_of_minus_infinity_forbids_at_every_sharpness(backend):
    c = Candidates(Groups.equal(1, 3), {"u": backend.make([0.5, -math.inf, 2.0])})
    for eta in (0.0, 1.0):
        tilt = Target(anchor={"mu": 1.0}, tilts=(Tilt(utility="u", eta=eta),)).tilt(c)
        assert to_numpy(tilt).tolist() == [0.5 * eta, -math.inf, 2.0 * eta]
    with pytest.raises(SpecError, match="negative eta would make the forbidden ones"):
        Target(anchor={"mu": 1.0}, tilts=(Tilt(utility="u", eta=-1.0),)).tilt(c)


def test_weight_outside_support_is_zero_and_stays_among_the_candidates(backend):
    c = Candidates(Groups.equal(2, 3), {"ok": backend.make([1.0, 0.0, 0.2, 0.0, -1.0, 0.0])})
    log_w = to_numpy(Target(anchor={"mu": 1.0}, support=("ok",)).log_weights(c))
    np.testing.assert_array_equal(log_w, [0, -np.inf, 0, -np.inf, -np.inf, -np.inf])


def test_sharpness_and_utilities():
    several = TARGETS["several"]
    assert several.sharpness == pytest.approx(2.0)
    assert several.utilities == ("reward", "style", "passed")
    assert several.turned({"eta": 4.0}).tilts[1].eta == pytest.approx(-1.4)
    assert several.turned(several.knobs()) == several
    assert TARGETS["no_tilt"].knobs() == {}
    with pytest.raises(SpecError, match="no tilt"):
        TARGETS["no_tilt"].turned({"eta": 1.0})
    with pytest.raises(SpecError, match="'eta' alone"):
        several.turned({"tau": 1.0})


def test_identified_names_merge_and_cancel():
    two = Target(anchor={"old": 0.75, "ref": 0.25}, tilts=(TILT,))
    merged = two.identified({"old": "mu"})
    assert merged.anchor == {"mu": 0.75, "ref": 0.25}
    assert merged.needs() == {"mu", "ref"}
    assert Target(anchor={"old": 0.5, "mu": 0.5}).identified({"old": "mu"}).needs() == frozenset()


class _Holder(Spec):
    target: TargetSpec


REFUSED = [
    ({"kind": "tilt", "anchor": {}}, "target.anchor"),
    ({"kind": "tilt", "anchor": {"reff": 1.0}}, "target.anchor.reff"),
    ({"kind": "tilt", "anchor": {"ref": "inf"}}, "target.anchor.ref"),
    (
        {"kind": "tilt", "anchor": {"ref": 1}, "tilts": [{"utility": "r"}]},
        r"tilts\.0\.eta: required",
    ),
    (
        {
            "kind": "tilt",
            "anchor": {"ref": 1},
            "tilts": [{"utility": "r", "eta": 1}, {"utility": "r", "eta": 2}],
        },
        "'r' is tilted twice",
    ),
    ({"kind": "tlit", "anchor": {"ref": 1}}, "unknown kind 'tlit'.*`tilt`"),
    ({"kind": "tilt", "anchr": {"ref": 1}}, "target.anchr: unknown key.*`anchor`"),
    ({"anchor": {"ref": 1}}, "needs a `kind`"),
]


@pytest.mark.parametrize(("target", "message"), REFUSED, ids=lambda x: str(x)[:50])
def test_bad_targets_are_refused_with_a_way_out(target, message):
    with pytest.raises(SpecError, match=message):
        _Holder.parse({"target": target})


def test_a_missing_utility_names_what_there_is(language):
    target = Target(anchor={"mu": 1.0}, tilts=(Tilt(utility="score", eta=1.0),))
    with pytest.raises(DataError, match=r"no reward 'score'.*passed, reward, style"):
        target.log_weights(language())


def test_letters_show_every_part_of_the_target() -> None:
    plain = Target(anchor={"old": 0.75, "ref": 0.25}, tilts=(Tilt(utility="correct", eta=5.0),))
    assert str(plain) == "q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)"
    assert str(plain.revised(support=("safe",))).endswith("·1{safe > 0}·exp(5·correct)")
    chosen = Target.parse(
        {"anchor": {"ref": 1.0}, "selectivity": {"utility": "correct", "mass": 0.9}}
    )
    assert "mass 0.9 on passes" in str(chosen)
    assert str(Target(anchor={"teacher": 1.0})) == "q* ∝ π_teacher"
