"""A search whose candidates come from servers."""

from pathlib import Path
from typing import Any

import pytest
from lying_server import Book, serving

from tod.base import SpecError
from tod.engine import session
from tod.engine.search.job import search
from tod.engine.settings import RunSettings
from tod.formats import read
from tod.runs import RunDirectory

COUNT = 6


def recipe(output: Path, url: str, **changes: Any) -> RunSettings:
    """A search of six prompts in two batches."""
    return RunSettings.parse(
        {
            "name": "served",
            "policy": {"server": url, "model": "tiny", "patience": 10.0, "timeout": 20.0},
            "target": {"kind": "verifier", "eta": 5.0, "utility": "correct"},
            "operator": {
                "proposal": {"prompts": 3, "size": 4, "max_new_tokens": 16},
                "action": {"kind": "resample"},
            },
            "search": {"contexts": COUNT, "split": "all"},
            "evaluate": None,
            "output": str(output),
        }
        | changes
    )


def rows(path: Path) -> Any:
    return RunDirectory.open(path).rollouts.scan().collect()


def test_a_served_search_loads_no_weights_and_draws_every_candidate_once(
    tmp_path, history, monkeypatch
):
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(session, "load_model", refused)
    with serving(Book({"tiny": history[0]})) as url:
        path = search(recipe(tmp_path / "run", url))
    table = rows(path)
    assert len(table) == COUNT * 4
    assert table.select("context", "candidate").n_unique() == COUNT * 4
    assert table["log_mu"].to_list() == table["log_ref"].to_list()
    assert table["log_mu"].max() < 0
    assert len(read(path, unanswered=True)) == COUNT * 4


def test_a_search_goes_on_after_its_server_was_away(tmp_path, history):
    """The second batch finds no server; the resumed run has what an undisturbed one has."""
    book = Book({"tiny": history[0]})
    with serving(book) as url:
        whole = search(recipe(tmp_path / "whole", url))
    drawn = [r for r in book.requests if "prompt_logprobs" not in r]
    handshake = len(drawn) - COUNT
    again = Book({"tiny": history[0]})

    def away(body: dict[str, Any]) -> dict[str, Any]:
        if len([r for r in again.requests if "prompt_logprobs" not in r]) > handshake + 3:
            raise RuntimeError("killed")
        return body

    again.asked = away
    path = tmp_path / "cut"
    with serving(again) as url, pytest.raises(OSError, match="killed"):
        search(recipe(path, url))
    assert len(rows(path)) == 3 * 4
    with serving(Book({"tiny": history[0]})) as url:
        search(recipe(path, url), resume=True)
    assert rows(path).equals(rows(whole))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "operator": {"action": {"kind": "policy_gradient"}},
                "search": None,
            },
            "this recipe trains",
        ),
        (
            {"operator": {"proposal": {"source": "ref"}, "action": {"kind": "resample"}}},
            "use source old",
        ),
        ({"policy": {"server": "tiny:1", "model": "tiny"}}, "policy.server.*no address"),
        ({"policy": {"server": "http://a", "modle": "tiny"}}, "policy.modle.*model"),
    ],
)
def test_what_servers_cannot_do_is_said_before_anything_is_asked(tmp_path, changes, said):
    with pytest.raises(SpecError, match=said):
        recipe(tmp_path, "http://127.0.0.1:9", **changes)


def test_weights_are_loaded_where_an_anchor_needs_them(tmp_path):
    plain = recipe(tmp_path, "http://a")
    cut = {"proposal": {"top_p": 0.9}, "action": {"kind": "resample"}}
    assert plain.unloaded
    assert not recipe(tmp_path, "http://a", operator=cut).unloaded
