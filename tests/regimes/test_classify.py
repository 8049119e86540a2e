"""Laws of the verdict, on summaries whose population intervals are planted."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, SpecError
from tod.diagnostics import (
    ContextCounts,
    Coverage,
    EssRel,
    Mismatch,
    Overlap,
    Summary,
    Tails,
)
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population import FEWEST_GROUPS
from tod.regimes import Thresholds, classify, classify_run, leg_words, not_milder
from tod.regimes.classify import missing_inputs
from tod.regimes.pool import pooled
from tod.regimes.regime import WORST_LAST, phase_point
from tolerance import significant

K16 = {"min": 16, "median": 16, "max": 16}
SIZES = ContextCounts(total=128, informative=128, candidates_per_context=K16)
WIDTH = 0.02
"""Half width of a planted interval."""


def ess(value, half=WIDTH, tenth=0.1, **more):
    """A leg whose median prompt has ``value``, and whose tenth has that much less."""

    def around(x):
        return Interval(max(x - half, 0.0), x, min(x + half, 1.0))

    return PopulationEss(around(value), around(max(value - tenth, 0.0)), 128, "pass_rates", **more)


def people(target=0.9, policy=0.95, both=0.9):
    """The three legs by the value of their median prompts; None: not recorded."""
    values = zip(LEGS, (target, policy, both), strict=True)
    return {leg: ess(value) for leg, value in values if value is not None}


def good(**changes):
    summary = Summary(
        contexts=SIZES,
        ess_rel=EssRel(0.9, 0.8, 0.88, (0.88, 0.92), (0.75, 0.83)),
        tails=Tails(0.1, 0.1, 0.2),
        overlap=Overlap(0.9, 0.95, 0.9, 0.9, k=16),
        coverage=Coverage(mean_rho=1.0, mean_rho_z=0.1),
        activation=0.02,
        population=people(),
    )
    return replace(summary, **changes)


def legs_of(target=0.9, policy=0.95, both=0.9, **changes):
    """`good` with other legs, in the sample as in the population."""
    known = [value for value in (target, policy, both) if value is not None]
    overlap = Overlap(target, policy, both, min(known, default=None), k=16)
    ess_rel = EssRel() if target is None else EssRel(target, max(target - 0.1, 0.0), target)
    return good(
        overlap=overlap, ess_rel=ess_rel, population=people(target, policy, both), **changes
    )


def rank(summary, **kwargs):
    return WORST_LAST.index(classify(summary, **kwargs).verdict)


unit = st.floats(0.01, 1.0)


@given(unit, unit, unit, st.floats(0.01, 1.0))
def test_a_lower_leg_never_improves_the_verdict(a, b, c, factor):
    start = rank(good(population=people(a, b, c)))
    for worse in ((a * factor, b, c), (a, b * factor, c), (a, b, c * factor)):
        assert rank(good(population=people(*worse))) >= start


@given(st.sampled_from(["target_proposal", "policy_proposal", "target_policy"]))
def test_an_unknown_leg_leaves_the_others_their_words(name):
    population = {leg: item for leg, item in people().items() if leg != name}
    unknown = {name: None}
    found = good(
        overlap=replace(good().overlap, **unknown), ess_rel=EssRel(), population=population
    )
    regime = classify(found)
    assert regime.verdict == "undetermined"
    assert f"overlap.{name}" in regime.missing
    words = {item.leg: item.word for item in regime.legs}
    assert words == dict.fromkeys(LEGS, "stable") | {name: "not_recorded"}


def test_a_leg_that_is_surely_low_is_told_whatever_is_unknown():
    regime = classify(legs_of(0.1, None, None))
    assert regime.verdict == "operator_dominated"
    assert regime.spoken == (
        "target/proposal: dominated; staleness not recorded; target/policy: not recorded"
    )


@pytest.mark.parametrize("name", ["policy_proposal", "target_policy"])
def test_a_leg_that_does_not_apply_caps_nothing(name):
    overlap = replace(good().overlap, **{name: None}, not_applicable=(name,))
    regime = classify(good(overlap=overlap))
    assert regime.verdict == "swap_stable"
    assert f"overlap.{name}" not in regime.missing


def test_on_policy_by_declaration_needs_one_measured_leg():
    overlap = Overlap(0.9, None, None, 0.9, declared=("policy_proposal",), k=16)
    found = good(overlap=overlap, population=people(0.9, None, None))
    assert classify(found).verdict == "swap_stable"
    assert classify(found).spoken == "target/proposal: stable; on-policy by declaration"
    low = good(overlap=overlap, population=people(0.2, None, None))
    assert classify(low).verdict == "operator_dominated"


def test_no_measured_leg_is_undetermined():
    overlap = Overlap(declared=("policy_proposal",), policy_proposal=1.0)
    regime = classify(good(overlap=overlap, ess_rel=EssRel(), population=None))
    assert regime.verdict == "undetermined"


def test_a_record_of_sample_statistics_alone_is_not_readable():
    """As version 0.1 wrote it."""
    regime = classify(good(population=None))
    assert regime.verdict == "undetermined"
    assert {item.word for item in regime.legs} == {"not_readable"}
    assert "not the counts that a verdict reads" in regime.reasons[0].why


@pytest.mark.parametrize(
    ("low", "value", "high", "word", "certain"),
    [
        (0.70, 0.80, 0.90, "stable", "stable"),
        (0.69, 0.80, 0.90, "transition", "not_readable"),
        (0.30, 0.50, 0.69, "transition", "transition"),
        (0.30, 0.50, 0.70, "transition", "not_readable"),
        (0.29, 0.50, 0.69, "transition", "not_readable"),
        (0.29, 0.50, 0.70, "not_readable", "not_readable"),
        (0.10, 0.20, 0.30, "transition", "not_readable"),
        (0.10, 0.20, 0.29, "dominated", "dominated"),
        (0.0, None, 0.29, "dominated", "dominated"),
        (0.0, None, 0.5, "transition", "not_readable"),
        (0.0, None, 0.7, "not_readable", "not_readable"),
        (None, 0.2, 0.29, "dominated", "dominated"),
        (None, 0.8, 0.9, "no_interval", "no_interval"),
        (0.786, None, 1.0, "stable", "stable"),
    ],
)
def test_a_word_needs_its_interval_on_one_side_of_the_bound(low, value, high, word, certain):
    found = PopulationEss(Interval(low, value, high), None, 64, "weight_moments")
    summary = good(population=people() | {"target_proposal": found})
    assert leg_words(summary)[0].word == word
    assert leg_words(summary, certain=True)[0].word == certain


@pytest.mark.parametrize(("tenth", "word"), [(0.26, "stable"), (0.25, "transition")])
def test_a_fragile_tenth_forbids_stable_only_where_it_is_sure(tenth, word):
    found = PopulationEss(
        Interval(0.75, 0.8, 0.85), Interval(0.1, 0.2, tenth), 64, "weight_moments"
    )
    (first, *_) = leg_words(good(population=people() | {"target_proposal": found}))
    assert first.word == word


def test_off_policy_a_point_makes_no_run_stable_and_can_make_it_dominated():
    for high, verdict in ((0.29, "operator_dominated"), (0.95, "undetermined")):
        point = PopulationEss(Interval(None, high - 0.1, high), None, 64, "sample")
        regime = classify(good(population=people() | {"target_policy": point}))
        assert regime.verdict == verdict


@pytest.mark.parametrize(
    ("bound", "everybody", "verdict"),
    [
        (None, None, "transition"),
        (0.786, None, "swap_stable"),
        (None, (0.72, 1.0), "swap_stable"),
        (0.2, (0.5, 1.0), "transition"),
    ],
)
def test_mostly_blind_prompts_need_a_bound_that_holds_for_all(bound, everybody, verdict):
    counts = replace(SIZES, informative=38, zero_information=90, all_pass=0, all_fail=90)
    first = ess(0.9, bound=bound, all_prompts=everybody)
    found = good(contexts=counts, population=people() | {"target_proposal": first})
    assert classify(found).verdict == verdict
    if verdict == "transition":
        (reason,) = classify(found).reasons
        assert "90 of 128 prompts are zero-variance groups" in reason.why
        assert reason.remedy.startswith("90 prompts never succeed: raise K beyond 16")


def test_an_assumed_target_has_no_word():
    for population in (people(), people(0.1, 0.1, 0.1)):
        regime = classify(good(population=population), assumed_target=True)
        assert regime.verdict == "undetermined"
        assert regime.reasons[0].kind == "assumed_target"


def test_evidence_default_is_what_its_docstring_derives():
    """8: the 90 % interval of the median excludes the extremes."""
    from scipy.stats import binom

    first = next(n for n in range(1, 99) if binom.cdf(1, n, 0.5) <= 0.05)
    assert first == FEWEST_GROUPS


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"activation": 0.5}, "changes 50%"),
        ({"coverage": Coverage(missing_mass=0.6)}, "not drawn yet"),
    ],
)
def test_each_bound_alone_makes_a_transition(change, word):
    regime = classify(good(**change))
    assert regime.verdict == "transition"
    assert len(regime.reasons) == 1
    assert word in regime.reasons[0].why
    assert regime.reasons[0].remedy


@pytest.mark.parametrize(
    ("forward", "reverse", "k", "missed"),
    [
        (0.53, 0.33, 16, False),  # mu normal, U = y, eta = 1, truth 0.368: both read one number
        (0.69, 0.27, 4, False),  # the same at K = 4
        (0.56, 0.049, 4, False),  # eta = 1.5, truth 0.105
        (0.34, 0.081, 16, False),
        (0.23, 0.0965, 64, False),
        (0.82, 1e-4, 16, True),  # a planted hole
        (0.9, 0.19, 16, True),  # a mode of mass 0.2 of which mu draws 0.01
        (0.9, 0.0, 2, True),
    ],
)
def test_only_a_gap_to_the_forward_reading_is_a_missed_mode(forward, reverse, k, missed):
    found = good(
        ess_rel=EssRel(forward, 0.3, forward),
        overlap=replace(good().overlap, k=k),
        coverage=Coverage(reverse_ess=reverse),
    )
    regime = classify(found, eta=1.0)
    (reason,) = [r for r in regime.reasons if r.kind in {"missed_mode", "low_reverse"}]
    assert (reason.kind == "missed_mode") == missed
    assert ("lower eta from 1" in reason.remedy) != missed
    assert reason.verdict == ("transition" if reverse > 0.3 else "operator_dominated")


@pytest.mark.parametrize("forward", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(("k", "few"), [(4, 0.25), (8, 0.5), (16, 1.0), (64, 1.0), (None, 1.0)])
def test_a_mode_is_missed_below_a_quarter_of_the_squared_forward_reading(forward, k, few):
    """The edge F²/4 · min(1, K/16), from both sides of it."""
    edge = few * forward**2 / 4
    for reverse, missed in ((edge * 0.999, True), (edge * 1.001, False)):
        record = good(
            ess_rel=EssRel(forward, 0.3, forward),
            overlap=replace(good().overlap, k=k),
            coverage=Coverage(reverse_ess=reverse),
        )
        kinds = {reason.kind for reason in classify(record).reasons}
        assert ("missed_mode" in kinds, "low_reverse" in kinds) == (missed, not missed)


def test_a_low_reverse_alone_is_no_missed_mode():
    unknown = good(ess_rel=EssRel(), coverage=Coverage(reverse_ess=0.1))
    assert not any("misses" in reason.why for reason in classify(unknown).reasons)


def test_no_eta_reaches_what_the_policy_cannot():
    overlap = replace(good().overlap, target_policy=0.0)
    point = PopulationEss(Interval(None, 0.0, 0.0), None, 64, "sample")
    found = good(overlap=overlap, population=people() | {"target_policy": point})
    (reason,) = classify(found, eta=1.0, eta_max=0.5).reasons
    assert reason.verdict == "operator_dominated"
    assert "probability 0 to rollouts that the target wants" in reason.why
    assert "no eta lifts" in reason.remedy
    assert "lower eta" not in reason.remedy
    tenth = replace(good().overlap, q10={"target_policy": 0.0})
    (reason,) = classify(good(overlap=tenth), eta=1.0).reasons
    assert reason.verdict == "transition"
    assert "no eta lifts" in reason.remedy


def test_a_target_that_cannot_be_weighed_is_no_lack_of_the_policy():
    found = legs_of(None, 0.95, None, tails=Tails())
    reasons = classify(found, needs="give a log_ref column").reasons
    assert [r.remedy for r in reasons] == ["give a log_ref column"] * 2
    assert not any("log_policy" in reason.remedy for reason in classify(found).reasons)
    unscored = replace(good().overlap, target_policy=None, unknown=90)
    (reason,) = classify(good(overlap=unscored, population=people(both=None))).reasons
    assert "not usable for 90 prompts" in reason.remedy


def low_leg(value, **changes):
    return legs_of(value, 1.0, value, **changes)


def test_remedies_carry_the_numbers_they_are_given():
    low = low_leg(0.2)
    with_search = classify(low, eta=5.0, eta_max=1.9, k_needed=64).reasons[0].remedy
    assert "lower eta from 5 to at most 1.9, which keeps the median ESS_rel at 0.7" in with_search
    assert "raise K from 16 to at least 64" in with_search
    wide = classify(low, eta=1.0, eta_max=3.0).reasons[0].remedy
    assert "eta = 1 is feasible by its point (up to 3)" in wide
    never = classify(low, eta=1.0, eta_max=0.0).reasons[0].remedy
    assert never == (
        "change the anchor or the proposal: no eta keeps the median ESS_rel at 0.7 here"
    )


@pytest.mark.parametrize("value", [0.04, 0.2, 0.5])
def test_without_a_search_no_effect_of_eta_is_promised(value):
    """ln ESS ∝ -eta² took a 0/1 utility from .2 to .36 where it promised .70."""
    low = low_leg(value, activation=0.5)
    for reason in classify(low, eta=5.0).reasons:
        assert not re.search(r"eta from 5 to|brings|times", reason.remedy)
    assert classify(low, eta=5.0).reasons[0].remedy == "lower eta from 5"


def test_feasible_for_a_lower_goal_is_not_feasible_for_the_bound():
    """The sharpness that keeps 0.5 says nothing of the bound 0.7 that was missed."""
    low = low_leg(0.6)
    (first, *_) = classify(low, eta=1.0, eta_max=1.19, eta_goal=0.5).reasons
    assert "target/proposal" in first.why
    assert first.remedy == "lower eta from 1"
    (first, *_) = classify(low, eta=1.0, eta_max=0.81234, eta_goal=0.7).reasons
    assert "lower eta from 1 to at most 0.812," in first.remedy


def test_a_gap_between_policy_and_proposal_is_no_matter_of_eta():
    far = legs_of(0.93, 0.23, 0.05)
    engine = replace(far, mismatch=Mismatch(ess_rel=0.25))
    for summary in (far, engine):
        by_leg = {r.why.split(":")[0]: r for r in classify(summary, eta=1.0, eta_max=4.0).reasons}
        assert set(by_leg) == {"policy/proposal", "target/policy"}
        assert all("lower eta" not in r.remedy for r in by_leg.values())
    assert "start nearer" in classify(far).reasons[1].remedy
    assert "one, 0.93, and a refresh" in classify(far).reasons[1].remedy
    assert (
        classify(engine).reasons[1].remedy.startswith("mend the sampling engine first, about 94%")
    )


def test_a_refresh_leaves_the_engine_mismatch():
    far = legs_of(0.9, 0.2, 0.9)
    known = classify(replace(far, mismatch=Mismatch(ess_rel=0.95))).reasons[0].remedy
    assert "(the leg returns to about 0.95 at the refresh)" in known
    unknown = classify(far).reasons[0].remedy
    assert "(the leg returns to 1, but for engine mismatch, at the refresh)" in unknown


@pytest.mark.parametrize(
    ("passes", "fails", "words"),
    [(1, 0, "1 prompt always succeeds: give"), (0, 1, "1 prompt never succeeds: raise K beyond")],
)
def test_words_agree_in_number(passes, fails, words):
    counts = replace(SIZES, informative=7, zero_information=1, all_pass=passes, all_fail=fails)
    few = PopulationEss(None, None, 7, None, "7 groups of 8 with rewards that differ: 8 needed")
    found = good(contexts=counts, population=people() | {"target_proposal": few})
    (reason,) = classify(found).reasons
    assert words in reason.remedy
    assert "7 groups of 8" in reason.why


def test_engine_mismatch_is_read_per_token_where_length_drowns_both():
    far = legs_of(0.9, 0.0625, 0.9)
    gaps = {"mismatch": Mismatch(ess_rel=0.0625, k3=1e-4), "staleness": Mismatch(k3=9e-4)}
    assert "refresh mu" in classify(replace(far, **gaps)).reasons[0].remedy
    gaps = {"mismatch": Mismatch(ess_rel=0.0625, k3=9e-4), "staleness": Mismatch(k3=1e-4)}
    assert "about 90% of the gap" in classify(replace(far, **gaps)).reasons[0].remedy


def test_engine_mismatch_is_not_mended_by_a_refresh():
    far = legs_of(0.9, 0.2, 0.9)
    stale = classify(replace(far, mismatch=Mismatch(ess_rel=0.95)))
    engine = classify(replace(far, mismatch=Mismatch(ess_rel=0.25)))
    assert "refresh mu" in stale.reasons[0].remedy
    assert "mend the sampling engine" in engine.reasons[0].remedy


def test_missing_inputs_are_named():
    assert set(missing_inputs(Summary())) == {
        "overlap.target_proposal",
        "overlap.policy_proposal",
        "overlap.target_policy",
        "activation",
        "contexts.candidates_per_context",
        "coverage",
    }
    assert classify(Summary()).verdict == "undetermined"


def test_a_gate_is_missing_only_where_a_policy_is_trained():
    searched = Overlap(target_proposal=0.9, not_applicable=("policy_proposal", "target_policy"))
    assert "activation" not in missing_inputs(Summary(overlap=searched))
    trained = Overlap(target_proposal=0.9, not_applicable=("target_policy",))
    assert "activation" in missing_inputs(Summary(overlap=trained))


def test_thresholds_are_ordered_and_named():
    with pytest.raises(SpecError, match=r"overlap_dominated = 0\.8 exceeds overlap_stable = 0\.7"):
        Thresholds.parse({"overlap_dominated": 0.8})
    with pytest.raises(SpecError, match="overlap_stable"):
        Thresholds.parse({"overlap_stabel": 0.8})
    with pytest.raises(SpecError, match=r"ess_two_stable is no longer read.*give overlap_stable"):
        Thresholds.parse({"ess_two_stable": 0.9})
    with pytest.raises(SpecError, match=r"min_candidates is no longer read.*leave it out"):
        Thresholds.parse({"min_candidates": 16})


def test_the_regime_is_plain_data():
    data = classify(good(activation=0.5), assumed_target=True).to_dict()
    assert list(data) == [
        "verdict",
        "in_words",
        "legs",
        "reasons",
        "missing",
        "point",
        "eta_intervals",
        "thresholds",
    ]
    assert all(set(reason) == {"why", "remedy", "kind"} for reason in data["reasons"])
    assert data["point"]["region"] == "swap_stable"


@pytest.mark.parametrize(
    ("low", "high", "region"),
    [
        (0.7, 0.9, "swap_stable"),
        (0.69, 0.9, "transition"),
        (0.2, 0.9, "transition"),
        (0.1, 0.3, "transition"),
        (0.1, 0.29, "operator_dominated"),
        (0.0, 0.29, "operator_dominated"),
    ],
)
def test_the_plain_phase_diagram(low, high, region):
    found = PopulationEss(Interval(low, None, high), None, 64, "weight_moments")
    point = phase_point(good(population={"target_proposal": found}, tails=Tails(0.4)))
    assert (point.coverage, point.tail) == (high, 0.4)
    assert point.region() == region


def test_without_an_interval_the_diagram_has_no_region():
    point = phase_point(good(population=None))
    assert point.coverage == 0.9
    assert point.region() == "undetermined"


def test_pooling_adds_counts_and_averages_what_is_known():
    a, b = good(activation=0.1), good(activation=None, ess_rel=EssRel(0.5, 0.2, 0.5))
    both = pooled([a, b])
    assert both.contexts.informative == 256
    assert both.contexts.candidates_per_context == K16
    assert both.activation == pytest.approx(0.1)
    assert both.ess_rel.median == pytest.approx(0.7)
    assert both.ess_rel.median_ci90 is None
    with pytest.raises(DataError, match="no summaries"):
        pooled([])


def test_remedy_names_the_coefficients_of_a_two_anchor_target() -> None:
    """A knob that the recipe has: 1/(tau + beta) is the eta advised, at the same proportion."""
    low = legs_of(0.2, 0.95, 0.9)
    found = classify(low, eta=5.0, eta_max=2.354, anchors=(0.15, 0.05))
    remedy = next(r.remedy for r in found.reasons if "tau + beta" in r.remedy)
    eta = float(re.search(r"at most ([\d.]+)", remedy)[1])
    total, tau, beta = map(
        float, re.search(r"from 0.2 to ([\d.]+) \(tau ([\d.]+), beta ([\d.]+)\)", remedy).groups()
    )
    near = 2 * significant(3)  # two written numbers are compared
    assert total == pytest.approx(1 / eta, rel=near)
    assert tau + beta == pytest.approx(total, rel=near)
    assert tau / beta == pytest.approx(3.0, rel=near)
    (first, *_) = classify(low, eta=5.0, anchors=(0.15, 0.05)).reasons
    assert first.remedy == "lower eta from 5: tau + beta up from 0.2, at their proportion"


def test_a_budget_is_turned_in_the_place_of_the_sharpness_it_finds() -> None:
    low = legs_of(0.02, 0.9, 0.02)
    reasons = classify(low, budget=0.5, k_needed=64).reasons
    remedy = next(r.remedy for r in reasons if "budget" in r.remedy)
    assert "lower the KL budget, operator.action.weights.budget, from 0.5 nats" in remedy
    assert not any("lower eta" in r.remedy or "keep eta" in r.remedy for r in reasons)


@pytest.mark.parametrize("name", sorted(Thresholds.model_fields))
def test_a_bound_of_a_share_is_a_share(name):
    """ESS_rel, legs, weights and shares are at most 1: a bound above would never be met."""
    unbounded = ("mean_rho", "min_")
    if name.startswith(unbounded):
        assert getattr(Thresholds(**{name: 2}), name) == 2
        return
    with pytest.raises(ValueError, match="less than"):
        Thresholds(**{name: 1.5})


def test_a_statistic_on_its_bound_is_inside():
    bounds = Thresholds()
    at = good(activation=bounds.activation_stable)
    assert "trust_region" not in {r.kind for r in classify(at).reasons}
    over = good(activation=bounds.activation_stable + 0.01)
    assert "trust_region" in {r.kind for r in classify(over).reasons}


def test_a_leg_declared_in_every_step_is_declared_in_the_run():
    """In all of them, whichever comes first; not in some."""
    leg = "policy_proposal"
    one = good(overlap=Overlap(0.9, None, 0.9, 0.9, declared=(leg, "target_policy"), k=16))
    two = good(overlap=Overlap(0.9, None, 0.9, 0.9, declared=(leg,), k=16))
    assert pooled([one]).overlap.declared == (leg, "target_policy")
    for records in ([one, two], [two, one], [one, two, two]):
        assert pooled(records).overlap.declared == (leg,)


def verdict(word, low=0.0, high=1.0):
    return replace(classify(good()), verdict=word)


ORDERED = ("swap_stable", "transition", "operator_dominated")


@given(st.lists(st.sampled_from(ORDERED), min_size=1, max_size=6), st.sampled_from(ORDERED))
def test_a_pool_is_never_milder_than_its_mildest_step(steps, whole):
    judged = not_milder(verdict(whole), [verdict(word) for word in steps])
    mildest = min(map(ORDERED.index, steps))
    assert ORDERED.index(judged.verdict) == max(mildest, ORDERED.index(whole))


@given(st.lists(st.sampled_from((*ORDERED, "undetermined")), min_size=1, max_size=6))
def test_a_step_that_cannot_be_read_says_nothing_of_the_pool(steps):
    judged = not_milder(verdict("swap_stable"), [verdict(w) for w in (*steps, "undetermined")])
    assert judged.verdict == "swap_stable"


def test_a_run_without_counts_is_not_readable():
    regime = classify_run([good(), good()])
    assert regime.verdict == "undetermined"
    assert {item.word for item in regime.legs} == {"not_readable"}
