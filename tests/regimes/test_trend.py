"""Change points against brute force, and the edges of the stable region."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from tod.base import DataError
from tod.diagnostics import EssRel, Summary
from tod.regimes import crossings, segments, stable_crossings


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
            assert cost(x, bounds, sigma) <= cost(x, best, sigma) + 1e-9
        assert [p.mean for p in found] == pytest.approx([x[p.start : p.stop].mean() for p in found])


def test_left_the_stable_region_at_step_140(rng):
    steps = list(range(0, 600, 2))
    level = np.where(np.array(steps) < 140, 0.7, 0.2)
    values = level + rng.normal(0, 0.05, size=len(steps))
    found = crossings(steps, values.tolist(), enter=0.5, leave=0.45)
    assert [(c.event, c.step) for c in found] == [("left", 140)]
    assert str(found[0]).startswith("left the stable region at step 140 (ess_rel.q10 0.")


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
