"""Answers of a search, and reranking of the candidates that it wrote: they are the same."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import tod
from tod.base import DataError
from tod.engine.data.task import Task
from tod.engine.search.drawing import prompts_of
from tod.engine.search.job import search
from tod.engine.settings import RunSettings
from tod.runs import RunDirectory

Make = Callable[..., RunSettings]
NAMES = ["best_of_k", "sir", "rejection", "majority_vote", "weighted_vote", "mbr"]


@pytest.mark.parametrize("name", NAMES)
def test_reranking_what_a_search_drew_selects_the_same(name: str, small: Make) -> None:
    """What was selected while it ran, batch by batch, is what its files say afterwards."""
    path = search(small(name, "run", "search.seed=7", "model=tod://tiny-teacher"))
    table = RunDirectory.open(path).rollouts.scan().collect()
    put_out = dict(table.filter("selected").select("context", "candidate").iter_rows())
    found = tod.rerank(str(path))
    assert found.seed == 7
    answers = found.to_frame()
    order = table["context"].unique(maintain_order=True).to_list()
    assert answers["prompt_id"].to_list() == order
    assert answers["index"].to_list() == [put_out.get(context) for context in order]
    written = [json.loads(line) for line in (path / "answers.jsonl").read_text().splitlines()]
    assert written == answers.to_dicts()
    texts = table.filter("selected").select("context", "completion", "answer")
    for row in texts.iter_rows(named=True):
        answer = answers.row(by_predicate=pl.col("prompt_id") == row["context"], named=True)
        assert (answer["response"] or "", answer["answer"]) == (row["completion"], row["answer"])
    curve = json.loads((path / "search.json").read_text())["curve"]
    again = {point["k"]: point for point in found.to_dict()["rules"][0]["curve"]}
    assert all(point.items() <= again[point["k"]].items() for point in curve)


def task(tmp_path: Path, rows: int) -> list[str]:
    """Overrides for a file of prompts, some of which are held out by their hash."""
    file = tmp_path / "prompts.jsonl"
    prompts = [{"prompt": f"1 {i} 3={i}:", "numbers": [1, i, 3], "target": i} for i in range(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return [f"task={{kind: jsonl, path: {file}, held_out: 0.2}}", f"search.contexts={rows}"]


def test_all_prompts_asked_for_are_searched_in_the_order_of_the_file(
    small: Make, tmp_path: Path
) -> None:
    from tod.engine.data.load import load_task

    words = task(tmp_path, 30)
    settings = small("best_of_k", "run", *words, "search.split=all")
    found = prompts_of(settings, load_task(settings.task, settings.prompt_seed))
    assert [example.id for example in found] == [f"prompts.jsonl:{i + 1}" for i in range(30)]
    held = small("best_of_k", "run", *words)
    with pytest.warns(UserWarning, match=r"search.contexts=30 asks for more.*search.split=all"):
        few = prompts_of(held, load_task(held.task, held.prompt_seed))
    assert 0 < len(few) < 30
    fewer = small("best_of_k", "run", *words, "search.split=all", "search.contexts=7")
    assert len(prompts_of(fewer, load_task(fewer.task, fewer.prompt_seed))) == 7


def test_a_task_that_holds_nothing_back_is_told(small: Make) -> None:
    with pytest.raises(DataError, match=r"search\.split=all"):
        prompts_of(small("best_of_k"), Task([], []))
