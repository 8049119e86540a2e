"""Authorisation: when a cheaper operator takes over, what takes it back, and how soon."""

import json

import numpy as np
import pytest

from tod.arc import Authorise, AuthoriseState, authorise, credit_cosine, watched
from tod.diagnostics import Coverage, Overlap, ProbeReading, Summary
from tolerance import double

OPERATORS = ("rl", "surrogate", "distil")
RULE = Authorise(window=2, windows=2, cooldown=2)
COST = {"rl": 10.0, "surrogate": 6.0, "distil": 3.0}
GOOD = {"overlap.policy_proposal": 0.8, "path.delta": 0.1, "credit.next": 0.9, "credit.watch": 0.9}


def play(batches, rule=RULE, cost=COST, watch=None):
    """The actions by batch, from 0, and the state at the end; states go through JSON."""
    watch = watch or AuthoriseState("rl")
    actions = {}
    for number, seen in enumerate(batches):
        watch = AuthoriseState.from_dict(json.loads(json.dumps(watch.to_dict())))
        watch, said = authorise(rule, OPERATORS, watch, seen, cost[watch.operator])
        if said.action != "hold":
            actions[number] = (said.action, watch.operator)
            assert said.why
    return actions, watch


def test_a_swap_after_so_many_healthy_windows_and_one_operator_at_a_time():
    actions, watch = play([GOOD] * 9)
    assert actions == {3: ("swap", "surrogate"), 7: ("swap", "distil")}
    assert watch.cost("rl") == 10.0
    assert watch.cost("surrogate") == 6.0


@pytest.mark.parametrize(
    "bad",
    [
        {"overlap.policy_proposal": 0.2},
        {"path.delta": 1.0},
        {"probe.delta": 1.0},
        {"coverage.mean_rho_z": -5.0},
        {"credit.watch": 0.1},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_the_first_bad_window_takes_it_back_within_two_windows(bad):
    """A swap at batch 3, bad from batch 4 on: back at batch 5, the end of the next window."""
    actions, watch = play([GOOD] * 4 + [{**GOOD, **bad}] * 2)
    assert actions == {3: ("swap", "surrogate"), 5: ("revert", "rl")}
    assert watch.returns == 1


def test_after_a_return_the_cooldown_doubles():
    bad = {**GOOD, "path.delta": 1.0}
    batches = [GOOD] * 4 + [bad] * 2
    first, watch = play(batches)
    assert max(first) == 5
    # 2 healthy windows and 2 of cooldown: at the second window, batch 3
    again, watch = play([GOOD] * 4 + [bad] * 2, watch=watch)
    assert again == {3: ("swap", "surrogate"), 5: ("revert", "rl")}
    # then 4 windows of cooldown: at the fourth, batch 7
    third, _ = play([GOOD] * 8, watch=watch)
    assert third == {7: ("swap", "surrogate")}


def test_a_bad_window_before_a_swap_begins_the_count_anew():
    bad = {**GOOD, "overlap.policy_proposal": 0.1}
    actions, _ = play([GOOD] * 2 + [bad] * 2 + [GOOD] * 4)
    assert actions == {7: ("swap", "surrogate")}


def test_an_operator_whose_credit_points_elsewhere_is_never_tried():
    actions, watch = play([{**GOOD, "credit.next": 0.2}] * 20)
    assert actions == {}
    assert watch.healthy == 10


def test_what_is_not_cheaper_goes_back_and_stays_refused():
    actions, watch = play([GOOD] * 20, cost={**COST, "surrogate": 12.0})
    assert actions == {3: ("swap", "surrogate"), 5: ("revert", "rl")}
    assert watch.refused == ("surrogate",)


def test_nothing_known_is_no_health():
    actions, watch = play([{}] * 20)
    assert actions == {}
    assert watch.healthy == 0


def test_the_cosine_is_that_of_two_vectors():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    exact = sum(x * y for x, y in zip(a, b, strict=True)) / (
        sum(x * x for x in a) ** 0.5 * sum(y * y for y in b) ** 0.5
    )
    assert credit_cosine(a, b) == pytest.approx(exact, abs=double(150))
    assert credit_cosine(a, 3 * a) == pytest.approx(1.0, abs=double(150))
    assert credit_cosine(a, -a) == pytest.approx(-1.0, abs=double(150))
    assert credit_cosine(a, 0 * a) is None


def test_what_is_read_of_a_batch():
    summary = Summary(
        overlap=Overlap(policy_proposal=0.6, target_policy=0.3),
        coverage=Coverage(mean_rho_z=-1.0),
        probe=ProbeReading(delta=0.2),
    )
    assert watched(summary, {"credit.next": 0.5, "credit.watch": None}) == {
        "overlap.policy_proposal": 0.6,
        "overlap.target_policy": 0.3,
        "probe.delta": 0.2,
        "coverage.mean_rho_z": -1.0,
        "credit.next": 0.5,
    }
