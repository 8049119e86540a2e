"""All runs of a stack are the single runs of `train`; what is seen on the way is what is said."""

import numpy as np
import pytest

from tod.operators import NoCredit, Operator
from tod.study.distances import mean_variation
from tod.study.population import Policies
from tod.study.population_credit import population_credit
from tod.study.swap.exact_spec import in_nats, procedure_of
from tod.study.swap.exact_stack import CandidateStack, Sampler, Stack, run_seed
from tod.study.swap.exact_training import ExactOperator, train_stack
from tod.study.training import TrainingPlan, train
from tod.study.world import FiniteWorld
from tolerance import double

STEPS = 12
RATE = 0.1
TRAINED = double(100 * STEPS, RATE / 1e-6)
"""A hundred operations a step. Adam moves by rate·g/(|g| + ε), ε = 1e-6, so that an error of a
gradient that cancels is enlarged by at most rate/ε."""


@pytest.fixture(scope="module")
def stack(tiny):
    worlds = tuple(tiny.world(number) for number in (0, 1))
    return Stack.of(worlds, (0, 1))


def arms_of(spec, *names):
    return tuple(ExactOperator(name, spec.operators[name]) for name in names or spec.operators)


@pytest.mark.parametrize("mu", ["base", "hole", "on-policy"])
def test_a_stack_is_its_single_runs(tiny, stack, mu):
    setting = next(setting for setting in tiny.settings if setting.mu == mu)
    names = ("centred", "log_ratio_variance", "token_clip", "sequence_clip", "weighted_mle")
    ends = train_stack(tiny, stack, setting, arms_of(tiny, *names))
    for a, name in enumerate(names):
        procedure = procedure_of(tiny.operators[name], setting.eta)
        for w, s in ((0, 1), (1, 0)):
            world = stack.worlds[w]
            plan = TrainingPlan(
                steps=tiny.steps,
                size=tiny.size,
                rate=tiny.rate,
                refresh=setting.proposal.refresh,
                seed=run_seed(world.seed, s),
            )
            fixed = None if plan.refresh else setting.proposal.law(world, setting.eta)
            alone = train(procedure, Policies.of(world), plan, proposal=fixed)
            np.testing.assert_allclose(ends.laws[a, w, s], alone.log_p, rtol=TRAINED)
            assert mean_variation(alone.log_p, world.base) > 0.05
            if name == "token_clip":
                assert ends.activation[a, w, s] == pytest.approx(np.nanmean(alone.activation))


def test_runs_of_a_stack_differ(tiny, stack):
    ends = train_stack(tiny, stack, tiny.settings[0], arms_of(tiny, "centred"))
    runs = ends.laws[0].reshape(4, *ends.laws.shape[3:])
    apart = [mean_variation(runs[i], runs[j]) for i in range(4) for j in range(i)]
    assert min(apart) > 0.01


def test_streams_are_other_numbers_and_equal_streams_common_ones(tiny, stack):
    centred = tiny.operators["centred"]
    arms = (
        ExactOperator("one", centred),
        ExactOperator("two", centred),
        ExactOperator("three", centred, stream=1),
    )
    one, two, three = train_stack(tiny, stack, tiny.settings[0], arms).laws
    np.testing.assert_array_equal(one, two)
    assert mean_variation(one[0, 0], three[0, 0]) > 0.01


@pytest.mark.parametrize("name", ["dpo", "centred", "log_ratio_variance"])
def test_many_candidates_lead_to_the_target(tiny, name):
    """q* is the fixed point of every operator, drawn choices included."""
    spec = tiny.revised(size=100, steps=100, rate=0.1, legs_every=50)
    stack = Stack.of((spec.world(0),), (0,))
    ends = train_stack(spec, stack, spec.settings[0], arms_of(spec, name))
    world = stack.worlds[0]
    start = mean_variation(world.target(1.0), world.base)
    assert mean_variation(ends.laws[0, 0, 0], world.target(1.0)) < 0.25 * start


def test_distillation_from_the_target_leads_to_it(tiny):
    spec = tiny.revised(steps=120, legs_every=40)
    action = {"distillation": {"aggregation": "sequence_mean_token_sum"}}
    arm = ExactOperator("opd", Operator(action=NoCredit(), auxiliary=action))
    stack = Stack.of((spec.world(0),), (0,))
    law = train_stack(spec, stack, spec.settings[2], (arm,)).laws[0, 0, 0]
    world = stack.worlds[0]
    start = mean_variation(world.target(1.0), world.base)
    assert mean_variation(law, world.target(1.0)) < 0.1 * start


def test_legs_are_one_where_policy_and_proposal_are_one(tiny, stack):
    spec = tiny.revised(mu={"fresh": {"kind": "base", "refresh": 1}}, controls={})
    ends = train_stack(spec, stack, spec.settings[0], arms_of(spec, "centred"))
    np.testing.assert_allclose(ends.legs["policy_proposal"], 1.0)
    np.testing.assert_allclose(ends.legs["target_policy"], ends.legs["target_proposal"])
    assert ends.legs["target_proposal"].max() < 1.0


def test_legs_of_the_first_batch_by_hand(tiny):
    """One step: π = b, so that the leg q*/μ is that of exp(ηU) on the candidates."""
    spec = tiny.revised(steps=1)
    stack = Stack.of((spec.world(0),), (0,))
    ends = train_stack(spec, stack, spec.settings[0], arms_of(spec, "centred"))
    world = stack.worlds[0]
    mu = Sampler.of_law(stack, world.base)
    cumulative = np.cumsum(np.exp(world.base), axis=1)
    legs = []
    for c, row in enumerate(stack.uniforms(1, spec.size)[0]):
        picked = [int(np.sum(cumulative[c] / cumulative[c, -1] <= u)) for u in row]
        w = np.exp(world.utility[c, picked])
        legs.append(w.sum() ** 2 / (w**2).sum() / spec.size)
    assert ends.legs["target_proposal"][0, 0, 0] == pytest.approx(np.mean(legs))
    assert ends.legs["off_path"][0, 0, 0] == pytest.approx(0.0, abs=double(20, 10))
    np.testing.assert_allclose(mu.table[:, -1], np.arange(len(world)) + 1.0)


def test_directions_are_cosines_of_the_first_gradients(tiny, stack):
    ends = train_stack(tiny, stack, tiny.settings[0], arms_of(tiny))
    d = ends.directions
    np.testing.assert_allclose(np.einsum("wsaa->wsa", d), 1.0)
    np.testing.assert_allclose(d, d.transpose(0, 1, 3, 2))
    names = list(tiny.operators)
    # at ratio 1 a clip is open: both are the covariance of residual and score
    clip, sequence = names.index("token_clip"), names.index("sequence_clip")
    np.testing.assert_allclose(d[..., clip, sequence], 1.0)
    assert (d[..., clip, names.index("weighted_mle")] < 0.95).all()


def test_every_loss_pushes_alike_in_nats(tiny):
    """A hundredth off the target in one direction: a pair loss and the residual push alike."""
    world = tiny.world(0)
    flat = FiniteWorld(world.language, world.base_logits, 0.01 * world.utility)
    policies = Policies.of(flat)
    slope = {}
    off = flat.base + 0.01 * world.utility[:, ::-1]
    tokens = flat.tokens(off - np.log(np.exp(off).sum(axis=1, keepdims=True)))
    for name in ("dpo", "log_ratio_variance"):
        procedure = procedure_of(tiny.operators[name], 2.0)
        credit = population_credit(procedure, policies, tokens)
        scale = in_nats(procedure) / len(world) if name == "dpo" else 1.0
        slope[name] = scale * flat.language.by_choice(credit)
    gap = np.abs(slope["dpo"] - slope["log_ratio_variance"]).max()
    assert gap < 0.05 * np.abs(slope["log_ratio_variance"]).max()


def test_sizes_of_a_step_are_those_of_one_run(tiny, stack):
    mu = Sampler.of_law(stack, stack.law(lambda world: world.base))
    rows = np.zeros((8, tiny.size), dtype=np.int64)
    target = procedure_of(tiny.operators["centred"], 1.0).tilt
    totals = CandidateStack.of(stack, target, rows, mu).batch.totals
    assert (totals.tokens, totals.candidates, totals.contexts) == (2 * 8 * 2, 2 * 8, 2)
