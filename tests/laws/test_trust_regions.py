"""Every trust region: ∂surrogate/∂log ρ = gate·ρ·A (L1), at every level and in every aggregation.

The objective is built here from `surrogate`, differentiated by autograd, and compared with the
credit, which is built from `gate`. Members come from the union, their fields from what they
declare.
"""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_values import instances, kind_of, members
from tod.base import Groups, SpecError
from tod.operators import Batch, Level, PolicyGradient, Totals, TrustRegionSpec
from tod.operators.aggregation import AggregationSpec
from tolerance import assert_credit, double, of_weights

REGIONS = members(TrustRegionSpec)
LEVELS = [level for level in get_args(Level) if level != "sequence_mean_of_clipped"]
"""The one that is left out clips before it averages; `test_gradient_law` has its objective."""
SIZES = Groups(np.array([3, 1, 2, 4]))
CONTEXTS = Groups(np.array([2, 2]))
regions = pytest.mark.parametrize("region", REGIONS, ids=kind_of)


def old(region: Any, log_old: Any) -> dict[str, Any]:
    """π_old for the regions that read it."""
    return {"log_old": log_old} if region.reads_old else {}


def made(rule: dict[str, Any]) -> PolicyGradient | None:
    """The rule, or None where the region does not go with the level."""
    try:
        return PolicyGradient.parse({"kind": "policy_gradient", "advantage": "raw", **rule})
    except SpecError:
        return None


def batch_of(seed: int) -> Batch:
    """Random steps of every size up to a factor of e, advantages of both signs and one of 0."""
    rng = np.random.default_rng(seed)
    value = torch.tensor([*rng.normal(size=3), 0.0])[torch.tensor(rng.permutation(4))]
    old = torch.tensor(-rng.gamma(1.5, 0.8, SIZES.total))
    return Batch(
        contexts=CONTEXTS,
        sequences=SIZES,
        log_policy=old + torch.tensor(rng.uniform(-1, 1, SIZES.total)),
        log_old=old,
        value=value,
        tilt=value,
        sharpness=1.0,
        totals=Totals.of(SIZES, CONTEXTS),
    )


def objective(rule: PolicyGradient, batch: Batch, log_policy: torch.Tensor) -> torch.Tensor:
    """Σ over sequences of the surrogate, with the weights of the aggregation."""
    weights = rule.aggregation.weights(batch.sequences, batch.totals, log_policy.detach())
    region = rule.trust_region
    total = torch.zeros((), dtype=torch.float64)
    for rows, a in zip(
        torch.arange(SIZES.total).split(SIZES.sizes.tolist()), batch.value, strict=True
    ):
        x, n = log_policy[rows] - batch.log_old[rows], len(rows)
        if rule.level != "token":
            x = (x.mean() if rule.level == "sequence_mean" else x.sum()).reshape(1)
        known = old(region, batch.log_old[rows])
        f = region.surrogate(x, a.repeat(len(x)), torch.full_like(x, float(n)), **known)
        # the derivative of a mean over n tokens is 1/n for each of them
        scale = weights[rows] if rule.level == "token" else weights[rows][:1]
        total = total + (scale * f).sum() * (n if rule.level == "sequence_mean" else 1)
    return total


@regions
@settings(max_examples=5)
@given(data=st.data())
def test_every_region_goes_with_some_level(region, data):
    shape = data.draw(instances(region))
    assert any(made({"level": level, "trust_region": shape}) for level in LEVELS)


@regions
@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=20)
@given(data=st.data())
def test_autograd_of_the_surrogate_is_the_credit(region, level, data):
    aggregation = data.draw(st.sampled_from(members(AggregationSpec)).flatmap(instances))
    shape = data.draw(instances(region))
    rule = made({"level": level, "trust_region": shape, "aggregation": aggregation})
    if rule is None:
        return  # the region does not go with the level; the test above finds one that it goes with
    batch = batch_of(data.draw(st.integers(0, 2**32 - 1)))
    log_policy = batch.log_policy.clone().requires_grad_()
    want = torch.autograd.grad(objective(rule, batch, log_policy), log_policy, allow_unused=True)[0]
    got = rule.credit(batch).per_token
    assert_credit(got, torch.zeros_like(got) if want is None else want)


@regions
@settings(max_examples=20)
@given(data=st.data())
def test_the_gate_is_a_factor_and_the_weight_is_gate_times_rho(region, data):
    shape, seed = data.draw(instances(region)), data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    log_rho, a = rng.uniform(-2, 2, 40), rng.normal(size=40)
    length = rng.integers(1, 9, 40).astype(float)
    known = old(shape, -rng.gamma(1.5, 0.8, 40))
    gate = np.asarray(shape.gate(log_rho, a, length, **known))
    assert gate.shape == log_rho.shape
    assert np.isfinite(gate).all()
    assert (gate >= 0).all()
    near = of_weights("float64", 1, np.abs(log_rho).max())
    weight = shape.weight(log_rho, a, length, **known)
    np.testing.assert_allclose(weight, gate * np.exp(log_rho), rtol=near)


@regions
def test_by_default_the_policy_that_sampled_is_not_touched(region):
    """At ρ = 1 the gate of the default setting is 1 and the surrogate has the slope A."""
    zero, a = np.zeros(2), np.array([1.5, -0.5])
    np.testing.assert_allclose(
        region().gate(zero, a, np.ones(2), **old(region, zero - 1)), 1.0, rtol=double(8)
    )
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(2, dtype=torch.float64)
    f = region().surrogate(x, torch.tensor(a), ones, **old(region, -ones)).sum()
    np.testing.assert_allclose(torch.autograd.grad(f, x)[0].numpy(), a, rtol=double(8))


@regions
def test_no_product_of_zero_and_infinity(region):
    """Where ρ has no float, a closed gate still gives 0 and an open one ±∞, never NaN."""
    log_rho = np.array([900.0, -900.0, 900.0, -900.0])
    a, length = np.array([1.0, 1.0, -1.0, -1.0]), np.ones(4)
    with np.errstate(over="ignore"):
        weight = np.asarray(region().weight(log_rho, a, length, **old(region, -length)))
    assert not np.isnan(weight).any()


@regions
def test_without_a_length_every_token_is_a_sequence(region):
    log_rho, a = np.linspace(-1, 1, 7), np.array([1.0, -1.0, 0.0, 2.0, -2.0, 1.0, -1.0])
    known = old(region, np.full(7, -1.5))
    for method in (region().gate, region().surrogate, region().weight):
        want = method(log_rho, a, np.ones(7), **known)
        np.testing.assert_array_equal(method(log_rho, a, **known), want)


def test_the_union_is_what_the_file_defines():
    """A region that is written and not in the union would be parsed by nothing."""
    from tod.operators import trust_regions

    defined = {
        x
        for x in vars(trust_regions).values()
        if isinstance(x, type)
        and issubclass(x, trust_regions.TrustRegion)
        and isinstance(x.model_fields["kind"].get_default(), str)
    }
    assert defined == set(REGIONS)
