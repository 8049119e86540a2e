"""Authorising the cheaper operator and taking it back."""

from dataclasses import replace

import pytest

from set_points import set_point
from tod.arc import initial, step
from tod.arc.controller import choose_operator
from tod.arc.health import health_of, observe
from tod.diagnostics import ContextCounts, EssRel, Summary, Tails


def seen(ess):
    counts = ContextCounts(total=64, informative=64)
    return Summary(contexts=counts, ess_rel=EssRel(ess, ess, ess), tails=Tails(0.1), activation=0.0)


def play(config, values, **declared):
    state, decisions = initial(config, **declared), []
    for t, value in enumerate(values):
        state, decision = step(config, state, seen(value), step=t)
        decisions.append(decision)
    return state, decisions


CONFIG = set_point(operators=("rl", "surrogate", "distil"), dwell=3, window=1)


def test_one_operator_at_a_time_after_sustained_health():
    state, decisions = play(CONFIG, [0.95] * 7, eta=5.0)
    swaps = [
        (d.step, d.before["operator"], d.after["operator"]) for d in decisions if d.action == "swap"
    ]
    assert swaps == [(2, "rl", "surrogate"), (5, "surrogate", "distil")]
    assert state.operator == "distil"


def test_a_cheaper_operator_is_taken_back_before_sharpness_is_touched():
    state, decisions = play(
        set_point(operators=("rl", "surrogate"), dwell=3, window=1), [0.95] * 6 + [0.1], eta=5.0
    )
    last = decisions[-1]
    assert last.action == "revert"
    assert last.before == {"eta": 5.0, "operator": "surrogate"}
    assert last.after == {"eta": 5.0, "operator": "rl"}
    assert "worsened under surrogate" in last.why
    assert state.reverts == 1


def test_within_the_dwell_sharpness_answers_instead():
    config = set_point(operators=("rl", "surrogate"), dwell=3, window=1)
    _, decisions = play(config, [0.95] * 3 + [0.1, 0.1, 0.1], eta=5.0)
    assert [d.action for d in decisions] == ["hold", "hold", "swap", "soften", "soften", "revert"]


def test_each_revert_doubles_the_health_the_next_swap_needs():
    config = set_point(operators=("rl", "surrogate"), dwell=2, window=1)
    values = [0.95] * 4 + [0.1] + [0.95] * 20
    _, decisions = play(config, values, eta=5.0)
    first, second = (d.step for d in decisions if d.action == "swap")
    revert = next(d.step for d in decisions if d.action == "revert")
    assert first == 1
    assert revert == 4
    assert second == revert + 4


def test_no_swap_below_full_sharpness():
    config = set_point(operators=("rl", "surrogate"), dwell=2, start=0.5, window=1)
    _, decisions = play(config, [0.95] * 20, eta=5.0)
    swap = next(d for d in decisions if d.action == "swap")
    assert swap.after["eta"] == 5.0
    assert all(d.after["operator"] == "rl" for d in decisions if d.after["eta"] < 5.0)


def test_without_a_list_there_is_no_operator_in_the_record():
    state, decisions = play(set_point(), [0.95] * 9, eta=5.0)
    assert state.operator is None
    assert all("operator" not in d.after for d in decisions)


@pytest.mark.parametrize("reverts", [0, 1, 2, 3, 5, 6, 9])
def test_the_patience_is_the_dwell_doubled_by_every_revert(reverts):
    """dwell·2^reverts healthy batches, six doublings at the most."""
    state = replace(initial(CONFIG, eta=5.0), reverts=reverts, since_swap=1000)
    patience = CONFIG.dwell << min(reverts, 6)
    health = health_of(CONFIG, observe(CONFIG, seen(0.97)))
    for healthy, operator in ((patience - 1, "rl"), (patience, "surrogate")):
        changed, _ = choose_operator(CONFIG, replace(state, healthy=healthy), health)
        assert changed.operator == operator
