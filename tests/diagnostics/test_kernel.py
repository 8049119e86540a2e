"""The fused kernel is the equations: equal, ragged, wide, narrow, clean and invalid blocks."""

from dataclasses import astuple, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import DataError, Groups
from tod.diagnostics import (
    context_classes,
    ess,
    kernel,
    log_z,
    max_weight,
    mean_rho,
    measure,
    policy_proposal,
    target_policy,
    weight_statistics,
)
from tod.diagnostics.classes import CLASSES
from tod.diagnostics.coverage import RhoSums
from tod.diagnostics.kernel import WeightStatistics
from tod.diagnostics.overlap import carried_by
from tod.diagnostics.tails import log_w_variance, top_mass
from tolerance import of_weights

NAMES = [item.name for item in fields(WeightStatistics)]


def by_equations(x, contexts, top):
    return WeightStatistics(
        ess(x, contexts),
        max_weight(x, contexts),
        top_mass(x, contexts, top),
        log_w_variance(x, contexts),
        log_z(x, contexts),
    )


def assert_same(got, expected, x, k, dtype="float64"):
    """Apart by the rounding of log-weights ``x``, at most ``k`` in a context."""
    x = np.asarray(x, dtype=float)
    near = of_weights(dtype, k, np.abs(x[np.isfinite(x)]).max(initial=0.0))
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=near, atol=near, err_msg=name
        )


def polluted(rng, total, share):
    x = rng.standard_t(3, size=total) * 2
    for value in (-np.inf, np.nan, np.inf):
        x[rng.random(total) < share] = value
    return x


@pytest.mark.parametrize("top", [1, 2, 3, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("size", [1, 2, 8, 33])
def test_equal_contexts(size, share, top, rng, monkeypatch):
    monkeypatch.setattr(kernel, "ELEMENTS", 100)  # so that many blocks and a short last one occur
    contexts = Groups.equal(41, size)
    x = polluted(rng, contexts.total, share)
    assert_same(weight_statistics(x, contexts, top), by_equations(x, contexts, top), x, size)


@pytest.mark.parametrize("wide", [4, 2048])
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_ragged_contexts(share, wide, rng, monkeypatch):
    monkeypatch.setattr(kernel, "ELEMENTS", 64)
    monkeypatch.setattr(kernel, "WIDE", wide)
    contexts = Groups(rng.integers(1, 12, size=300))
    x = polluted(rng, contexts.total, share)
    assert_same(
        weight_statistics(x, contexts), by_equations(x, contexts, 2), x, contexts.sizes.max()
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_any_sizes(sizes, seed):
    rng, contexts = np.random.default_rng(seed), Groups(np.array(sizes))
    x = polluted(rng, contexts.total, 0.03)
    assert_same(
        weight_statistics(x, contexts), by_equations(x, contexts, 2), x, contexts.sizes.max()
    )


def test_fifty_digits_on_adversarial_weights(adversarial, exact, rounded):
    for log_w, contexts, lists in adversarial:
        oracle = [exact(x) for x in lists]
        near = of_weights("float64", max(len(x) for x in lists), 1.0)
        got = weight_statistics(log_w, contexts)
        for values, expected in (
            (got.ess, [float(o.ess()) for o in oracle]),
            (got.max_weight, [float(o.max_weight()) for o in oracle]),
            (got.top_mass, [float(o.top_mass(2)) for o in oracle]),
            (got.log_w_variance, [rounded(o.variance()) for o in oracle]),
            (got.log_z, [rounded(o.log_z()) for o in oracle]),
        ):
            np.testing.assert_allclose(values, expected, rtol=near)


def test_very_wide_context(rng, exact):
    x = rng.normal(size=5000) * 2
    got, oracle = weight_statistics(x, Groups.equal(1, 5000)), exact(x.tolist())
    near = of_weights("float64", 5000, np.abs(x).max())
    assert got.ess[0] == pytest.approx(float(oracle.ess()), rel=near)
    assert got.log_w_variance[0] == pytest.approx(float(oracle.variance()), rel=near)
    assert got.top_mass[0] == pytest.approx(float(oracle.top_mass(2)), rel=near)


def test_bounds_hold_exactly(rng):
    contexts = Groups.equal(20_000, 7)
    x = rng.normal(size=contexts.total) * 1e-8
    got = weight_statistics(x, contexts)
    assert (got.ess >= 1).all()
    assert (got.ess <= 7).all()
    assert (got.top_mass <= 1).all()


def test_the_input_is_left_alone(rng):
    x = rng.normal(size=24)
    before = x.copy()
    weight_statistics(x, Groups.equal(3, 8))
    weight_statistics(x, Groups(np.array([4, 20])))
    assert x.tolist() == before.tolist()


def test_memory_for_the_result_may_be_given(ragged, rng):
    memory = np.full((5, len(ragged)), np.pi)
    for x in rng.normal(size=(2, ragged.total)):
        found = weight_statistics(x, ragged, out=memory)
        assert_same(found, by_equations(x, ragged, 2), x, 16)
        assert all(np.shares_memory(getattr(found, name), memory) for name in NAMES)


def test_backends_agree(backend, batch):
    log_w, contexts = batch
    got = weight_statistics(backend.make(log_w), contexts)
    assert all(value.dtype == np.float64 for value in astuple(got))
    assert_same(got, weight_statistics(log_w, contexts), log_w, 16, backend.dtype)


def test_single_precision_is_widened_before_the_sums(rng):
    x = (rng.normal(size=64) * 3).astype(np.float32)
    contexts = Groups.equal(8, 8)
    assert_same(weight_statistics(x, contexts), weight_statistics(x.astype(float), contexts), x, 8)


def test_no_contexts():
    got = weight_statistics(np.zeros(0), Groups(np.zeros(0, np.int64)))
    assert [len(value) for value in astuple(got)] == [0] * len(NAMES)


def test_bad_input():
    with pytest.raises(DataError, match="3 rollouts"):
        weight_statistics(np.zeros(4), Groups.equal(1, 3))
    with pytest.raises(DataError, match="top=0"):
        weight_statistics(np.zeros(3), Groups.equal(1, 3), top=0)


@pytest.mark.parametrize("wide", [2, 2048])
@pytest.mark.parametrize("most", [3, 4096])
@pytest.mark.parametrize("limit", [1, 5, 16, 39, 1000])
def test_blocks_cover_everything_once(limit, most, wide, ragged, rng, monkeypatch):
    monkeypatch.setattr(kernel, "ELEMENTS", limit)
    monkeypatch.setattr(kernel, "CONTEXTS", most)
    monkeypatch.setattr(kernel, "WIDE", wide)
    x = rng.normal(size=ragged.total)
    seen = []
    for block in kernel.blocks(ragged):
        places = block.ordered(np.arange(len(ragged))[block.contexts]).tolist()
        assert len(places) <= most
        seen += places
        rows = [x[ragged.offsets[c] : ragged.offsets[c + 1]] for c in places]
        copy = block.gather(x, 0)
        assert block.reduce(np.add, copy) == pytest.approx([row.sum() for row in rows])
        total, squares = block.sums(copy, *np.empty((2, len(rows))))
        assert total == pytest.approx([row.sum() for row in rows])
        assert block.reduce(np.minimum, copy).tolist() == [row.min() for row in rows]
        assert squares == pytest.approx([row @ row for row in rows])
        largest = block.largest(copy, 2)
        for place, row in enumerate(rows):
            known = [values[place] for values in largest]
            assert known == [*np.sort(row)[::-1], -np.inf][: len(known)]
        assert block.ordered(ragged.sizes[sorted(places)]).tolist() == [len(row) for row in rows]
    assert sorted(seen) == list(range(len(ragged)))


def test_no_blocks_of_nothing():
    assert list(kernel.blocks(Groups(np.zeros(0, np.int64)))) == []


def wild(rng, contexts):
    """Log-weights and gaps with every kind of trouble, and a utility that is constant at times."""
    log_w = rng.standard_t(2, size=contexts.total) * 3
    log_r = rng.normal(size=contexts.total) * np.where(rng.random(contexts.total) < 0.1, 400, 0.5)
    for x in (log_w, log_r):
        for value in (-np.inf, np.nan, np.inf):
            x[rng.random(contexts.total) < 0.01] = value
    some = contexts.spread(rng.random(len(contexts)) < 0.1)
    log_r[some] = -np.inf
    utility = np.where(contexts.spread(rng.random(len(contexts)) < 0.3), 0.3, log_r)
    return log_w, np.where(np.isfinite(utility), utility, -np.inf), log_r


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("wide", [4, 2048])
@pytest.mark.parametrize("limit", [6, 1 << 15])
def test_shared_exponentials_give_what_the_equations_give(limit, wide, equal, rng, monkeypatch):
    monkeypatch.setattr(kernel, "ELEMENTS", limit)
    monkeypatch.setattr(kernel, "WIDE", wide)
    contexts = Groups.equal(60, 5) if equal else Groups(rng.integers(1, 9, size=60))
    log_w, utility, log_r = wild(rng, contexts)
    with np.errstate(invalid="ignore"):
        found = measure(log_w, utility, contexts, utility=utility, log_r=log_r)
        legs = {
            "policy_proposal": policy_proposal(log_r, contexts),
            "target_policy": target_policy(log_w, log_r, contexts),
            "carried_by": carried_by(log_w, log_r, contexts),
            "utility_mean": contexts.mean(utility),
            "utility_max": contexts.max(utility),
            "utility_min": contexts.min(utility),
        }
    near = of_weights("float64", 8, max(np.abs(x[np.isfinite(x)]).max() for x in (log_w, log_r)))
    for name, value in legs.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=near, err_msg=name)
    assert found.codes.tolist() == context_classes(log_w, utility, contexts).tolist()
    assert len(set(found.codes.tolist())) == len(CLASSES) - equal  # each class occurs


def test_gaps_too_small_for_plain_weights_are_carried_as_logarithms(rng):
    contexts = Groups.equal(3, 6)
    log_w, log_r = rng.normal(size=(2, 18))
    log_r[7] = -700.0
    found = measure(log_w, None, contexts, log_r=log_r)
    np.testing.assert_allclose(
        found.target_policy, target_policy(log_w, log_r, contexts), of_weights("float64", 6, 700)
    )
    assert found.target_policy[1] < 1e-250  # w²/ρ of that candidate: seen, not lost


def test_the_record_does_not_depend_on_the_blocks(ragged, rng, monkeypatch):
    x, r = rng.normal(size=(2, ragged.total))
    utility = (x > 0).astype(float)
    answers = rng.integers(4, size=ragged.total)
    both = []
    for limit in (1 << 15, 6):
        monkeypatch.setattr(kernel, "ELEMENTS", limit)
        both.append(measure(x, utility, ragged, utility=utility, log_r=r, answers=answers))
    whole, pieces = both
    near = of_weights("float64", 39, max(np.abs(x).max(), np.abs(r).max()))
    for item in fields(whole):
        a, b = getattr(whole, item.name), getattr(pieces, item.name)
        if isinstance(a, RhoSums):
            for one, other in zip(a.columns, b.columns, strict=True):
                np.testing.assert_allclose(other, one, rtol=near)
        elif isinstance(a, np.ndarray | float):
            np.testing.assert_allclose(b, a, rtol=near, err_msg=item.name)
        else:
            assert a == b, item.name
    assert whole.mean_rho.value == pytest.approx(mean_rho(r, ragged).value, rel=near)


@pytest.mark.parametrize("longest", [255, 256, 300, 511])
def test_contexts_are_laid_from_the_largest_to_the_smallest_whatever_their_spread(longest, rng):
    """Sizes 1 to 511 apart by more than a byte holds: every context reads as it does alone."""
    sizes = np.array([3, longest, 40, 2, longest - 2, 7, longest // 2, 1, 90])
    contexts = Groups(sizes)
    x = rng.normal(size=contexts.total)
    found = weight_statistics(x, contexts)
    for c, rows in enumerate(contexts.split(x)):
        alone = weight_statistics(np.asarray(rows), Groups.equal(1, len(rows)))
        for name in NAMES:
            one, other = getattr(found, name)[c], getattr(alone, name)[0]
            near = of_weights("float64", longest, np.abs(x).max())
            np.testing.assert_allclose(one, other, rtol=near, atol=near, err_msg=name)
