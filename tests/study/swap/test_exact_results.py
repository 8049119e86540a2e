"""Distances and utilities of the ends by hand, files, and who is without_contrast with whom."""

import numpy as np
import pytest

from tod.base import DataError
from tod.operators import Clip, GroupZScore, KLPull, Operator, PolicyGradient
from tod.operators.aggregation import SequenceMeanTokenSum
from tod.study.distances import mean_variation
from tod.study.language import Language
from tod.study.swap import excess
from tod.study.swap.exact_results import AGAIN, ExactResult, all_pairs
from tod.study.swap.exact_run import ExactBlock, run_task
from tod.study.swap.exact_stack import Stack
from tod.study.swap.exact_training import Ends, ExactOperator, train_stack
from tod.study.swap.subset import without_contrast
from tod.study.world import FiniteWorld
from tolerance import unit_roundoff

STORED = unit_roundoff("float32")


def coin(tiny, heads):
    """A world of two one-symbol sequences, and ends [A, S] that show heads so often."""
    language = Language.of(2, 1)
    world = FiniteWorld(language, np.log([[[0.5, 0.5]]]), np.array([[1.0, -1.0]]))
    p = np.array(heads)[:, None, :, None]
    laws = np.log(np.stack([p, 1 - p], axis=-1))
    a, s = np.shape(heads)
    legs = {
        "target_proposal": np.full((a, 1, s), 0.8),
        "policy_proposal": np.arange(a)[:, None, None] * np.ones((a, 1, s)),
        "target_policy": np.full((a, 1, s), 0.9),
        "off_path": np.full((a, 1, s), 0.2),
    }
    active = np.full((a, 1, s), np.nan)
    active[1] = 0.25
    directions = np.broadcast_to(np.eye(a), (1, s, a, a)).copy()
    directions[:, :, 0, 1] = directions[:, :, 1, 0] = 0.5
    names = ("centred", "token_clip", "weighted_mle", "centred" + AGAIN)[:a]
    arms = tuple(ExactOperator(name, tiny.operators[name.removesuffix(AGAIN)]) for name in names)
    stack = Stack.of((world,), tuple(range(s)))
    ends = Ends(laws, legs, active, directions)
    return ExactResult.of(tiny.revised(seeds=s), stack, tiny.settings[0], arms, ends)


HEADS = [[0.5, 0.7], [0.1, 0.3], [0.9, 0.9], [0.6, 0.6]]


def test_a_coin_by_hand(tiny):
    """TV of two coins is the difference of their heads; E[U] = 2p − 1; the base is fair."""
    result = coin(tiny, HEADS)
    heads = np.array(HEADS)
    apart = np.abs(heads[:, :, None, None] - heads[None, None])
    np.testing.assert_allclose(result.distance[0], apart)
    np.testing.assert_allclose(result.utility[0, ..., 0], 2 * heads - 1)
    np.testing.assert_allclose(result.travel[0], np.abs(heads - 0.5))
    np.testing.assert_array_equal(result.start, 0.0)


def test_a_condition_holds_operators_and_the_control_its_two_names(tiny):
    result = coin(tiny, HEADS)
    (condition,) = result.conditions
    assert condition.operators == ("centred", "token_clip", "weighted_mle")
    assert condition.cluster == "world 0"
    assert condition.facts["contrast"] == "weighted_mle"
    (negative,) = result.negative
    assert negative.operators == ("centred", "centred" + AGAIN)
    assert negative.facts["control"] == "negative"
    assert negative.facts["contrast"] is None
    assert without_contrast(condition).operators == ("centred", "token_clip")
    assert without_contrast(negative).operators == negative.operators
    np.testing.assert_allclose(negative.distance[0, :, 1, :], [[0.1, 0.1], [0.1, 0.1]])
    assert excess(negative)[0, 1] == pytest.approx(0.1 - 0.5 * 0.2)


def test_what_was_seen_in_training_is_a_mean_over_the_operators_compared(tiny):
    """Weighted MLE is a contrast: its legs are not in the means. A clip alone has an activation."""
    (condition,) = coin(tiny, HEADS).conditions
    seen = condition.diagnostics
    assert seen["training_policy_proposal"] == pytest.approx(0.5)
    assert seen["off_path"] == pytest.approx(0.2)
    assert seen["ess_two"] == pytest.approx(0.5)
    assert seen["swap_probe"] == pytest.approx(0.5)
    assert seen["clip_activation"] == pytest.approx(0.25)


def test_a_file_gives_back_what_was_saved(tiny, tmp_path):
    result = coin(tiny, HEADS)
    result.save(tmp_path / "x.npz")
    again = ExactResult.load(tmp_path / "x.npz")
    assert again.about == result.about
    np.testing.assert_allclose(again.distance, result.distance, rtol=STORED)
    np.testing.assert_allclose(again.diagnostics, result.diagnostics, rtol=STORED)
    assert again.conditions[0].facts == result.conditions[0].facts


def test_another_file_is_refused(tmp_path):
    for content in (b"", b"PK", b"no archive"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(DataError):
            ExactResult.load(tmp_path / "x.npz")


def test_all_pairs_is_a_distance_of_means(tiny):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), size=(2, 3, 4))
    table = all_pairs(p)
    for i in np.ndindex(2, 3):
        for j in np.ndindex(2, 3):
            expected = np.mean([0.5 * np.abs(p[i][c] - p[j][c]).sum() for c in range(4)])
            assert table[(*i, *j)] == pytest.approx(expected)


def test_an_operator_of_another_target_ends_elsewhere(tiny):
    """A z-scored advantage with its KL apart aims at η/σ_c, and further on as σ_c falls."""
    spec = tiny.revised(steps=150, rate=0.1, legs_every=50, size=16)
    broken = PolicyGradient(
        trust_region=Clip(),
        advantage=GroupZScore(),
        aggregation=SequenceMeanTokenSum(),
        pull=KLPull(kind="k3"),
    )
    names = ("centred", "token_clip")
    arms = (
        *(ExactOperator(n, spec.operators[n]) for n in names),
        ExactOperator("broken", Operator(action=broken)),
    )
    worlds = tuple(spec.world(number) for number in (0, 1))
    fresh = spec.settings[2]
    stack = Stack.of(worlds, (0, 1))
    ends = train_stack(spec, stack, fresh, arms)
    result = ExactResult.of(spec, stack, fresh, arms, ends)
    for w, world in enumerate(worlds):
        e = excess(result.conditions[w])
        away = [mean_variation(ends.laws[a, w, 0], world.target(1.0)) for a in range(3)]
        assert e[0, 1] < 0.02 < 0.05 < e[0, 2]
        assert max(away[:2]) < 0.5 * away[2]


def test_controls(tiny):
    """No difference under two names; η 0 against η 5 far apart, and the end of η 0 the base."""
    spec = tiny.revised(seeds=4, steps=60)
    task = ExactBlock(spec.settings[2], (0, 1))
    result = run_task(spec, task)
    for negative, condition in zip(result.negative, result.conditions, strict=True):
        assert abs(excess(negative)[0, 1]) < 0.1 * np.mean(condition.travel)
    ladder = run_task(spec, ExactBlock(spec.settings[0], (0, 1), "ladder"))
    assert ladder.negative == []
    for condition in ladder.conditions:
        assert condition.operators == ("η 0", "η 5")
        assert excess(condition)[0, 1] > 0.2
        assert condition.travel[0].max() < 0.02 < 0.3 < condition.travel[1].min()
