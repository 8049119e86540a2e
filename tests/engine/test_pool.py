"""Pools: what a file's candidates must be for the theory, and what is left out of them."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tod.base import DataError
from tod.engine.data.load import load_task
from tod.engine.forecast import Forecast, forecast
from tod.engine.proposals.propose import propose
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory

Make = Callable[..., RunSettings]
FIRST, SECOND = "3 5 12=31:", "2 4 9=17:"


def row(completion: str, prompt: str = FIRST, **more: Any) -> dict[str, Any]:
    numbers, _, target = prompt.rstrip(":").partition("=")
    known = {"numbers": [int(n) for n in numbers.split()], "target": int(target)}
    return {"context": prompt, "prompt": prompt, "completion": completion, **known, **more}


def pooled(small: Make, path: Path, rows: list[dict[str, Any]], semantics: str) -> RunSettings:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    mu = {"kind": "verifier", "eta": 2.0, "utility": "correct", "anchor": {"mu": 1.0}}
    fixed = {"kind": "verifier", "eta": 2.0, "utility": "correct"}
    return small(
        target=mu if semantics == "sampled" else fixed,
        operator={
            "proposal": {
                "source": "pool",
                "path": str(path),
                "semantics": semantics,
                "prompts": 1,
                "max_new_tokens": 20,
            },
            "action": {"kind": "weighted_regression"},
        },
    )


def read(settings: RunSettings) -> tuple[tuple[str, ...], Any, list[str]]:
    """Completions and log μ of the first step, and what was said."""
    session = open_session(settings)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            evidence = propose(session, 1)
            propose(session, 2)
    finally:
        session.close()
    return evidence.completions, evidence.log_mu, [str(w.message) for w in said]


def test_log_mu_of_other_tokens_is_left_out(small: Make, tmp_path: Path) -> None:
    """Every character is a token here, and one more ends the text: 7 for ``5-12*3``."""
    rows = [
        row("5-12*3", log_mu=-3.0, length=7),
        row("3-12-5", log_mu=-4.0, length=9),
        row("5+3*12", log_mu=-5.0, length=7),
        row("2+4", SECOND, log_mu=-1.0, length=4),
        row("2-4", SECOND, log_mu=-1.0, length=8),
    ]
    completions, log_mu, said = read(pooled(small, tmp_path / "a.jsonl", rows, "sampled"))
    assert completions == ("5-12*3", "5+3*12")
    assert log_mu.tolist() == [-3.0, -5.0]
    (message,) = said
    assert "left out 2 rollouts" in message
    assert "a.jsonl:2" in message
    assert "1 groups with fewer than two" in message


def test_recorded_ids_say_more_than_a_length(small: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    session = open_session(pooled(small, path, [row("5-12*3")], "sampled"))
    ids = [*session.tokenizer("5-12*3", add_special_tokens=False)["input_ids"], session.stop_ids[0]]
    session.close()
    other = [ids[1], ids[0], *ids[2:]]
    rows = [
        row("5-12*3", log_mu=-3.0, token_ids=ids),
        row("5-12*3", log_mu=-4.0, token_ids=other),
        row("5-12*3", log_mu=-5.0, token_ids=ids),
    ]
    assert read(pooled(small, path, rows, "sampled"))[1].tolist() == [-3.0, -5.0]


def test_a_runs_rollouts_are_read_token_by_token(small: Make) -> None:
    """Special tokens that were drawn are not in the text; the recorded ids have them."""
    changes = {"operator__proposal__temperature": 6.0, "train__dtype": "float64"}
    first = small("first", train__steps=1, **changes)
    train(first)
    rows = RunDirectory.open(first.directory).rollouts.scan().collect()
    proposal = {"source": "pool", "path": str(first.directory), "semantics": "sampled"}
    proposal |= {"prompts": 6, "max_new_tokens": 20}
    mu = {"kind": "verifier", "eta": 2.0, "utility": "correct", "anchor": {"mu": 1.0}}
    action = {"kind": "weighted_regression"}
    second = small("second", target=mu, operator={"proposal": proposal, "action": action})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = open_session(second)
        evidence = propose(session, 1)
        session.close()
    drawn = {tuple(row["token_ids"]): row["log_mu"] for row in rows.iter_rows(named=True)}
    read = evidence.rollouts.sequences.split(evidence.rollouts.ids)
    assert len(read) == len(rows)
    for ids, log_mu in zip(read, evidence.log_mu, strict=True):
        assert drawn[tuple(ids)] == log_mu


def test_a_pool_of_other_tokens_alone_is_refused(small: Make, tmp_path: Path) -> None:
    rows = [row("5-12*3", log_mu=-3.0, length=99), row("5+3*12", log_mu=-3.0, length=99)]
    with pytest.raises(DataError, match=r"left out 2 rollouts.*No group of two is left"):
        read(pooled(small, tmp_path / "a.jsonl", rows, "sampled"))


def test_draws_may_repeat_and_need_no_length(small: Make, tmp_path: Path) -> None:
    rows = [row("5-12*3", log_mu=-3.0), row("5-12*3", log_mu=-3.0)]
    completions, _, said = read(pooled(small, tmp_path / "a.jsonl", rows, "sampled"))
    assert (completions, said) == (("5-12*3", "5-12*3"), [])


def test_a_fixed_set_has_distinct_elements(small: Make, tmp_path: Path) -> None:
    rows = [
        row("5-12*3"),
        row("5+3*12"),
        row("5-12*3"),
        *(row("2+4", SECOND) for _ in range(3)),
    ]
    completions, _, said = read(pooled(small, tmp_path / "a.jsonl", rows, "fixed"))
    assert completions == ("5-12*3", "5+3*12")
    (message,) = said
    assert "left out 3 rollouts" in message
    assert "a.jsonl:3" in message
    assert "distinct" in message
    assert "1 groups" in message


def test_the_forecast_reads_the_file(small: Make, tmp_path: Path) -> None:
    """Twice the candidates are more than the work of the same prompts; none of them are drawn."""
    path = tmp_path / "a.jsonl"
    rows = [row(f"{i}-1") for i in range(4)] + [row(f"{i}-1", SECOND) for i in range(4)]

    def cost(rows: list[dict[str, Any]], prompts: int) -> Forecast:
        settings = pooled(small, path, rows, "fixed")
        proposal = settings.operator.proposal.revised(prompts=prompts)
        settings = settings.revised(operator=settings.operator.revised(proposal=proposal))
        return forecast(settings, load_task(settings.task, 0))

    few, many = cost(rows[2:6], 2), cost(rows, 2)
    drawn = small(operator__proposal={"prompts": 2, "size": 4, "max_new_tokens": 20})
    assert 1.5 < many.flops / few.flops < 2.0
    assert many.memory.logits == forecast(drawn, load_task(drawn.task, 0)).memory.logits
    assert (few.completion_tokens, many.notes) == (0, ())
    (note,) = cost(rows, 3).notes
    assert "the pool has 2 prompts" in note
