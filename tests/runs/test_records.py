"""The shape of a step."""

import math
from pathlib import Path

import numpy as np
import pytest

from tod.base import DataError
from tod.diagnostics.summary import Drift, EssRel, Summary
from tod.runs import HeldOut, Ledger, StepRecord, comparable, plain
from tod.runs.records import validated

DESIGNED = {
    *("step", "time", "utility", "ess_rel", "tails", "contexts", "overlap", "coverage"),
    *("mismatch", "drift", "activation", "entropy", "regime", "knobs", "ledger"),
    *("world_size", "held_out"),
}


def test_names_are_those_of_the_contract():
    record = StepRecord(step=1, utility={"correct": 0.2}, held_out=HeldOut(pass_at_1=0.5)).to_dict()
    assert set(record) >= DESIGNED
    assert set(record["ess_rel"]) >= {"median", "q10", "mean"}
    assert set(record["ledger"]) >= {"sample_tokens", "score_tokens", "train_tokens", "flops"}
    assert set(record["held_out"]) >= {"pass_at_1", "pass_at_k", "standard_error", "prompts"}


def test_summary_lies_beside_the_rest():
    summary = Summary(ess_rel=EssRel(median=0.7), drift=Drift(ref=math.nan))
    record = StepRecord(step=4, utility={}, summary=summary).to_dict()
    assert "summary" not in record
    assert record["ess_rel"]["median"] == 0.7
    assert record["drift"]["ref"] is None


def test_unknown_is_none_never_zero():
    record = StepRecord(step=0, utility={"u": float("nan")}).to_dict()
    assert record["utility"]["u"] is None
    assert record["activation"] is None
    assert record["ledger"]["flops"] is None


def test_plain_unpacks_numpy():
    data = plain({"a": np.float32(0.5), "b": np.arange(2), "c": np.bool_(True), "d": Path("x/y")})
    assert data == {"a": 0.5, "b": [0, 1], "c": True, "d": "x/y"}
    assert type(data["a"]) is float
    assert type(data["c"]) is bool


def test_plain_names_what_it_cannot_hold():
    with pytest.raises(DataError, match=r"a\.b\[1\] is a object"):
        plain({"a": {"b": [1, object()]}})
    with pytest.raises(DataError, match="bytes"):
        plain({"a": b"raw"})


@pytest.mark.parametrize("step", [None, -1, 1.5, "3", True])
def test_a_record_needs_a_step(step):
    with pytest.raises(DataError, match="step is"):
        validated({"step": step})


def test_utility_is_a_mapping():
    with pytest.raises(DataError, match="one mean per reward"):
        validated({"step": 1, "utility": 0.3})


def test_comparable_drops_only_the_clock():
    record = StepRecord(step=1, utility={}, time=1.0, seconds={"sample": 2.0}).to_dict()
    left = comparable(record)
    assert set(record) - set(left) == {"time", "seconds"}


def test_ledger_counts_one_step():
    assert plain(Ledger(sample_tokens=3))["sample_tokens"] == 3
