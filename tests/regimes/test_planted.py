"""Situations with a known answer, from batches drawn in exact worlds."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import (
    ContextCounts,
    Coverage,
    EssRel,
    Mismatch,
    Overlap,
    Summary,
    Tails,
    ess_rel,
    measure,
    reverse_ess,
)
from tod.regimes import classify, classify_run, eta_for_quantile
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


def batch(rng, world, eta, *, mu, pi=None, k=16, contexts=128, **kwargs) -> Summary:
    """The summary of ``contexts`` groups of ``k`` draws from μ, with target base·exp(ηU)."""
    groups = Groups.equal(contexts, k)
    y = rng.choice(len(mu), size=contexts * k, p=mu)
    log_w = np.log(world.base[y]) + eta * world.utility[y] - np.log(mu[y])
    log_r = None if pi is None else np.log(pi[y]) - np.log(mu[y])
    u = world.utility[y]
    return measure(log_w, eta * u, groups, utility=u, log_r=log_r, **kwargs).summary()


def reasons(regime):
    return " | ".join(reason.why for reason in regime.reasons)


def test_positive_control_is_swap_stable(rng):
    world = dense(rng)
    pi = tilted(world.base, world.utility, 0.1)
    regime = classify(batch(rng, world, 0.25, mu=world.base, pi=pi))
    assert regime.verdict == "swap_stable", reasons(regime)
    assert regime.reasons == ()
    assert regime.point.region(regime.thresholds) == "swap_stable"


def test_rare_binary_reward_with_a_median_of_one(rng):
    world = rare(rng, 0.01)
    summary = batch(rng, world, 8.0, mu=world.base, legs_declared=("policy_proposal",))
    everything = np.sort(np.concatenate([np.ones(summary.contexts.zero_information), [0.1]]))
    assert np.median(everything) == 1.0  # what a reading over all contexts would show
    regime = classify(summary)
    assert regime.verdict == "operator_dominated"
    assert "zero-variance groups" in reasons(regime)
    assert "target/proposal leg" in reasons(regime)


def test_rare_binary_reward_read_over_all_contexts_is_not_stable_either():
    """A summary whose median does say 1.00: its maker did not leave blind contexts out."""
    summary = Summary(
        contexts=ContextCounts(
            total=128,
            informative=40,
            zero_information=88,
            all_pass=0,
            all_fail=88,
            candidates_per_context={"min": 16, "median": 16, "max": 16},
        ),
        ess_rel=EssRel(median=1.0, q10=0.08, mean=0.7),
        tails=Tails(max_weight_median=0.0625),
        overlap=Overlap(1.0, 1.0, 1.0, 1.0, declared=("policy_proposal",)),
    )
    regime = classify(summary)
    assert regime.verdict == "transition"
    assert "88 of 128 prompts are zero-variance groups" in reasons(regime)
    assert "a tenth of the prompts has ESS_rel at most 0.08" in reasons(regime)
    assert any("88 prompts never succeed" in reason.remedy for reason in regime.reasons)


def test_all_fail(rng):
    world = rare(rng, 0.05)
    impossible = replace(world, utility=np.zeros_like(world.utility))
    regime = classify(
        batch(rng, impossible, 4.0, mu=world.base, legs_declared=("policy_proposal",))
    )
    assert regime.verdict == "undetermined"
    assert regime.reasons[0].why.startswith("0 informative prompts of 128")
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
    assert "policy/proposal leg" in reasons(regime)
    remedy = next(r.remedy for r in regime.reasons if "target/policy leg" in r.why)
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
    assert len(regime.reasons) == 1
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


def test_four_candidates(rng):
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base, k=4)
    assert summary.ess_rel.median > 0.9
    regime = classify(summary)
    assert regime.verdict == "transition"
    assert "K is 4" in reasons(regime)
    assert "raise K to 16" in regime.reasons[0].remedy


def test_four_candidates_can_still_be_dominated(rng):
    """A low leg is evidence at any K: the target/policy leg has no floor of 1/K."""
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
    assert "policy/proposal leg" in reasons(regime)
    remedy = next(r.remedy for r in regime.reasons if "policy/proposal" in r.why)
    assert "refresh mu" in remedy


def test_assumed_target(rng):
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base)
    assert classify(summary).verdict == "swap_stable"
    regime = classify(summary, assumed_target=True)
    assert regime.verdict == "transition"
    assert "the target was assumed" in reasons(regime)


def test_wrong_log_probs_are_not_a_verdict(rng):
    world = dense(rng)
    summary = batch(rng, world, 0.25, mu=world.base, pi=world.base)
    wrong = replace(summary, coverage=Coverage(mean_rho=1.4, mean_rho_z=8.0))
    assert classify(wrong).verdict == "undetermined"
    tiny = replace(summary, coverage=Coverage(mean_rho=1.01, mean_rho_z=8.0))
    assert classify(tiny).verdict == "swap_stable"


def test_a_run_is_read_on_the_bands_of_step_means(rng):
    world = dense(rng)
    steps = [
        batch(rng, world, eta, mu=world.base, pi=world.base, contexts=64) for eta in (0.4, 0.5)
    ]
    two = min(np.mean([s.overlap.target_proposal for s in steps]), 1.0)
    assert 0.7 < two < 0.9
    assert [classify(s).verdict for s in steps] == ["swap_stable"] * 2  # three-leg band, from 0.7
    assert classify_run(steps).verdict == "transition"  # step-mean band, from 0.9


def median_of(contexts):
    """Chance of a median of legs at K = 16, which spread by 0.12 and less between contexts."""
    return chance(math.sqrt(math.pi / 2) * 0.12, contexts)


def remedy_of(regime, leg):
    return next(reason.remedy for reason in regime.reasons if f"{leg} leg" in reason.why)


@pytest.mark.parametrize("make", [dense, lambda rng: rare(rng, 0.4)], ids=["dense", "binary"])
def test_the_advised_sharpness_brings_the_leg_to_its_bound(rng, make):
    """On the candidates it was computed for, and on fresh ones within their noise."""
    world, eta = make(rng), 5.0
    groups = Groups.equal(256, 16)
    y = rng.choice(len(world.base), size=groups.total, p=world.base)
    u = world.utility[y]

    def read(sharpness, u):
        return measure(sharpness * u, u, groups, legs_declared=("policy_proposal",)).summary()

    limit = eta_for_quantile(u, groups, 0.7, 0.5)
    regime = classify(read(eta, u), eta=eta, eta_max=limit, eta_goal=0.7)
    for leg in ("target/proposal", "target/policy"):
        advised = float(remedy_of(regime, leg).split("at most ")[1].split(",")[0])
        for after in (read(advised * 0.998, u), read(advised * 0.998, rng.permutation(u))):
            assert after.overlap.target_proposal == pytest.approx(0.7, abs=median_of(256))
            assert after.overlap.target_policy == after.overlap.target_proposal
        assert read(advised * 0.998, u).overlap.target_proposal >= 0.7


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
