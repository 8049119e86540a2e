"""Every target family, by enumeration of a small language (L6) and by what its knobs promise.

The oracle reads the fields of the general target alone. Members come from the union, their fields
from what they declare.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_values import instances, kind_of, members
from tod.base import Groups, Spec, SpecError, to_numpy
from tod.candidates import Candidates
from tod.targets import Mixture, Target, TargetSpec
from tolerance import SMALLEST, double, of_weights

FAMILIES = members(TargetSpec)
families = pytest.mark.parametrize("family", FAMILIES, ids=kind_of)
WORDS = list(itertools.product(range(3), repeat=2))
CONTEXTS = 2
N = CONTEXTS * len(WORDS)
POLICIES = ("mu", "old", "ref", "teacher", "policy")
UTILITIES = ("passed", "failed")
"""Both are 0 or 1, so that a selectivity may ask for either; every context has both values."""


def language(semantics: Any = "sampled") -> Candidates:
    """Every word of two letters out of three, once, in two contexts; skewed policies."""
    rng = np.random.default_rng(5)
    logits = {name: rng.normal(size=(CONTEXTS, len(WORDS))) for name in POLICIES}
    log = {n: (z - np.logaddexp.reduce(z, axis=1)[:, None]).ravel() for n, z in logits.items()}
    passed = np.tile([0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], CONTEXTS)
    return Candidates(
        contexts=Groups.equal(CONTEXTS, len(WORDS)),
        utility={"passed": passed, "failed": 1 - passed},
        log_mu=log.pop("mu"),
        log_anchor=log,
        semantics=semantics,
    )


def log_mass(target: Target, c: Candidates) -> np.ndarray:
    """log q̃* of every word from the fields of the target, nats."""
    log_p = {name: to_numpy(c.log_prob(name, "")) for name in POLICIES}
    if isinstance(target.anchor, Mixture):
        mixed = sum(w * np.exp(log_p[name]) for name, w in target.anchor.weights.items())
        value: Any = np.log(mixed)
    else:
        value = sum((rho * log_p[name] for name, rho in target.anchor.items()), np.zeros(N))
    for tilt in target.tilts:
        value = value + tilt.eta * to_numpy(c.utility[tilt.utility])
    for name in target.support:
        value = np.where(to_numpy(c.utility[name]) > 0, value, -np.inf)
    if target.selectivity is None:
        return np.asarray(value)
    tilted = []
    for rows in np.split(np.arange(N), CONTEXTS):
        u, s = to_numpy(c.utility[target.selectivity.utility])[rows], target.selectivity.mass
        over = np.exp(value[rows] - (log_p["mu"][rows] if c.semantics == "sampled" else 0.0))
        passes, fails = over[u > 0].sum(), over[u <= 0].sum()
        mixed = passes > 0 and fails > 0
        eta = max(0.0, np.log(s / (1 - s) * fails / passes)) if mixed else 0.0
        tilted.append(value[rows] + eta * u)
    return np.concatenate(tilted)


def shares(log_x: Any) -> np.ndarray:
    """Normalised in every context, [C, 9]; all −∞ stays 0."""
    rows = to_numpy(log_x).reshape(CONTEXTS, -1)
    top = rows.max(axis=1, keepdims=True)
    x = np.exp(rows - np.where(np.isfinite(top), top, 0.0))
    total = x.sum(axis=1, keepdims=True)
    return np.asarray(x / np.where(total > 0, total, 1.0))


def rounding(log_x: np.ndarray) -> float:
    """Of shares exp x / Σ exp x, relative; absolute of x itself."""
    size = np.abs(log_x[np.isfinite(log_x)]).max(initial=0.0)
    return of_weights("float64", len(WORDS), float(size))


COEFFICIENT = double(16)
"""Of an η or a ρ: a few products and quotients of the declared fields."""
FLAT, SHARP, GAP = 1e-12, 1e4, 1e-2
"""Sharpness near 0 and large, and the least difference of utility that it can tell apart."""


def semantics_of(target: Target) -> Any:
    return target.semantics or "sampled"


def drawn(family: type[Spec], data: Any) -> Any:
    return data.draw(instances(family, texts=UTILITIES))


@families
@settings(max_examples=12)
@given(data=st.data())
def test_density_and_weights_are_those_of_the_enumeration(family, data):
    target = drawn(family, data).target
    c = language(semantics_of(target))
    log_want = log_mass(target, c)
    log_q, log_w = (to_numpy(f(c)) for f in (target.log_density, target.log_weights))
    np.testing.assert_array_equal(np.isfinite(log_q), np.isfinite(log_want))
    want = shares(log_want)
    np.testing.assert_allclose(shares(log_q), want, rtol=rounding(log_want), atol=SMALLEST)
    on_mu = log_w + to_numpy(c.log_mu) if c.semantics == "sampled" else log_w
    np.testing.assert_allclose(shares(on_mu), want, rtol=rounding(log_want), atol=SMALLEST)
    tilt, base = target.tilt_and_base(c)
    np.testing.assert_array_equal(to_numpy(target.log_weights(c)), to_numpy(tilt + base))


@families
@settings(max_examples=12)
@given(data=st.data())
def test_exactly_the_needed_log_probs_are_read(family, data):
    target = drawn(family, data).target
    c = language(semantics_of(target))
    needed = target.needs(c.semantics)
    lean = Candidates(
        c.contexts,
        c.utility,
        log_mu=c.log_mu if "mu" in needed else None,
        log_anchor={n: v for n, v in c.log_anchor.items() if n in needed},
        semantics=c.semantics,
    )
    np.testing.assert_array_equal(
        to_numpy(target.log_weights(lean)), to_numpy(target.log_weights(c))
    )
    assert set(target.utilities) <= set(UTILITIES)


@families
@settings(max_examples=12)
@given(data=st.data())
def test_what_the_family_declares_is_what_its_target_has(family, data):
    spec = drawn(family, data)
    target = spec.target
    assert isinstance(target, Target)
    assert target.target is target
    if "anchor" in family.model_fields:
        assert target.anchor == spec.anchor
    for name in ("utility", "etas", "constraints"):
        value = getattr(spec, name, None)
        declared = [value] if isinstance(value, str) else list(value or ())
        assert set(declared) <= set(target.utilities)
    eta = getattr(spec, "eta", None)
    if eta is not None and target.tilts:
        assert target.sharpness == pytest.approx(abs(eta), rel=COEFFICIENT, abs=0)
    if "eta" in spec.knobs() and target.tilts:
        assert target.sharpness == pytest.approx(spec.knobs()["eta"], rel=COEFFICIENT, abs=0)


@families
@settings(max_examples=12)
@given(data=st.data())
def test_knobs_turn_a_family_to_itself_and_elsewhere(family, data):
    spec = drawn(family, data)
    try:
        same = spec.turned(spec.knobs())
    except SpecError:
        assert not any(spec.knobs().values())  # every η is 0: there is nothing to scale
        return
    assert close(same.model_dump(), spec.model_dump())
    with pytest.raises(SpecError):
        spec.turned({"no such knob": 1.0})
    try:
        turned = spec.sharpened(1.7)
    except SpecError:
        assert not spec.knobs() or not any(spec.knobs().values())
        return
    assert type(turned) is family
    if turned.target.tilts:
        assert turned.target.sharpness == pytest.approx(1.7, rel=COEFFICIENT, abs=0)
        # rounding of the coefficients alone: the anchor is made of the same ratio
        assert close(turned.target.anchor, spec.target.anchor)


@families
@settings(max_examples=12)
@given(data=st.data())
def test_the_log_density_is_affine_in_the_sharpness(family, data):
    """log q̃*(η) = log b' + η·U' for every family: an exponential family in its own knob."""
    spec = drawn(family, data)
    try:
        three = [spec.sharpened(eta).target for eta in (0.5, 1.0, 1.5)]
    except SpecError:
        return
    c = language(semantics_of(three[0]))
    low, middle, high = (to_numpy(t.log_density(c)) for t in three)
    known = np.isfinite(low)
    # differences of numbers of that size cancel to the rounding of the number
    low, middle, high = low[known], middle[known], high[known]
    np.testing.assert_allclose(high - middle, middle - low, rtol=0, atol=3 * rounding(high))


@families
@settings(max_examples=12)
@given(data=st.data())
def test_limits_of_the_sharpness(family, data):
    """η → 0 gives the anchor, η → ∞ the anchor on the best of what is inside."""
    spec = drawn(family, data)
    try:
        flat, sharp = spec.sharpened(FLAT).target, spec.sharpened(SHARP).target
    except SpecError:
        return
    if not sharp.tilts or sharp.selectivity is not None:
        return
    c = language(semantics_of(sharp))
    log_b = log_mass(Target(anchor=flat.anchor, support=flat.support), c)
    near = shares(flat.log_density(c))
    score = sum(t.eta / SHARP * to_numpy(c.utility[t.utility]) for t in sharp.tilts)
    turned = np.expm1(2 * FLAT * np.ptp(score))
    np.testing.assert_allclose(near, shares(log_b), rtol=turned + rounding(log_b), atol=SMALLEST)
    levels = np.unique(np.round(score, 12))
    if len(levels) < 2 or np.diff(levels).min() < GAP:
        return
    inside = np.where(np.isfinite(log_b), score, -np.inf).reshape(CONTEXTS, -1)
    best = (inside > inside.max(axis=1, keepdims=True) - GAP / 2).ravel()
    top = shares(np.where(best, log_b, -np.inf))
    log_q = to_numpy(sharp.log_density(c))
    rest = np.exp(np.ptp(log_b[np.isfinite(log_b)]) - SHARP * GAP)
    np.testing.assert_allclose(shares(log_q), top, rtol=rounding(log_q), atol=rest)


@families
@settings(max_examples=12)
@given(data=st.data())
def test_a_family_round_trips_through_plain_data(family, data):
    spec = drawn(family, data)
    held = Holder.parse({"target": spec.model_dump(mode="json")})
    assert held.target == spec
    assert str(spec.target).startswith("q* ∝ ")


class Holder(Spec):
    """Whatever a configuration may say of a target."""

    target: TargetSpec


def test_an_unknown_kind_names_every_family():
    with pytest.raises(SpecError) as error:
        Holder.parse({"target": {"kind": "two_anchr"}})
    assert "Did you mean `two_anchor`?" in str(error.value)
    for family in FAMILIES:
        assert family.model_fields["kind"].default in str(error.value)


def close(one: Any, other: Any) -> bool:
    """Equal plain data but for rounding of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, Spec):
        return type(one) is type(other) and close(one.model_dump(), other.model_dump())
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=COEFFICIENT, abs=0)
    return bool(one == other)
