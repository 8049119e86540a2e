"""Table 1 row by row: enumeration (L6), limits, reference values, and what each family needs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tod.base import DataError, Groups, MissingLogProbs, Spec, SpecError, to_numpy
from tod.candidates import Candidates
from tod.targets import (
    Data,
    Mixture,
    PreferenceTarget,
    ScalarReward,
    Target,
    TargetSpec,
    Teacher,
    TwoAnchor,
    Verifier,
)
from tod.targets.finite_candidates import FiniteCandidates
from tod.targets.multi_objective import MultiObjective
from tod.targets.selectivity import Selectivity
from tod.targets.target import LARGEST
from tolerance import double, of_weights, printed


def _pi(c, name):
    return np.exp(to_numpy(c.log_mu if name == "mu" else c.log_anchor[name]))


def _u(c, name):
    return to_numpy(c.utility[name])


# every family, and its unnormalised mass written in probability space from the framework's table
FAMILIES = {
    "scalar_reward": (
        ScalarReward(utility="reward", eta=1.3),
        lambda c: _pi(c, "ref") * np.exp(1.3 * _u(c, "reward")),
    ),
    "supervised_likelihood": (
        ScalarReward(utility="log_data", eta=1.0, anchor={"ref": 0.0}),
        lambda c: np.exp(_u(c, "log_data")),
    ),
    "supervised_likelihood_anchored": (
        ScalarReward(utility="log_data", eta=0.4, anchor={"ref": 0.6}),
        lambda c: _pi(c, "ref") ** 0.6 * np.exp(_u(c, "log_data")) ** 0.4,
    ),
    "preference": (
        PreferenceTarget(utility="reward", beta=0.5, noise_scale=2.0),
        lambda c: _pi(c, "ref") * np.exp(_u(c, "reward") / 2.0 / 0.5),
    ),
    "multi_objective": (
        MultiObjective(
            etas={"reward": 0.7, "style": 1.1},
            constraints=("passed",),
            anchor={"old": 0.6, "ref": 0.4},
        ),
        lambda c: (
            _pi(c, "old") ** 0.6
            * _pi(c, "ref") ** 0.4
            * np.exp(0.7 * _u(c, "reward") + 1.1 * _u(c, "style"))
            * _u(c, "passed")
        ),
    ),
    "two_anchor": (
        TwoAnchor(tau=0.3, beta=0.2, utility="reward"),
        lambda c: (_pi(c, "old") ** 0.3 * _pi(c, "ref") ** 0.2 * np.exp(_u(c, "reward"))) ** 2,
    ),
    "verifier": (
        Verifier(utility="passed", eta=2.0),
        lambda c: _pi(c, "ref") * np.where(_u(c, "passed") > 0, math.e**2, 1.0),
    ),
    "teacher_margin": (
        Teacher(eta=0.4),
        lambda c: _pi(c, "old") ** 0.6 * _pi(c, "teacher") ** 0.4,
    ),
    "teacher_literal": (
        Teacher(eta=1.0, form="literal"),
        lambda c: _pi(c, "old") * _pi(c, "teacher"),
    ),
    "teacher_anchored": (
        Teacher(eta=1.5, form="anchored", utility="reward"),
        lambda c: _pi(c, "teacher") * np.exp(1.5 * _u(c, "reward")),
    ),
    "finite_candidates": (
        FiniteCandidates(utility="reward", eta=1.3, semantics="sampled"),
        lambda c: _pi(c, "ref") * np.exp(1.3 * _u(c, "reward")),
    ),
    "data": (Data(), lambda c: _pi(c, "mu")),
    "mixture": (
        ScalarReward(
            utility="reward",
            eta=0.8,
            anchor=Mixture(weights={"old": 0.3, "ref": 0.7}),
        ),
        lambda c: (0.3 * _pi(c, "old") + 0.7 * _pi(c, "ref")) * np.exp(0.8 * _u(c, "reward")),
    ),
}
families = pytest.mark.parametrize(("family", "mass"), FAMILIES.values(), ids=list(FAMILIES))


def _normalised(c, mass):
    return mass / c.contexts.spread(c.contexts.sum(mass))


@families
def test_density_and_weights_are_the_enumerated_family(language, backend, family, mass):
    c = language(backend.make)
    want = _normalised(c, mass(c))
    target = family.target
    log_q = to_numpy(target.log_density(c))
    near = backend.of_weights(27, np.abs(log_q[np.isfinite(log_q)]).max())
    q = to_numpy(c.contexts.softmax(target.log_density(c)))
    np.testing.assert_allclose(q, want, rtol=near)
    on_mu = to_numpy(c.contexts.softmax(target.log_weights(c) + c.log_mu))
    np.testing.assert_allclose(on_mu, want, rtol=near)


@families
def test_exactly_the_needed_log_probs_suffice(language, family, mass):
    c, target = language(), family.target
    needed = target.needs()
    kept = {n: v for n, v in c.log_anchor.items() if n in needed}
    lean = replace(c, log_mu=c.log_mu if "mu" in needed else None, log_anchor=kept)
    np.testing.assert_array_equal(target.log_weights(lean), target.log_weights(c))
    for name in needed - {"mu"}:
        without = replace(lean, log_anchor={n: v for n, v in kept.items() if n != name})
        with pytest.raises(MissingLogProbs, match=repr(name)):
            target.log_weights(without)


class _Holder(Spec):
    target: TargetSpec


@families
def test_every_family_round_trips_and_turns_to_itself(language, family, mass):
    held = _Holder(target=family)
    assert _Holder.parse(held.model_dump(mode="json")) == held
    turned = family.turned(family.knobs())
    got, want = (f.target.log_weights(language()) for f in (turned, family))
    np.testing.assert_allclose(got, want, rtol=double(8))
    assert set(family.target.names) == set(family.target.needs("fixed"))


@pytest.mark.parametrize("name", ["scalar_reward", "preference", "multi_objective", "verifier"])
def test_sharpness_of_zero_leaves_the_anchor_and_of_infinity_the_best_of_it(language, name):
    c, family = language(), FAMILIES[name][0]
    small, large = 1e-12, 1e7
    tiny, huge = (family.turned({"eta": eta}).target for eta in (small, large))
    b = family.target.log_anchor(c)
    # e^{ηU} − 1 of a small η; adding ηU of a large one to log b keeps ηU roundings of it
    value = family.target.value(c)
    size = np.abs(value[np.isfinite(value)]).max()
    near = of_weights("float64", 27, np.abs(b[np.isfinite(b)]).max()) + 2 * small * size
    rounded = of_weights("float64", 27, large * size)
    for support in family.target.support:
        b = np.where(c.utility[support] > 0, b, -np.inf)
    np.testing.assert_allclose(
        c.contexts.softmax(tiny.log_density(c)), c.contexts.softmax(b), rtol=near
    )
    score = np.where(np.isfinite(b), family.target.value(c), -np.inf)
    best = score == c.contexts.spread(c.contexts.max(score))
    limit = c.contexts.softmax(np.where(best, b, -np.inf))
    np.testing.assert_allclose(c.contexts.softmax(huge.log_density(c)), limit, rtol=0, atol=rounded)


@pytest.mark.parametrize(
    ("family", "data"),
    [
        (ScalarReward, {"utility": "r", "eta": math.inf}),
        (Verifier, {"utility": "r", "eta": 1e308}),
        (FiniteCandidates, {"utility": "r", "eta": 2e9, "semantics": "fixed"}),
        (MultiObjective, {"etas": {"r": math.inf}}),
        (Teacher, {"eta": math.inf}),
        (TwoAnchor, {"utility": "r", "tau": 1e-12, "beta": 0.0}),
        (PreferenceTarget, {"utility": "r", "beta": 1e-300, "noise_scale": 1e-300}),
        (Target, {"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": -math.inf}]}),
    ],
)
def test_a_sharpness_beyond_double_precision_is_refused_with_the_largest(family, data):
    with pytest.raises(SpecError, match=r"up to \|eta\| = 1e\+09"):
        family.parse(data)
    with pytest.raises(SpecError, match="finite number"):
        ScalarReward.parse({"utility": "r", "eta": math.nan})


def test_the_largest_sharpness_is_the_limit_of_the_anchor_on_the_best():
    log_b = np.log([0.05, 0.15, 0.5, 0.3])
    c = Candidates(Groups.equal(1, 4), {"r": np.array([1.0, 1.0, 0.999999, -3.0])})
    c = replace(c, log_anchor={"ref": log_b})
    q = c.contexts.softmax(ScalarReward(utility="r", eta=LARGEST).target.log_density(c))
    np.testing.assert_allclose(
        q, [0.25, 0.75, 0.0, 0.0], rtol=0, atol=of_weights("float64", 4, LARGEST)
    )


def test_teacher_limits_and_reference_values():
    old, teacher = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    c = Candidates(
        Groups.equal(1, 3), {}, log_anchor={"old": np.log(old), "teacher": np.log(teacher)}
    )
    same = replace(c, log_anchor={"old": np.log(old), "teacher": np.log(old)})
    literal = Teacher(eta=1.0, form="literal").target

    def q(target, c):
        return c.contexts.softmax(target.log_density(c))

    np.testing.assert_allclose(
        q(literal, c), [0.3571428571, 0.2142857143, 0.4285714286], rtol=0, atol=printed(10)
    )
    np.testing.assert_allclose(
        q(Teacher(eta=0.5).target, c),
        [0.3484269830, 0.2698903805, 0.3816826365],
        rtol=0,
        atol=printed(10),
    )
    np.testing.assert_allclose(
        q(literal, same), [0.6578947368, 0.2368421053, 0.1052631579], rtol=0, atol=printed(10)
    )
    np.testing.assert_allclose(
        q(Teacher(eta=0.0).target, c), old, rtol=of_weights("float64", 3, 2.0)
    )
    np.testing.assert_allclose(
        q(Teacher(eta=1.0).target, c), teacher, rtol=of_weights("float64", 3, 2.0)
    )
    assert Teacher(eta=1.0).target.names == ("teacher",)


def test_a_margin_teacher_minimises_the_two_divergences():
    """min KL(π‖π_T) + λ·KL(π‖π_old) is the margin form with η = 1/(1 + λ)."""
    old, teacher, lam = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6]), 0.7
    c = Candidates(
        Groups.equal(1, 3), {}, log_anchor={"old": np.log(old), "teacher": np.log(teacher)}
    )
    pi = c.contexts.softmax(Teacher(eta=1 / (1 + lam)).target.log_density(c))
    gradient = np.log(pi / teacher) + lam * np.log(pi / old)
    np.testing.assert_allclose(gradient - gradient.mean(), 0, rtol=0, atol=double(3 + 8, 4))


TWO_TOKENS = (
    # p(a) and p(a|a), p(a|b) of two policies over {a, b}²
    (0.9, 0.5, 0.2),
    (0.3, 0.1, 0.6),
)


def test_a_geometric_mixture_of_sequences_is_not_that_of_tokens():
    def sequences(a, aa, ba):
        return np.array([a * aa, a * (1 - aa), (1 - a) * ba, (1 - a) * (1 - ba)])

    one, two = (sequences(*p) for p in TWO_TOKENS)
    c = Candidates(Groups.equal(1, 4), {}, log_anchor={"old": np.log(one), "ref": np.log(two)})
    q = c.contexts.softmax(Target(anchor={"old": 0.5, "ref": 0.5}).log_density(c))
    np.testing.assert_allclose(
        q, [0.1645566929, 0.4936700787, 0.1298040699, 0.2119691585], rtol=0, atol=printed(10)
    )
    local = []
    for p, r in zip(*TWO_TOKENS, strict=True):
        x, y = math.sqrt(p * r), math.sqrt((1 - p) * (1 - r))
        local.append(x / (x + y))
    np.testing.assert_allclose(
        sequences(*local),
        [0.1656534114, 0.4969602343, 0.1281379531, 0.2092484012],
        rtol=0,
        atol=printed(10),
    )


def test_an_arithmetic_mixture_has_the_union_of_supports(backend):
    inf = float("inf")
    c = Candidates(
        Groups.equal(1, 3),
        {},
        log_mu=backend.make([-1.0, -1.0, -1.0]),
        log_anchor={
            "old": backend.make([math.log(0.5), math.log(0.5), -inf]),
            "ref": backend.make([-inf, math.log(0.25), math.log(0.75)]),
        },
    )
    mixed = Target(anchor=Mixture(weights={"old": 0.4, "ref": 0.6}))
    np.testing.assert_allclose(
        np.exp(to_numpy(mixed.log_density(c))), [0.2, 0.35, 0.45], rtol=backend.of_weights(3, 2.0)
    )
    vetoed = Target(anchor={"old": 0.4, "ref": 0.6}).log_density(c)
    assert np.isfinite(to_numpy(vetoed)).tolist() == [False, True, False]


def test_a_mixture_of_one_is_that_policy_and_merges_like_one():
    one = Target(anchor=Mixture(weights={"mu": 1.0}))
    assert one.needs() == frozenset()
    two = Target(anchor=Mixture(weights={"old": 0.4, "mu": 0.6}))
    assert two.needs() == {"old", "mu"}
    assert two.identified({"old": "mu"}).anchor == Mixture(weights={"mu": 1.0})
    assert two.identified({"old": "mu"}).needs() == frozenset()


@pytest.mark.parametrize("mass", [0.5, 0.8, 0.99])
def test_selectivity_gives_passes_the_mass_that_was_asked_for(language, backend, mass):
    c = replace(language(backend.make), semantics="fixed")
    target, passed = Verifier(utility="passed", selectivity=mass).target, c.utility["passed"]
    base = c.contexts.sum(_pi(c, "ref") * to_numpy(passed))
    # a logit moves by dp/(p·(1 − p))
    near = backend.of_weights(27, 10.0) / (to_numpy(base) * (1 - to_numpy(base))).min()
    q = c.contexts.softmax(target.log_weights(c))
    got = to_numpy(c.contexts.sum(q * passed))
    np.testing.assert_allclose(got, np.maximum(base, mass), rtol=near)
    assert (base < mass).any()
    # η is logit s − logit p
    assert target.selectivity is not None
    eta = to_numpy(target.selectivity.etas(c, c.log_anchor["ref"]))
    want = np.log(mass / (1 - mass)) - np.log(base / (1 - base))
    np.testing.assert_allclose(eta, np.maximum(want, 0), rtol=0, atol=near)


def test_selectivity_of_samples_weighs_passes_to_the_wanted_mass():
    """With b = μ, 2 of 8 passes and s = .9: η = logit .9 − logit .25."""
    c = Candidates(Groups.equal(1, 8), {"ok": np.array([1.0, 0, 0, 1, 0, 0, 0, 0])})
    target = Verifier(utility="ok", selectivity=0.9, anchor={"mu": 1.0}).target
    weight = c.contexts.softmax(target.log_weights(c))
    assert weight @ c.utility["ok"] == pytest.approx(0.9, rel=of_weights("float64", 8, 4.0))
    assert target.tilt(c).max() == pytest.approx(math.log(9) - math.log(1 / 3))
    np.testing.assert_array_equal(target.value(c), c.utility["ok"])


def test_selectivity_never_turns_away_from_passes():
    """A context that passes more often than asked stays at its anchor: η is not negative."""
    c = Candidates(Groups(np.array([4, 4])), {"ok": np.array([1.0, 1, 1, 0, 1, 0, 0, 0])})
    target = Verifier(utility="ok", selectivity=0.5, anchor={"mu": 1.0}).target
    assert target.selectivity is not None
    eta = target.selectivity.etas(c, np.zeros(8))
    assert target.surpassed(c) == 0.5
    assert Verifier(utility="ok", eta=1.0).target.surpassed(c) is None
    np.testing.assert_allclose(eta, [0.0, math.log(3)], rtol=double(8, 4))
    np.testing.assert_array_equal(target.log_weights(c)[:4], 0.0)


@pytest.mark.parametrize("ok", [[1.0] * 4, [0.0] * 4, [1.0], [0.0]])
def test_selectivity_of_a_context_without_contrast_is_its_anchor(backend, ok):
    c = Candidates(Groups.equal(1, len(ok)), {"ok": backend.make(ok)})
    target = Verifier(utility="ok", selectivity=0.9, anchor={"mu": 1.0}).target
    np.testing.assert_array_equal(to_numpy(target.log_weights(c)), 0.0)


def test_selectivity_has_no_single_sharpness_and_no_partial_credit():
    verifier = Verifier(utility="ok", selectivity=0.9, anchor={"mu": 1.0})
    assert verifier.knobs() == {}
    with pytest.raises(SpecError, match="one η per prompt"):
        _ = verifier.target.sharpness
    with pytest.raises(SpecError, match="declare eta"):
        verifier.turned({"eta": 1.0})
    c = Candidates(Groups.equal(1, 3), {"ok": np.array([1.0, 0.4, 0.0])})
    with pytest.raises(DataError, match=r"rollout 1 is 0.4 \(1 such"):
        verifier.target.tilt(c)


def test_the_two_semantics_of_a_finite_set(language):
    """Fixed: b·e^{ηU} on the set. Sampled: the same over μ. Mixing them is refused."""
    c = language()
    families = {
        s: FiniteCandidates(utility="reward", eta=1.3, semantics=s).target
        for s in ("sampled", "fixed")
    }
    fixed = replace(c, semantics="fixed")
    np.testing.assert_array_equal(
        families["fixed"].log_weights(fixed), families["fixed"].log_density(fixed)
    )
    np.testing.assert_allclose(
        families["sampled"].log_weights(c), families["sampled"].log_density(c) - c.log_mu
    )
    with pytest.raises(DataError, match="over fixed rollouts and these are sampled"):
        families["fixed"].log_weights(c)
    with pytest.raises(DataError, match="over sampled rollouts and these are fixed"):
        families["sampled"].log_weights(fixed)


def test_data_weigh_the_same_and_have_no_knob(language):
    data = Data()
    np.testing.assert_array_equal(data.target.log_weights(language()), 0.0)
    assert data.target.needs() == frozenset()
    assert (data.knobs(), data.turned({})) == ({}, data)
    with pytest.raises(SpecError, match="no knob"):
        data.turned({"eta": 1.0})


def test_preference_sharpness_is_one_over_scale_times_beta():
    family = PreferenceTarget(utility="r", beta=0.1, noise_scale=4.0)
    assert family.eta == pytest.approx(2.5)
    assert family.turned({"eta": 5.0}).beta == pytest.approx(0.05)
    with pytest.raises(SpecError, match="outside"):
        family.turned({"eta": 0.0})


REFUSED = [
    ({"kind": "verifier", "utility": "ok"}, "either eta or selectivity"),
    ({"kind": "verifier", "utility": "ok", "eta": 1, "selectivity": 0.5}, "either eta or"),
    ({"kind": "verifier", "utility": "ok", "selectivity": 1.0}, r"target\.selectivity"),
    ({"kind": "preference", "utility": "r", "beta": 0}, r"target\.beta"),
    ({"kind": "preference", "utility": "r", "beta": 1, "noise_scale": -1}, "noise_scale"),
    ({"kind": "multi_objective", "etas": {}}, r"target\.etas"),
    ({"kind": "multi_objective", "etas": {"r": -1}}, r"target\.etas\.r"),
    ({"kind": "teacher", "eta": 1, "form": "anchored"}, "anchored tilts the teacher by a reward"),
    ({"kind": "teacher", "eta": 1, "utility": "r"}, "no other form does"),
    ({"kind": "teacher", "eta": 1, "student": "teacher"}, "cannot be the teacher"),
    ({"kind": "teacher", "eta": -1}, r"target\.eta"),
    ({"kind": "finite_candidates", "utility": "r", "eta": 1}, r"target\.semantics: required"),
    (
        {"kind": "tilt", "anchor": {"kind": "mixture", "weights": {"ref": 0.0}}},
        r"target\.anchor\.weights\.ref",
    ),
    (
        {"kind": "tilt", "anchor": {"kind": "mixture", "weihgts": {"ref": 1.0}}},
        r"target\.anchor\.weihgts: unknown key",
    ),
]


@pytest.mark.parametrize(("target", "message"), REFUSED, ids=lambda x: str(x)[:60])
def test_bad_families_are_refused_with_a_way_out(target, message):
    with pytest.raises(SpecError, match=message):
        _Holder.parse({"target": target})


def test_a_mixture_has_no_exponents_to_pull_to():
    mixed = Target(anchor=Mixture(weights={"old": 0.4, "ref": 0.6}))
    assert mixed.names == ("old", "ref")
    both = Selectivity(utility="ok", mass=0.5)
    with pytest.raises(ValueError, match="tilts or selectivity"):
        Target.parse(
            {
                "anchor": {"ref": 1.0},
                "tilts": [{"utility": "ok", "eta": 1.0}],
                "selectivity": both.model_dump(),
            }
        )


def test_a_selectivity_counts_its_passes_inside_the_support():
    """The mass of passes is s of what the constraints leave, not of what they drop."""
    c = Candidates(
        Groups.equal(1, 4),
        {"ok": np.array([1.0, 0.0, 0.0, 0.0]), "fits": np.array([1.0, 1.0, 0.0, 0.0])},
        log_mu=np.log([0.1, 0.4, 0.3, 0.2]),
    )
    fixed = Selectivity(utility="ok", mass=0.5)
    target = Target(anchor={"mu": 1.0}, selectivity=fixed, support=("fits",))
    weights = c.contexts.softmax(target.log_weights(c))
    np.testing.assert_allclose(
        weights, [0.5, 0.5, 0.0, 0.0], rtol=of_weights("float64", 4, np.log(10))
    )
    assert target.surpassed(c) == 0.0
