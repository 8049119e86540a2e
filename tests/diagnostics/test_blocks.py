"""Blocks cover every context once, and the record of a batch does not depend on them."""

from dataclasses import fields

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import (
    CLASSES,
    RhoSums,
    carried_by,
    context_classes,
    kernel,
    mean_rho,
    measure,
    policy_proposal,
    target_policy,
)
from tod.diagnostics import blocks as _blocks
from tod.diagnostics import per_context as _per_context


@pytest.mark.parametrize("limit", [1, 5, 16, 39, 1000])
def test_blocks_cover_everything_once(limit, ragged, rng, monkeypatch):
    monkeypatch.setattr(_blocks, "ELEMENTS", limit)
    x = rng.normal(size=ragged.total)
    seen = []
    for block in _blocks.blocks(ragged):
        chosen = np.arange(len(ragged))[block.contexts].tolist()
        seen += chosen
        rows = [x[ragged.offsets[c] : ragged.offsets[c + 1]].tolist() for c in chosen]
        assert block.columns(x).T.tolist() == rows
        assert block.flat(x).tolist() == [v for row in rows for v in row]
        assert block.groups.sizes.tolist() == ragged.sizes[chosen].tolist()
    assert sorted(seen) == list(range(len(ragged)))


def test_no_blocks_of_nothing():
    assert list(_blocks.blocks(Groups(np.zeros(0, np.int64)))) == []


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
    monkeypatch.setattr(_blocks, "ELEMENTS", limit)
    for module in (kernel, _per_context):
        monkeypatch.setattr(module, "WIDE", wide)
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
    for name, value in legs.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12, err_msg=name)
    assert found.codes.tolist() == context_classes(log_w, utility, contexts).tolist()
    assert len(set(found.codes.tolist())) == len(CLASSES) - equal  # each class occurs


def test_gaps_too_small_for_plain_weights_are_carried_as_logarithms(rng):
    contexts = Groups.equal(3, 6)
    log_w, log_r = rng.normal(size=(2, 18))
    log_r[7] = -700.0
    found = measure(log_w, None, contexts, log_r=log_r)
    np.testing.assert_allclose(found.target_policy, target_policy(log_w, log_r, contexts), 1e-13)
    assert found.target_policy[1] < 1e-250  # w²/ρ of that candidate: seen, not lost


def test_the_record_does_not_depend_on_the_blocks(ragged, rng, monkeypatch):
    x, r = rng.normal(size=(2, ragged.total))
    utility = (x > 0).astype(float)
    answers = rng.integers(4, size=ragged.total)
    both = []
    for limit in (1 << 15, 6):
        monkeypatch.setattr(_blocks, "ELEMENTS", limit)
        both.append(measure(x, utility, ragged, utility=utility, log_r=r, answers=answers))
    whole, pieces = both
    for item in fields(whole):
        a, b = getattr(whole, item.name), getattr(pieces, item.name)
        if isinstance(a, RhoSums):
            for one, other in zip(a.columns, b.columns, strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-12)
        elif isinstance(a, np.ndarray | float):
            np.testing.assert_allclose(b, a, rtol=1e-12, err_msg=item.name)
        else:
            assert a == b, item.name
    assert whole.mean_rho.value == pytest.approx(mean_rho(r, ragged).value, rel=1e-12)
