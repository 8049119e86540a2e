"""Candidates: refusals that name the element, whole-context selection, freezing."""

import math

import numpy as np
import pytest

from tod.base import DataError, Groups, MissingLogProbs
from tod.candidates import Candidates, Labels, Tokens

CONTEXTS = Groups(np.array([2, 1, 3]))


def _candidates(make=np.asarray):
    sequences = Groups(np.array([2, 1, 3, 1, 2, 4]))
    tokens = Tokens(
        sequences,
        log_mu=make(-np.arange(1.0, 14.0)),
        log_anchor={"old": make(-np.arange(1.0, 14.0) / 2)},
        ids=np.arange(13),
    )
    return Candidates(
        CONTEXTS,
        {"r": make(np.arange(6.0))},
        log_mu=make(-np.arange(1.0, 7.0)),
        log_anchor={"ref": make(-np.arange(2.0, 8.0))},
        tokens=tokens,
        labels=Labels(
            context=("a", "b", "c"),
            step=np.array([1, 1, 2]),
            prompt=("A", "B", "C"),
            completion=tuple("uvwxyz"),
            length=np.arange(6),
        ),
    )


def test_take_keeps_contexts_whole(backend):
    c = _candidates(backend.make)
    part = c.take(np.array([2, 0]))
    assert part.contexts.sizes.tolist() == [3, 2]
    assert part.utility["r"].tolist() == [3, 4, 5, 0, 1]
    assert part.log_prob("ref", "").tolist() == [-5, -6, -7, -2, -3]
    assert part.tokens.sequences.sizes.tolist() == [1, 2, 4, 2, 1]
    assert part.tokens.ids.tolist() == [6, 7, 8, 9, 10, 11, 12, 0, 1, 2]
    assert part.tokens.log_prob("mu", "").tolist() == [-7, -8, -9, -10, -11, -12, -13, -1, -2, -3]
    assert part.labels.context == ("c", "a")
    assert part.labels.completion == ("x", "y", "z", "u", "v")
    assert part.labels.step.tolist() == [2, 1]
    assert part.labels.length.tolist() == [3, 4, 5, 0, 1]


def test_subset_regroups(backend):
    part = _candidates(backend.make).subset(np.array([0, 3, 5]), Groups(np.array([1, 2])))
    assert part.utility["r"].tolist() == [0, 3, 5]
    assert part.tokens is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utility": {"r": [0, 1, math.nan, 3, 4, 5]}}, "'r' of rollout 0 of prompt 1 is nan"),
        ({"utility": {"r": [0, 1, 2, 3, math.inf, 5]}}, "rollout 1 of prompt 2 is inf"),
        ({"utility": {"r": [0, 1]}}, r"shape \(2,\), expected \(6,\)"),
        ({"log_mu": [-1, -1, -1, -1, -1, 2]}, "log_mu of rollout 2 of prompt 2 is 2.0"),
        ({"log_anchor": {"ref": [math.nan] * 6}}, "log_ref.*6 such values"),
        ({"log_anchor": {"mu": [-1.0] * 6}}, "go to log_mu"),
        ({"log_anchor": {"base": [-1.0] * 6}}, "'base': known names are old"),
        ({"tokens": Tokens(Groups.equal(5, 1))}, "5 token sequences for 6"),
    ],
)
def test_bad_values_are_named(backend, changes, message):
    def arrays(value):
        if isinstance(value, dict):
            return {name: arrays(inner) for name, inner in value.items()}
        return backend.make(value) if isinstance(value, list) else value

    given = {"utility": {"r": [0.0] * 6}, **changes}
    with pytest.raises(DataError, match=message):
        Candidates(CONTEXTS, **{name: arrays(value) for name, value in given.items()})


def test_a_forbidden_utility_and_an_impossible_anchor_are_legal(backend):
    c = Candidates(
        Groups.equal(1, 2),
        {"r": backend.make([-math.inf, 1.0])},
        log_anchor={"ref": backend.make([-math.inf, -1.0])},
    )
    assert c.recorded == ("ref",)


def test_what_is_missing_is_named():
    c = _candidates()
    assert c.recorded == ("mu", "ref")
    with pytest.raises(MissingLogProbs, match=r"log q.*'teacher'.*there: mu, ref") as error:
        c.log_prob("teacher", "log q*/μ")
    assert error.value.name == "teacher"
    with pytest.raises(DataError, match=r"no reward 'score'.*\(r\)"):
        c.utilities("score")
    with pytest.raises(MissingLogProbs, match="'ref'"):
        c.tokens.log_prob("ref", "a pull")


def test_mappings_are_frozen_copies():
    given = {"r": np.zeros(6)}
    c = Candidates(CONTEXTS, given)
    given["s"] = np.ones(6)
    assert set(c.utility) == {"r"}
    with pytest.raises(TypeError):
        c.utility["s"] = np.ones(6)


def test_tokens_refuse_another_length():
    with pytest.raises(DataError, match=r"token log_mu has shape \(3,\), there are 4"):
        Tokens(Groups.equal(2, 2), log_mu=np.zeros(3))
