"""Situations with a known answer, from batches drawn in exact worlds."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import (
    Coverage,
    Mismatch,
    Summary,
    ess_rel,
    measure,
    reverse_ess,
)
from tod.population import leg_statistics
from tod.regimes import classify, classify_run
from tod.regimes.pool import pooled
from tolerance import chance, of_weights, printed


@dataclass(frozen=True)
class World:
    """One space of outcomes with its distributions, all normalised, [V] each."""

    utility: np.ndarray
    base: np.ndarray


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def dense(rng, size=512):
    """Gaussian utility of mean 0 and sd 1 under a random base."""
    base = softmax(rng.normal(size=size))
    u = rng.normal(size=size)
    u = u - base @ u
    return World(u / np.sqrt(base @ u**2), base)


def rare(rng, success, size=512):
    """Binary utility with the given success mass under the base."""
    base = softmax(rng.normal(size=size))
    order = rng.permutation(size)
    passing = order[np.cumsum(base[order]) <= success]
    u = np.zeros(size)
    u[passing] = 1.0
    return World(u, base)


def tilted(p, u, eta):
    return softmax(np.log(p) + eta * u)


def batch(rng, world, eta, **kwargs) -> Summary:
    """The summary of groups of draws from μ, with target base·exp(ηU)."""
    summary, statistics = measured(rng, world, eta, **kwargs)
    return replace(summary, population=statistics.population())


def measured(rng, world, eta, *, mu, pi=None, k=16, contexts=128, **kwargs):
    """The summary of a batch and the statistics that it adds to a pool."""
    groups = Groups.equal(contexts, k)
    y = rng.choice(len(mu), size=contexts * k, p=mu)
    log_w = np.log(world.base[y]) + eta * world.utility[y] - np.log(mu[y])
    log_r = None if pi is None else np.log(pi[y]) - np.log(mu[y])
    u = world.utility[y]
    seen = measure(log_w, eta * u, groups, utility=u, log_r=log_r, **kwargs)
    anchored = bool(np.array_equal(mu, world.base))
    statistics = leg_statistics(
        groups,
        log_w=u if anchored else log_w,
        anchored=anchored,
        informative=seen.informative,
        eta=eta,
        log_r=log_r,
        target_policy=None if log_r is None else seen.target_policy[seen.informative],
    )
    return seen.summary(), statistics


def reasons(regime):
    return " | ".join(reason.why for reason in regime.reasons)


def test_positive_control_is_swap_stable(rng):
    world = dense(rng)
    regime = classify(batch(rng, world, 0.25, mu=world.base, pi=world.base))
    assert regime.verdict == "swap_stable", reasons(regime)
    assert regime.reasons == ()
    assert regime.point.region(regime.thresholds) == "swap_stable"


def test_off_policy_two_stable_legs_make_no_stable_run(rng):
    """The third leg has a point and no interval."""
    world = dense(rng)
    pi = tilted(world.base, world.utility, 0.1)
    regime = classify(batch(rng, world, 0.25, mu=world.base, pi=pi))
    assert regime.verdict == "undetermined"
    assert regime.spoken == (
        "target/proposal: stable; policy/proposal: stable; "
        "target/policy: a point without an interval"
    )


def test_rare_binary_reward_with_a_median_of_one(rng):
    world = rare(rng, 0.01)
    summary = batch(rng, world, 8.0, mu=world.base, legs_declared=("policy_proposal",))
    everything = np.sort(np.concatenate([np.ones(summary.contexts.zero_information), [0.1]]))
    assert np.median(everything) == 1.0  # what a reading over all contexts would show
    regime = classify(summary)
    assert regime.verdict == "operator_dominated"
    assert "target/proposal: the median prompt's ESS_rel is" in reasons(regime)


def test_all_fail(rng):
    world = rare(rng, 0.05)
    impossible = replace(world, utility=np.zeros_like(world.utility))
    regime = classify(
        batch(rng, impossible, 4.0, mu=world.base, legs_declared=("policy_proposal",))
    )
    assert regime.verdict == "undetermined"
    assert "0 groups of 128 with rewards that differ" in regime.reasons[0].why
    assert "raise K" in regime.reasons[0].remedy


def test_far_start(rng):
    """μ = q* (expert data): the seed's diagram says stable, the policy is far away."""
    world = dense(rng)
    expert = tilted(world.base, world.utility, 4.0)
    summary = batch(rng, world, 4.0, mu=expert, pi=world.base)
    regime = classify(summary)
    assert summary.ess_rel.median == pytest.approx(1.0)
    assert regime.point.region(regime.thresholds) == "swap_stable"
    assert regime.verdict == "operator_dominated"
    assert "policy/proposal: " in reasons(regime)
    remedy = next(r.remedy for r in regime.reasons if r.why.startswith("target/policy"))
    assert "start nearer" in remedy


def hole(rng, eta=0.25):
    """Remove the top 30 % of q* from the proposal."""
    world = dense(rng)
    target = tilted(world.base, world.utility, eta)
    order = np.argsort(-world.utility)
    kept = np.ones(len(target), dtype=bool)
    kept[order[np.cumsum(target[order]) <= 0.3]] = False
    mu = np.where(kept, world.base, 1e-12)
    return world, target, mu / mu.sum()


def test_missed_mode_with_a_policy_that_covers_it(rng):
    world, _, mu = hole(rng)
    summary = batch(rng, world, 0.25, mu=mu, pi=world.base)
    assert summary.overlap.minimum > 0.9  # no weight sees it
    regime = classify(summary)
    assert regime.verdict == "transition"
    assert regime.reasons[0].kind == "missed_policy"
    assert "rho is 0.7" in reasons(regime)
    assert "sample without truncation" in regime.reasons[0].remedy


def test_missed_mode_with_target_samples(rng):
    world, target, mu = hole(rng)
    summary = batch(rng, world, 0.25, mu=mu, legs_declared=("policy_proposal",))
    assert classify(summary).verdict == "swap_stable"  # the blind spot, without either check

    def log_w(y):
        return np.log(world.base[y]) + 0.25 * world.utility[y] - np.log(mu[y])

    y, z = rng.choice(512, 16, p=mu), rng.choice(512, 64, p=target)
    found = reverse_ess(log_w(y), Groups.equal(1, 16), log_w(z), Groups.equal(1, 64))[0]
    assert found < 1e-4
    regime = classify(replace(summary, coverage=Coverage(reverse_ess=float(found))))
    assert regime.verdict == "operator_dominated"
    assert "the proposal misses modes" in reasons(regime)


def test_four_candidates_are_read_as_any_number_is(rng):
    """On-policy, normal rewards: e^{-0.06} of 512 prompts is told from 0.7 at K = 4."""
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base, k=4, contexts=512)
    assert classify(summary).verdict == "swap_stable"


def test_four_candidates_can_be_dominated(rng):
    """A low sample reading of q*/π is evidence at any K: it has no least value of 1/K."""
    world = dense(rng)
    pi = tilted(world.base, world.utility, -1.0)
    regime = classify(batch(rng, world, 2.0, mu=world.base, pi=pi, k=4))
    assert regime.verdict == "operator_dominated"


def test_stale_proposal(rng):
    world = dense(rng)
    moved = tilted(world.base, world.utility, 1.6)
    summary = batch(rng, world, 0.25, mu=world.base, pi=moved)
    regime = classify(summary)
    assert summary.overlap.target_proposal > 0.9
    assert regime.verdict in ("transition", "operator_dominated")
    remedy = next(r.remedy for r in regime.reasons if "policy/proposal" in r.why)
    assert "refresh mu" in remedy


def test_assumed_target(rng):
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base)
    assert classify(summary).verdict == "swap_stable"
    regime = classify(summary, assumed_target=True)
    assert regime.verdict == "undetermined"
    assert "the target was assumed" in reasons(regime)


def test_wrong_log_probs_are_not_a_verdict(rng):
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base)
    wrong = replace(summary, coverage=Coverage(mean_rho=1.4, mean_rho_z=8.0))
    assert classify(wrong).verdict == "undetermined"
    tiny = replace(summary, coverage=Coverage(mean_rho=1.01, mean_rho_z=8.0))
    assert classify(tiny).verdict == "swap_stable"


def test_the_words_of_a_run_do_not_depend_on_its_labels(rng):
    """Sixteen steps of 16 prompts, four of 64 and one of 256 are one pool."""
    world = dense(rng)
    batches = [
        measured(rng, world, 0.4, mu=world.base, pi=world.base, contexts=16, k=8) for _ in range(16)
    ]
    regimes = []
    for size in (1, 4, 16):
        groups = [batches[i : i + size] for i in range(0, 16, size)]
        statistics = [sum((s for _, s in rest), first) for (_, first), *rest in groups]
        summaries = [pooled([summary for summary, _ in part]) for part in groups]
        regimes.append(classify_run(summaries, statistics))
    first, *others = regimes
    assert all(other.legs == first.legs for other in others)
    assert {other.verdict for other in others} == {first.verdict}
    shuffled = [batches[i] for i in rng.permutation(16)]
    again = classify_run([x for x, _ in shuffled], [x for _, x in shuffled])
    for one, other in zip(again.legs, first.legs, strict=True):
        assert one.word == other.word


def test_pooling_tells_what_no_step_can(rng):
    world = dense(rng)
    steps = [
        measured(rng, world, 0.5, mu=world.base, pi=world.base, contexts=9, k=8) for _ in range(16)
    ]
    alone = [
        classify(replace(summary, population=statistics.population()), certain=True).verdict
        for summary, statistics in steps
    ]
    whole = classify_run([x for x, _ in steps], [x for _, x in steps])
    assert alone.count("swap_stable") < 8
    assert whole.verdict == "swap_stable"


def median_of(contexts):
    """Chance of a median of legs at K = 16, which spread by 0.12 and less between contexts."""
    return chance(math.sqrt(math.pi / 2) * 0.12, contexts)


def remedy_of(regime, leg):
    return next(reason.remedy for reason in regime.reasons if reason.why.startswith(leg))


def test_the_advised_sharpness_brings_the_leg_to_its_bound(rng):
    """Advice is an eta on the population: fresh prompts at it read the bound, at any K."""
    world, eta = dense(rng), 5.0
    limit = math.sqrt(-math.log(0.7))  # ESS_rel of normal rewards is e^{-eta²}
    known = batch(rng, world, eta, mu=world.base, legs_declared=("policy_proposal",))
    regime = classify(known, eta=eta, eta_max=limit, eta_goal=0.7)
    advised = float(remedy_of(regime, "target/proposal").split("at most ")[1].split(",")[0])
    after = batch(rng, world, advised, mu=world.base, legs_declared=("policy_proposal",), k=64)
    found = after.population["target_proposal"].median
    assert found.low < 0.7 < found.high


def test_a_refresh_brings_the_policy_leg_to_what_the_engine_leaves(rng):
    world = dense(rng)
    noise = 0.5 * rng.normal(size=512)
    old, policy = world.base, tilted(world.base, world.utility, 1.6)
    engine = tilted(old, noise, 1.0)  # what really sampled, with the engine's own numerics
    y = rng.choice(512, size=128 * 16, p=engine)
    gap = ess_rel(np.log(old[y]) - np.log(engine[y]), Groups.equal(128, 16))
    stale = batch(rng, world, 0.25, mu=engine, pi=policy)
    stale = replace(stale, mismatch=Mismatch(ess_rel=float(np.median(gap))))
    remedy = remedy_of(classify(stale), "policy/proposal")
    promised = float(remedy.split("returns to about ")[1].split(" ")[0])
    assert stale.overlap.policy_proposal < 0.5 < promised < 0.9
    after = batch(rng, world, 0.25, mu=tilted(policy, noise, 1.0), pi=policy)
    assert after.overlap.policy_proposal == pytest.approx(
        promised, abs=2 * median_of(128) + printed(2)
    )
    bare = batch(rng, world, 0.25, mu=policy, pi=policy)
    assert bare.overlap.policy_proposal == pytest.approx(1.0)


def test_at_the_proposal_the_far_policy_reads_what_was_promised(rng):
    """Fitting the policy to the proposal's data, or undoing its travel, is π = μ."""
    world = dense(rng)
    expert = tilted(world.base, world.utility, 3.5)
    summary = batch(rng, world, 4.0, mu=expert, pi=world.base)
    remedy = remedy_of(classify(summary, eta=4.0), "target/policy")
    assert "lower eta" not in remedy
    promised = float(remedy.split("target/proposal one, ")[1].split(",")[0])
    assert summary.overlap.target_policy < 0.3
    after = batch(rng, world, 4.0, mu=expert, pi=expert)
    assert after.overlap.target_policy == pytest.approx(
        promised, abs=2 * median_of(128) + printed(2)
    )


def test_a_refresh_helps_the_third_leg_only_where_mu_is_the_anchor(rng):
    """What the remedy says of it: with a fixed anchor, q*/π does not depend on μ."""
    world = dense(rng)
    moved = tilted(world.base, world.utility, 2.5)
    stale = batch(rng, world, 0.25, mu=world.base, pi=moved, contexts=512)
    assert stale.overlap.target_policy < 0.3
    fixed = batch(rng, world, 0.25, mu=moved, pi=moved, contexts=512)
    assert fixed.overlap.target_policy < 0.45  # still far, though mu is fresh
    anchored = batch(rng, replace(world, base=moved), 0.25, mu=moved, pi=moved)
    assert anchored.overlap.target_policy > 0.9


def test_a_mended_engine_closes_the_gap_that_no_sharpness_did(rng):
    world = dense(rng)
    engine = tilted(world.base, rng.normal(size=512), 1.0)
    summary = batch(rng, replace(world, base=engine), 0.25, mu=engine, pi=world.base)
    low = summary.overlap.policy_proposal
    summary = replace(summary, mismatch=Mismatch(ess_rel=low))
    remedy = remedy_of(classify(summary, eta=0.25), "target/policy")
    assert remedy.startswith("mend the sampling engine first, about 100%")
    tiny = batch(rng, replace(world, base=engine), 1e-6, mu=engine, pi=world.base)
    assert tiny.overlap.target_policy < 0.6  # at no eta
    after = batch(rng, world, 0.25, mu=world.base, pi=world.base)
    assert after.overlap.target_policy == pytest.approx(
        after.overlap.target_proposal, rel=of_weights("float64", 16, 16)
    )
    assert classify(after).verdict == "swap_stable"
