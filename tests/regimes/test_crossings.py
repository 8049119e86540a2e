"""Change points against brute force, and the edges of the stable region."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from tod.base import DataError
from tod.diagnostics import EssRel, Overlap, Summary
from tod.regimes import Thresholds, last_level, stable_crossings
from tod.regimes.crossings import crossings, segments
from tolerance import chance, double

LEGS = ("target_proposal", "policy_proposal", "target_policy")


def cost(x, bounds, sigma):
    parts = [x[a:b] for a, b in pairwise(bounds)]
    fit = sum(((p - p.mean()) ** 2).sum() for p in parts) / sigma**2
    return fit + 3 * np.log(len(x)) * (len(parts) - 1)


def test_the_partition_is_the_best_of_all(rng):
    for _ in range(6):
        x = np.concatenate(
            [rng.normal(m, 0.3, size=int(rng.integers(3, 6))) for m in rng.normal(0, 1, 4)]
        )
        n = len(x)
        sigma = np.median(np.abs(np.diff(x))) / (0.6744897501960817 * np.sqrt(2))
        every = [
            (0, *inner, n)
            for count in range(5)
            for inner in combinations(range(3, n - 2), count)
            if all(b - a >= 3 for a, b in zip((0, *inner), (*inner, n), strict=True))
        ]
        best = min(every, key=lambda bounds: cost(x, bounds, sigma))
        found = segments(x, least=3)
        bounds = (0, *(part.stop for part in found))
        if len(found) <= 5:
            assert cost(x, bounds, sigma) <= cost(x, best, sigma) * (1 + double(4 * n))
        assert [p.mean for p in found] == pytest.approx([x[p.start : p.stop].mean() for p in found])


def test_left_the_stable_region_at_step_140(rng):
    steps = list(range(0, 600, 2))
    level = np.where(np.array(steps) < 140, 0.7, 0.2)
    values = level + rng.normal(0, 0.05, size=len(steps))
    found = crossings(steps, values.tolist(), enter=0.5, leave=0.45)
    assert [(c.event, c.step) for c in found] == [("left", 140)]
    assert str(found[0]).startswith("the series left the stable region at step 140 (0.7")


def test_noise_alone_is_no_change(rng):
    alarms = sum(len(segments(rng.normal(size=200))) > 1 for _ in range(100))
    assert alarms <= 3


def test_a_blip_or_a_level_between_the_edges_changes_nothing(rng):
    noise = rng.normal(0, 0.02, size=90)
    blip = np.full(90, 0.7) + noise
    blip[40:42] = 0.1
    assert crossings(range(90), blip.tolist(), enter=0.5, leave=0.45) == ()
    shallow = np.where(np.arange(90) < 45, 0.7, 0.47) + noise
    assert crossings(range(90), shallow.tolist(), enter=0.5, leave=0.45) == ()


def test_leaving_and_returning_alternate(rng):
    level = np.repeat([0.2, 0.7, 0.2, 0.47, 0.8], 40)
    values = level + rng.normal(0, 0.03, size=200)
    found = crossings(range(200), values.tolist(), enter=0.5, leave=0.45)
    assert [(c.event, c.step) for c in found] == [("entered", 40), ("left", 80), ("entered", 160)]


def test_noise_that_grows_as_a_leg_falls_is_no_change(rng):
    """A leg near 1 hardly varies; once it has left, its own noise must not enter and leave."""
    after = np.arange(200) >= 140
    for _ in range(20):
        noise = np.where(after, 0.12, 0.001) * rng.normal(size=200)
        leg = np.clip(np.where(after, 0.55, 0.997) + noise, 0, 1)
        (only,) = crossings(range(200), leg.tolist(), enter=0.7, leave=0.63)
        assert only.event == "left"
        assert abs(only.step - 140) <= 2


def legs_at(target, policy, both, q10=0.6, declared=()):
    return Summary(
        ess_rel=EssRel(median=target, q10=q10),
        overlap=Overlap(target, policy, both, k=16, declared=declared),
    )


@pytest.mark.parametrize("name", ["target_proposal", "policy_proposal", "target_policy"])
def test_every_leg_is_judged_and_named(name, rng):
    steps = range(10, 210)
    values = {leg: 0.9 + 0.01 * rng.normal(size=200) for leg in LEGS}
    values[name][130:] -= 0.5
    summaries = [legs_at(*(float(values[leg][i]) for leg in LEGS)) for i in range(200)]
    (only,) = stable_crossings(steps, summaries)
    words = f"{name.replace('_', '/')} left the stable region at step 140 (0.9"
    assert str(only).startswith(words)


def test_a_declared_leg_has_no_crossing_of_its_own():
    """On-policy by declaration: target/policy is target/proposal, and is said once."""
    level = [0.9] * 20 + [0.4] * 20
    summaries = [legs_at(v, 1.0, v, declared=("policy_proposal", "target_policy")) for v in level]
    (only,) = stable_crossings(range(40), summaries)
    assert only.what == "target/proposal"


def test_the_bounds_are_those_of_the_verdict():
    """A q10 of 0.4 caps nothing, and 0.2 does; a leg of 0.68 is held by the hysteresis."""
    for after, expected in ((0.4, ()), (0.2, ("ess_rel.q10",))):
        summaries = [legs_at(0.9, 0.9, 0.9, q10=v) for v in [0.6] * 20 + [after] * 20]
        assert tuple(c.what for c in stable_crossings(range(40), summaries)) == expected
    summaries = [legs_at(0.9, v, 0.9) for v in [0.9] * 20 + [0.68] * 20]
    assert stable_crossings(range(40), summaries) == ()
    strict = Thresholds(overlap_stable=0.8)
    assert [c.step for c in stable_crossings(range(40), summaries, strict)] == [20]


def test_the_last_level_begins_after_the_last_change(rng):
    x = np.concatenate([np.full(30, 0.9), np.full(20, 0.3)]) + rng.normal(0, 0.01, 50)
    assert last_level(range(10, 60), x.tolist()) == 40
    gaps = [None if i % 3 == 0 else value for i, value in enumerate(x.tolist())]
    assert last_level(range(10, 60), gaps) in (40, 41)
    assert last_level(range(30), x[:30].tolist()) is None
    assert last_level([], []) is None


def test_steps_without_informative_contexts_are_skipped():
    known = [0.8] * 10 + [0.1] * 10
    summaries = [Summary(ess_rel=EssRel(q10=v)) for v in known]
    blind = replace(summaries[0], ess_rel=EssRel())
    mixed = [x for s in summaries for x in (s, blind)]
    found = stable_crossings(range(40), mixed)
    assert [(c.event, c.step) for c in found] == [("left", 20)]


def test_degenerate_series():
    assert segments(np.array([])) == ()
    assert [p.stop for p in segments(np.ones(50))] == [50]
    assert segments(np.array([1.0, 2, 6]))[0].median == 2.0
    assert crossings([], [], enter=0.5, leave=0.4) == ()
    with pytest.raises(DataError, match="finite"):
        segments(np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="increasing"):
        crossings([1, 1], [0.1, 0.2], enter=0.5, leave=0.4)
    with pytest.raises(DataError, match="one per step"):
        stable_crossings([1], [])


@pytest.mark.parametrize("event", ["left", "entered"])
def test_a_crossing_tells_both_levels_and_the_last_one(event, rng):
    """Three levels: the last one is told beside the two that the crossing parts."""
    levels = (0.9, 0.1, 0.4) if event == "left" else (0.1, 0.9, 0.6)
    x = np.concatenate([rng.normal(level, 0.01, size=20) for level in levels])
    found = crossings(range(5, 65), x.tolist(), enter=0.5, leave=0.45)
    assert [c.event for c in found] == [event]
    (crossing,) = found
    assert crossing.step == 25
    assert (crossing.before, crossing.after, crossing.last) == pytest.approx(
        levels, abs=chance(0.01 * np.sqrt(np.pi / 2), 20)
    )


def test_a_region_with_one_edge():
    x = [0.9] * 10 + [0.1] * 9 + [0.100001] + [0.8] * 10
    found = crossings(range(30), x, enter=0.5, leave=0.5)
    assert [(c.event, c.step) for c in found] == [("left", 10), ("entered", 20)]
    with pytest.raises(DataError, match="leave"):
        crossings(range(30), x, enter=0.5, leave=0.500001)
