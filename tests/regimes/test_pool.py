"""One pool a run, whole and growing."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tod.base import Groups
from tod.diagnostics import measure
from tod.population import LegStatistics, leg_statistics
from tod.regimes import GrowingPool, policy_level, pool_of, regime_of_records
from tolerance import double


def step(rng, *, prompts=16, k=8, eta=1.0, rate=(1.0, 2.0), spread=0.0):
    """A batch of 0/1 rewards, on-policy or with a policy ``spread`` nats away."""
    groups = Groups.equal(prompts, k)
    p = np.repeat(rng.beta(*rate, size=prompts), k)
    u = (rng.random(groups.total) < p).astype(float)
    log_r = spread * rng.normal(size=groups.total) - spread**2 / 2
    seen = measure(eta * u, u, groups, utility=u, log_r=log_r)
    statistics = leg_statistics(groups, log_w=u, anchored=True, eta=eta, log_r=log_r)
    return statistics, seen.summary()


def run(rng, count, **kwargs):
    both = [step(rng, **kwargs) for _ in range(count)]
    return [s for s, _ in both], [s for _, s in both]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations(range(8)))
def test_labels_inside_a_pool_change_nothing(seed, order):
    statistics, _ = run(np.random.default_rng(seed), 8)
    pool = pool_of(range(8), statistics)
    other = pool_of(range(8), [statistics[i] for i in order])
    whole = pool_of([3], [sum(statistics[1:], statistics[0])])
    for again in (other, whole):
        assert again.population()["target_proposal"] == pool.population()["target_proposal"]


def test_a_pool_starts_at_the_last_dated_change(rng):
    early, _ = run(rng, 5, rate=(8.0, 1.0))
    late, _ = run(rng, 5, rate=(1.0, 8.0))
    pool = pool_of(range(10), early + late, since=5)
    assert (pool.first, pool.last) == (5, 9)
    alone = pool_of(range(5, 10), late)
    assert pool.population() == alone.population()


def test_another_sharpness_ends_a_pool_only_where_the_anchor_is_not_the_proposal(rng):
    groups = Groups.equal(32, 8)
    u = rng.normal(size=groups.total)
    for anchored, first in ((True, 0), (False, 1)):
        parts = [
            leg_statistics(groups, log_w=u if anchored else eta * u, anchored=anchored, eta=eta)
            for eta in (0.5, 1.0)
        ]
        assert pool_of(range(2), parts).first == first


def test_the_policy_legs_are_of_their_last_level(rng):
    near, first = run(rng, 20, spread=0.05)
    far, second = run(rng, 20, spread=1.5)
    level = policy_level(range(40), first + second)
    pool = pool_of(range(40), near + far, policy_since=level)
    assert pool.first == 0
    assert abs(pool.policy_first - 20) <= 1
    alone = pool_of(range(20, 40), far).population()["policy_proposal"]
    found = pool.population()["policy_proposal"]
    width = alone.median.high - (alone.median.low or 0.0)
    assert abs(found.median.high - alone.median.high) < width


def test_statistics_survive_their_record(rng):
    statistics, _ = step(rng, spread=0.3)
    again = LegStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    assert again.population() == statistics.population()
    assert (again + again).population() == (statistics + statistics).population()


def test_a_growing_pool_is_the_pool_of_its_records(rng):
    """Read at the first steps, at every tenth, and at the end; resumed as if never stopped."""
    statistics, summaries = run(rng, 35)
    pool, records, read = GrowingPool(), [], []
    for number, (item, summary) in enumerate(zip(statistics, summaries, strict=True), 1):
        if number == 23:
            pool = GrowingPool.of_records(records)
        seen = pool.add(number, item, summary, last=number == 35)
        read.append(pool.read_at)
        records.append(
            json.loads(
                json.dumps(
                    {
                        **seen.to_dict(),
                        "step": number,
                        "statistics": item.to_dict(),
                        "pool": pool.steps,
                    }
                )
            )
        )
    assert read[:10] == list(range(1, 11))
    assert sorted(set(read[10:])) == [10, 20, 30, 35]
    whole = pool_of(range(1, 36), statistics)
    assert seen.population == whole.population()
    assert regime_of_records(records).legs[0].ess == whole.population()["target_proposal"]


def test_a_change_starts_a_growing_pool_anew(rng):
    statistics, summaries = run(rng, 6)
    pool = GrowingPool()
    for number in range(6):
        pool.since = 3 if number >= 4 else None
        pool.add(number, statistics[number], summaries[number])
    assert pool.steps["first"] == 3


def test_records_without_counts_are_not_readable(rng):
    _, summaries = run(rng, 3)
    records = [{**s.to_dict(), "step": i, "population": None} for i, s in enumerate(summaries)]
    regime = regime_of_records(records)
    assert regime.verdict == "undetermined"
    assert regime.legs[0].word == "not_readable"


def test_a_third_reward_in_a_later_step_is_pooled_with_the_rest(rng):
    """Counts of two rewards become moments where more than nine occur: as if never counted."""
    groups = Groups.equal(40, 8)
    coarse = (rng.random(groups.total) < 0.4).astype(float)
    fine = rng.integers(0, 5, groups.total) / 4
    graded = rng.normal(size=groups.total)

    def of(u, many=groups):
        return leg_statistics(many, log_w=u, anchored=True, eta=0.7)

    both = of(coarse) + of(fine)
    assert both.rewards.levels == (0.0, 0.25, 0.5, 0.75, 1.0)
    total = of(np.concatenate([coarse, graded]), Groups.equal(80, 8))
    mixed = of(coarse) + of(graded)
    assert mixed.rewards is None
    one, other = mixed.population(), total.population()
    assert one["target_proposal"].prompts == other["target_proposal"].prompts
    for name in ("low", "value", "high"):
        a, b = (getattr(x["target_proposal"].median, name) for x in (one, other))
        assert a == pytest.approx(b, rel=double(8 * 80, condition=100))
