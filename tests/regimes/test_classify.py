"""Laws of the verdict, on summaries."""

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
from tod.regimes import Thresholds, classify, classify_run, ess_two, remedies
from tod.regimes.classify import missing_inputs, pooled
from tod.regimes.regime import ORDER, phase_point
from tod.regimes.remedies import more_contexts
from tolerance import printed, significant

K16 = {"min": 16, "median": 16, "max": 16}
SIZES = ContextCounts(total=128, informative=128, candidates_per_context=K16)


def good(**changes):
    summary = Summary(
        contexts=SIZES,
        ess_rel=EssRel(0.9, 0.8, 0.88, (0.88, 0.92), (0.75, 0.83)),
        tails=Tails(0.1, 0.1, 0.2),
        overlap=Overlap(0.9, 0.95, 0.9, 0.9, k=16),
        coverage=Coverage(mean_rho=1.0, mean_rho_z=0.1),
        activation=0.02,
    )
    return replace(summary, **changes)


def rank(summary, **kwargs):
    return ORDER.index(classify(summary, **kwargs).verdict)


unit = st.floats(0.01, 1.0)


@given(unit, unit, unit, unit, unit, st.floats(0.01, 1.0))
def test_a_lower_leg_never_improves_the_verdict(a, b, c, q10, weight, factor):
    summary = good(
        overlap=Overlap(a, b, c, min(a, b, c), k=16),
        ess_rel=EssRel(a, q10, a),
        tails=Tails(weight, 0.1),
    )
    for worse in (
        replace(summary, overlap=replace(summary.overlap, target_proposal=a * factor)),
        replace(summary, overlap=replace(summary.overlap, policy_proposal=b * factor)),
        replace(summary, overlap=replace(summary.overlap, target_policy=c * factor)),
        replace(summary, ess_rel=replace(summary.ess_rel, q10=q10 * factor)),
        replace(summary, tails=replace(summary.tails, max_weight_median=weight / factor)),
    ):
        assert rank(worse) >= rank(summary)


@given(st.sampled_from(["target_proposal", "policy_proposal", "target_policy"]))
def test_an_unknown_leg_caps_at_transition(name):
    regime = classify(good(overlap=replace(good().overlap, **{name: None}), ess_rel=EssRel()))
    assert regime.verdict == "transition"
    assert f"overlap.{name}" in regime.missing


@pytest.mark.parametrize("name", ["policy_proposal", "target_policy"])
def test_a_leg_that_does_not_apply_caps_nothing(name):
    overlap = replace(good().overlap, **{name: None}, not_applicable=(name,))
    regime = classify(good(overlap=overlap))
    assert regime.verdict == "swap_stable"
    assert f"overlap.{name}" not in regime.missing


def test_on_policy_by_declaration_needs_one_measured_leg():
    overlap = Overlap(0.9, None, None, 0.9, declared=("policy_proposal",), k=16)
    assert classify(good(overlap=overlap)).verdict == "swap_stable"
    low = Overlap(0.2, None, None, 0.2, declared=("policy_proposal",), k=16)
    assert classify(good(overlap=low)).verdict == "operator_dominated"


def test_no_measured_leg_is_undetermined():
    overlap = Overlap(declared=("policy_proposal",), policy_proposal=1.0)
    regime = classify(good(overlap=overlap, ess_rel=EssRel()))
    assert regime.verdict == "undetermined"


def test_an_unresolved_median_is_not_stable():
    wide = EssRel(0.75, 0.6, 0.75, (0.6, 0.9))
    overlap = Overlap(0.75, 0.95, 0.75, 0.75, k=16)
    regime = classify(good(ess_rel=wide, overlap=overlap))
    assert regime.verdict == "transition"
    # the interval is 0.15 wide on that side and must shrink to 0.05: nine times the contexts
    assert "measure about 1152 informative prompts instead of 128" in regime.reasons[0].remedy


@pytest.mark.parametrize(
    ("informative", "verdict"),
    [(7, "undetermined"), (8, "transition"), (28, "transition"), (29, "swap_stable")],
)
def test_evidence(informative, verdict):
    counts = replace(SIZES, total=informative, informative=informative)
    assert classify(good(contexts=counts)).verdict == verdict


def test_evidence_is_that_of_the_common_k():
    """Twenty-nine contexts of 29 sizes are one context and 28 others."""
    overlap = replace(good().overlap, contexts=7)
    (first, *_) = classify(good(overlap=overlap)).reasons
    assert first.verdict == "undetermined"
    assert first.why.startswith(
        "7 informative prompts at the most common K, 16: 128 at any K of 128"
    )
    assert "pool about 2 such batches" in first.remedy
    counts = replace(SIZES, informative=29)
    enough = good(overlap=replace(overlap, contexts=29), contexts=counts)
    assert classify(enough).verdict == "swap_stable"
    both = pooled([good(overlap=replace(overlap, contexts=n)) for n in (7, 22)])
    assert both.overlap.contexts == 29


@pytest.mark.parametrize(("at_k", "verdict"), [(115, "transition"), (116, "swap_stable")])
def test_contexts_of_another_k_are_not_passed_over_in_silence(at_k, verdict):
    """A tenth of 128 is 12.8: with 13 unread, the worst tenth may be all among them."""
    regime = classify(good(overlap=replace(good().overlap, contexts=at_k)))
    assert regime.verdict == verdict
    if verdict == "transition":
        (reason,) = regime.reasons
        assert reason.why.startswith("13 of 128 informative prompts have another K than 16")
        assert "--per-context" in reason.remedy


def test_evidence_defaults_are_what_their_docstrings_derive():
    """8: the 90 % interval of the median excludes the extremes; 29: q10 is bounded below."""
    from scipy.stats import binom

    bounds = Thresholds()
    first = next(n for n in range(1, 99) if binom.cdf(1, n, 0.5) <= 0.05)
    assert first == bounds.min_informative
    assert next(n for n in range(1, 99) if 0.9**n <= 0.05) == bounds.min_informative_stable
    assert bounds.max_weight_stable == pytest.approx((0.7 * 16) ** -0.5, abs=printed(2))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tails": Tails(0.4, 0.1)}, "one rollout carries 40%"),
        ({"tails": Tails(0.1, 2.0)}, "variance of log w is 2.00"),
        ({"tails": Tails(0.1, 0.1, None, 0.9)}, "Pareto"),
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


@pytest.mark.parametrize(("k", "weight"), [(2, 0.84), (4, 0.59), (8, 0.42)])
def test_at_few_candidates_a_large_weight_is_a_matter_of_k(k, weight):
    """ESS_rel 0.7 at K allows a largest weight of 1/sqrt(0.7 K): 0.845, 0.598, 0.423."""
    few = good(tails=Tails(weight, 0.1), overlap=replace(good().overlap, k=k))
    (reason,) = classify(few, eta=1.0).reasons
    assert reason.why.startswith(f"K is {k}")
    assert "eta" not in reason.remedy
    heavier = replace(few, tails=Tails(weight + 0.02, 0.1))
    assert "one rollout carries" in classify(heavier, eta=1.0).reasons[1].why


def test_no_eta_reaches_what_the_policy_cannot():
    overlap = replace(good().overlap, target_policy=0.0)
    (reason,) = classify(good(overlap=overlap), eta=1.0, eta_max=0.5).reasons
    assert reason.verdict == "operator_dominated"
    assert "probability 0 to rollouts that the target wants" in reason.why
    assert "no eta lifts" in reason.remedy
    assert "lower eta" not in reason.remedy
    tenth = replace(good().overlap, q10={"target_policy": 0.0})
    (reason,) = classify(good(overlap=tenth), eta=1.0).reasons
    assert reason.verdict == "transition"
    assert "no eta lifts" in reason.remedy


def test_a_target_that_cannot_be_weighed_is_no_lack_of_the_policy():
    overlap = Overlap(policy_proposal=0.95, k=16)
    found = good(overlap=overlap, ess_rel=EssRel(), tails=Tails())
    reasons = classify(found, needs="give a log_ref column").reasons
    assert [r.remedy for r in reasons] == ["give a log_ref column"] * 2
    assert not any("log_policy" in reason.remedy for reason in classify(found).reasons)
    unscored = replace(good().overlap, target_policy=None, unknown=90)
    (reason,) = classify(good(overlap=unscored)).reasons
    assert "not usable for 90 prompts" in reason.remedy


def low_leg(value, **changes):
    return good(
        ess_rel=EssRel(value, value - 0.01, value),
        overlap=Overlap(value, 1.0, value, k=16),
        **changes,
    )


def test_remedies_carry_the_numbers_they_are_given():
    low = low_leg(0.2)
    with_search = classify(low, eta=5.0, eta_max=1.9, k_needed=64).reasons[0].remedy
    assert "lower eta from 5 to at most 1.9, which keeps the median ESS_rel at 0.7" in with_search
    assert "raise K from 16 to at least 64" in with_search
    assert (
        "change the anchor or the proposal" in classify(low, eta=1.0, eta_max=3.0).reasons[0].remedy
    )
    never = classify(low, eta=1.0, eta_max=0.0).reasons[0].remedy
    assert never == (
        "change the anchor or the proposal: no eta keeps the median ESS_rel at 0.7 here"
    )


@pytest.mark.parametrize("value", [0.04, 0.2, 0.5])
def test_without_a_search_no_effect_of_eta_is_promised(value):
    """ln ESS ∝ -eta² took a 0/1 utility from .2 to .36 where it promised .70."""
    low = low_leg(value, tails=Tails(0.6, 3.0, None, 0.9), activation=0.5)
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


@pytest.mark.parametrize("change", [{"tails": Tails(0.4, 0.1)}, {"ess_rel": EssRel(0.9, 0.2, 0.9)}])
def test_a_feasible_median_excuses_no_tail(change):
    (reason,) = classify(good(**change), eta=1.0, eta_max=1.5, eta_goal=0.7).reasons
    assert "feasible" not in reason.remedy
    assert reason.remedy.startswith("lower eta from 1")


def test_a_run_says_that_it_is_read_on_means_over_steps():
    steps = [low_leg(0.95), low_leg(0.5)]
    why = classify_run(steps).reasons[0].why
    assert (
        why == "the target/proposal leg of overlap is 0.72 (mean over steps), between 0.4 and 0.9"
    )
    assert "mean over steps" not in classify(low_leg(0.5)).reasons[0].why
    some = classify_run(steps, eta=1.0, eta_max=2.0, eta_goal=0.9).reasons[0].remedy
    assert some == "over all prompts eta = 1 is feasible (up to 2): look for the steps that fell"


def test_a_gap_between_policy_and_proposal_is_no_matter_of_eta():
    far = good(overlap=Overlap(0.93, 0.23, 0.05, 0.05, k=16))
    engine = replace(far, mismatch=Mismatch(ess_rel=0.25))
    for summary in (far, engine):
        by_leg = {r.why.split()[1]: r for r in classify(summary, eta=1.0, eta_max=4.0).reasons}
        assert set(by_leg) == {"policy/proposal", "target/policy"}
        assert all("lower eta" not in r.remedy for r in by_leg.values())
    assert "start nearer" in classify(far).reasons[1].remedy
    assert "one, 0.93, and a refresh" in classify(far).reasons[1].remedy
    assert (
        classify(engine).reasons[1].remedy.startswith("mend the sampling engine first, about 94%")
    )


def test_a_refresh_leaves_the_engine_mismatch():
    overlap = Overlap(0.9, 0.2, 0.9, 0.2, k=16)
    known = classify(good(overlap=overlap, mismatch=Mismatch(ess_rel=0.95))).reasons[0].remedy
    assert "(the leg returns to about 0.95 at the refresh)" in known
    unknown = classify(good(overlap=overlap)).reasons[0].remedy
    assert "(the leg returns to 1, but for engine mismatch, at the refresh)" in unknown


@pytest.mark.parametrize(
    ("passes", "fails", "words"),
    [(1, 0, "1 prompt always succeeds: give"), (0, 1, "1 prompt never succeeds: raise K beyond")],
)
def test_words_agree_in_number(passes, fails, words):
    counts = replace(SIZES, informative=7, zero_information=1, all_pass=passes, all_fail=fails)
    assert words in classify(good(contexts=counts)).reasons[0].remedy


def test_pooling_more_of_the_same_does_not_lower_the_blind_share():
    counts = replace(SIZES, informative=38, zero_information=90, all_pass=0, all_fail=90)
    (reason,) = classify(good(contexts=counts)).reasons
    assert "zero-variance groups" in reason.why
    assert reason.remedy.startswith("90 prompts never succeed: raise K beyond 16")
    graded = replace(counts, all_fail=None, all_pass=None)
    assert "pool" not in classify(good(contexts=graded)).reasons[0].remedy


def test_engine_mismatch_is_read_per_token_where_length_drowns_both():
    overlap = Overlap(0.9, 0.0625, 0.9, 0.0625, k=16)
    gaps = {"mismatch": Mismatch(ess_rel=0.0625, k3=1e-4), "staleness": Mismatch(k3=9e-4)}
    assert "refresh mu" in classify(good(overlap=overlap, **gaps)).reasons[0].remedy
    gaps = {"mismatch": Mismatch(ess_rel=0.0625, k3=9e-4), "staleness": Mismatch(k3=1e-4)}
    assert "about 90% of the gap" in classify(good(overlap=overlap, **gaps)).reasons[0].remedy


def test_engine_mismatch_is_not_mended_by_a_refresh():
    overlap = Overlap(0.9, 0.2, 0.9, 0.2, k=16)
    stale = classify(good(overlap=overlap, mismatch=Mismatch(ess_rel=0.95)))
    engine = classify(good(overlap=overlap, mismatch=Mismatch(ess_rel=0.25)))
    assert "refresh mu" in stale.reasons[0].remedy
    assert "mend the sampling engine" in engine.reasons[0].remedy


def test_missing_inputs_are_named():
    assert set(missing_inputs(Summary())) == {
        "overlap.target_proposal",
        "overlap.policy_proposal",
        "overlap.target_policy",
        "tails.max_weight_median",
        "tails.log_w_variance_median",
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
    with pytest.raises(SpecError, match="a larger weight is worse"):
        Thresholds.parse({"max_weight_stable": 0.9})


def test_the_regime_is_plain_data():
    data = classify(good(activation=0.5), assumed_target=True).to_dict()
    assert list(data) == ["verdict", "reasons", "missing", "point", "eta_intervals", "thresholds"]
    assert all(set(reason) == {"why", "remedy"} for reason in data["reasons"])
    assert data["point"]["region"] == "swap_stable"


@pytest.mark.parametrize(
    ("median", "weight", "region"),
    [
        (0.9, 0.1, "swap_stable"),
        (0.6, 0.1, "transition"),
        (0.9, 0.4, "transition"),
        (0.4, 0.1, "operator_dominated"),
        (0.9, 0.6, "operator_dominated"),
        (None, 0.6, "undetermined"),
    ],
)
def test_the_plain_phase_diagram(median, weight, region):
    point = phase_point(good(ess_rel=EssRel(median), tails=Tails(weight)))
    assert point.region() == region


def test_ess_two_is_the_smaller_step_mean():
    a = good(overlap=Overlap(0.9, 0.5, None))
    b = good(overlap=Overlap(0.6, 0.9, None))
    unknown = good(overlap=Overlap(None, None, None), ess_rel=EssRel())
    assert ess_two([a, b]) == pytest.approx(0.7)
    assert ess_two([a, b, unknown]) == pytest.approx(0.7)
    assert ess_two([unknown]) is None


def test_a_run_is_read_on_its_first_two_legs():
    """The band of step-means was fitted to two legs; a batch needs all three."""
    two = good(overlap=Overlap(0.95, 0.95, None, k=16), ess_rel=EssRel(0.95, 0.9, 0.95))
    assert classify(two).verdict == "transition"
    assert classify_run([two, two]).verdict == "swap_stable"


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
    low = good(overlap=Overlap(0.2, 0.95, 0.9, 0.2, k=16))
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
    low = good(overlap=Overlap(0.02, 0.9, 0.02, k=16, contexts=64))
    reasons = classify(low, budget=0.5, k_needed=64).reasons
    remedy = next(r.remedy for r in reasons if "budget" in r.remedy)
    assert "lower the KL budget, operator.action.weights.budget, from 0.5 nats" in remedy
    assert not any("lower eta" in r.remedy or "keep eta" in r.remedy for r in reasons)


@pytest.mark.parametrize("name", sorted(Thresholds.model_fields))
def test_a_bound_of_a_share_is_a_share(name):
    """ESS_rel, legs, weights and shares are at most 1: a bound above would never be met."""
    unbounded = ("log_w_variance", "pareto_k", "mean_rho", "min_")
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


def test_a_remedy_asks_for_twenty_times_the_contexts_at_the_most(monkeypatch):
    """The width of an interval shrinks as 1/√n: four times nearer takes sixteen times as many."""
    assert "about 160 informative prompts instead of 10" in more_contexts(10, 0.75, 0.25, 0.625)
    monkeypatch.setattr(remedies, "MOST_TIMES", 16.0)
    assert "about 160 informative prompts instead of 10" in more_contexts(10, 0.75, 0.25, 0.625)
    monkeypatch.setattr(remedies, "MOST_TIMES", 15.9)
    assert "on the bound" in more_contexts(10, 0.75, 0.25, 0.625)


@pytest.mark.parametrize(("blind", "shown"), [(0, 0), (None, 0), (3, 3)])
def test_prompts_without_variance_are_counted_as_they_are(blind, shown):
    counts = ContextCounts(total=9, informative=4, zero_information=blind, singleton=2)
    found = classify(good(contexts=counts))
    assert found.verdict == "undetermined"
    few = next(r for r in found.reasons if r.kind == "few_contexts")
    assert f"({shown} " in few.why


def test_a_leg_declared_in_every_step_is_declared_in_the_run():
    """In all of them, whichever comes first; not in some."""
    leg = "policy_proposal"
    one = good(overlap=Overlap(0.9, None, 0.9, 0.9, declared=(leg, "target_policy"), k=16))
    two = good(overlap=Overlap(0.9, None, 0.9, 0.9, declared=(leg,), k=16))
    assert pooled([one]).overlap.declared == (leg, "target_policy")
    for records in ([one, two], [two, one], [one, two, two]):
        assert pooled(records).overlap.declared == (leg,)


def test_a_point_on_an_edge_of_the_plain_diagram_is_on_the_better_side():
    bounds = Thresholds()
    high, mild = bounds.ess_median_stable, bounds.max_weight_stable
    low, heavy = bounds.ess_median_dominated, bounds.max_weight_dominated

    def read(median, weight):
        point = phase_point(good(ess_rel=EssRel(median), tails=Tails(weight)))
        return point.region(bounds)

    assert read(high, mild) == "swap_stable"
    assert read(high - 0.01, mild) == read(high, mild + 0.01) == "transition"
    assert read(low, heavy) == "transition"
    assert read(low - 0.01, heavy) == read(low, heavy + 0.01) == "operator_dominated"


def test_without_an_informative_prompt_no_other_k_is_spoken_of():
    counts = ContextCounts(total=9, informative=0, zero_information=9)
    few = next(r for r in classify(good(contexts=counts)).reasons if r.kind == "few_contexts")
    assert "most common K" not in few.why
