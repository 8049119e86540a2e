"""The baselines and the step size, each against its own equation."""

import math

import numpy as np
import pytest

from tod.arc import ArcConfig, initial, step
from tod.arc.baselines import adaptive, constant_speed, ess_tempering
from tod.base import Groups
from tod.diagnostics import ContextCounts, Drift, Overlap, Path, Summary
from tod.diagnostics.ess import ess_rel
from tolerance import double


def seen(
    *, variance=1.0, drift=1.0, entropy=1.0, overlap=1.0, delta=0.0, within=0.0, informative=64
):
    return Summary(
        contexts=ContextCounts(total=64, informative=informative),
        overlap=Overlap(policy_proposal=overlap),
        drift=Drift(ref=drift),
        entropy=entropy,
        path=Path(variance=variance, delta=delta, within=within),
    )


def values_of(config, summaries):
    state = initial(config, eta=5.0, steps=40)
    values = [state.knobs["eta"]]
    for t, summary in enumerate(summaries):
        state, _ = step(config, state, summary, step=t)
        values.append(state.knobs["eta"])
    return values


def test_what_reads_nothing_is_its_schedule():
    batches = [seen(delta=9.0, drift=9.0, overlap=0.1)] * 12
    assert values_of(ArcConfig(plan="fixed"), batches) == [5.0] * 13
    linear = [5 * min(1, (t + 1) / 10) for t in range(13)]
    assert values_of(ArcConfig(plan="linear", deadline=9), batches) == pytest.approx(linear)
    cosine = [2.5 * (1 - math.cos(math.pi * min(1, (t + 1) / 10))) for t in range(13)]
    assert values_of(ArcConfig(plan="cosine", deadline=9), batches) == pytest.approx(cosine)
    shares = ArcConfig(plan="geodesic", deadline=9, shares=(0.1, 1.0))
    wanted = [5 * np.interp(min(1, (t + 1) / 10), [0, 0.5, 1], [0, 0.1, 1]) for t in range(13)]
    assert values_of(shares, batches) == pytest.approx(wanted)


def test_constant_speed_takes_equal_lengths():
    """√Var = 1 + η: the length is η + η²/2, so that equal shares of it solve a quadratic."""
    eta = np.linspace(0, 4, 2001)
    shares = constant_speed(eta, (1 + eta) ** 2, 8)
    lengths = 12 * np.arange(1, 9) / 8
    exact = (np.sqrt(1 + 2 * lengths) - 1) / 4
    cell = eta[1] - eta[0]
    assert shares == pytest.approx(exact, abs=cell**2)  # linear between points of the grid


def test_an_increment_leaves_the_ess_that_was_asked():
    rng = np.random.default_rng(0)
    u = rng.standard_normal((200, 4000))
    eta = 2.0
    variance = float(np.mean(np.var(eta * u, axis=1, ddof=1)))
    new = ess_tempering(eta, 99.0, 0.98, variance)
    left = np.mean(ess_rel(((new - eta) * u).ravel(), Groups.equal(200, 4000)))
    # of a Gaussian exp(−Δ²) exactly; 200·4000 draws, Var of w² about 4Δ²
    assert left == pytest.approx(0.98, abs=6 * 2 * (new - eta) / math.sqrt(200 * 4000))
    assert ess_tempering(2.0, 2.01, 0.98, variance) == 2.01
    assert ess_tempering(2.0, 9.0, 0.98, None) == ess_tempering(2.0, 9.0, 0.98, 0.0) == 2.0


def test_adaptive_control_of_kl_and_of_entropy():
    assert adaptive(2.0, 9.0, 3.0, 2.0, more=True) == pytest.approx(2.0 / 1.02)
    assert adaptive(2.0, 9.0, 1.9, 2.0, more=True) == pytest.approx(2.0 / (1 - 0.1 * 0.05))
    assert adaptive(2.0, 9.0, 0.5, 2.0, more=False) == pytest.approx(2.0 / 1.02)
    assert adaptive(2.0, 2.0, 9.0, 2.0, more=False) == 2.0
    assert adaptive(2.0, 9.0, None, 2.0, more=True) == 2.0
    low = values_of(ArcConfig(plan="adaptive_kl", goal=2.0, start=0.5), [seen(drift=4.0)] * 3)
    assert low == pytest.approx([2.5 / 1.02**n for n in range(4)], rel=double(12))
    few = values_of(ArcConfig(plan="adaptive_entropy", goal=2.0, start=0.5), [seen()] * 3)
    assert few == pytest.approx([2.5 / 1.02**n for n in range(4)], rel=double(12))


@pytest.mark.parametrize(
    "config",
    [
        ArcConfig(plan="adaptive_kl", goal=2.0, start=0.5),
        ArcConfig(plan="adaptive_entropy", goal=2.0, start=0.5),
        ArcConfig(plan="ess_tempering", start=0.5),
    ],
    ids=lambda config: config.plan,
)
def test_what_is_fed_back_freezes_on_a_blind_batch(config):
    assert set(values_of(config, [seen(informative=3)] * 4)) == {2.5}


def test_the_step_size_is_slowed_by_damage_or_by_staleness():
    def rates(config, summaries):
        state, found = initial(config, eta=5.0, steps=40), []
        for t, summary in enumerate(summaries):
            state, decision = step(config, state, summary, step=t)
            found.append(decision.after["rate"])
        return found

    ess = ArcConfig(plan="linear", step_size="ess")
    assert rates(ess, [seen(overlap=0.25), seen(overlap=None), seen(overlap=1.0)]) == [0.5, 0.5, 1]
    damage = ArcConfig(step_size="damage")
    assert rates(damage, [seen(delta=0.3), seen(delta=3.0)]) == pytest.approx([1, 0.4 / 0.84])
    alone = ArcConfig(step_size="within")
    assert rates(alone, [seen(delta=9.0, within=0.3), seen(within=3.0)]) == pytest.approx(
        [1, 0.4 / 0.84]
    )
    state, decision = step(ArcConfig(), initial(ArcConfig(), eta=5.0, steps=9), seen(), step=0)
    assert state.rate == 1.0
    assert "rate" not in decision.after
