"""Training whose candidates come from servers: what is sent, seen, written, and asked again."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lying_server import Book, serving, with_adapter

from tod.base import ModelError, SpecError
from tod.engine.models import load_model
from tod.engine.served.weights import ServedWeights
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.formats import read
from tod.runs import RunDirectory
from tod.show.report import build as report_page
from tolerance import of_sequence

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PROMPTS, SIZE, STEPS = 2, 3, 3


def recipe(output: Path, url: str, sync: Any = None, **changes: Any) -> RunSettings:
    """Three steps of two prompts, adapters of rank 4 at a rate that moves them."""
    policy = {"server": url, "model": "tiny", "patience": 10.0, "timeout": 20.0}
    sync = {"dtype": "float32", "sequences": 4, **(sync or {})}
    data = {
        "name": "served",
        "policy": {**policy, "sync": sync},
        "peft": {"kind": "lora", "rank": 4},
        "target": {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"},
        "operator": {
            "proposal": {"prompts": PROMPTS, "size": SIZE, "max_new_tokens": 8},
            "action": {"kind": "policy_gradient"},
        },
        "train": {"steps": STEPS, "learning_rate": 0.02, "checkpoint_every": 1},
        "evaluate": None,
        "output": str(output),
    }
    return RunSettings.parse(data | changes)


@pytest.fixture(scope="module")
def base() -> Any:
    return load_model("tod://tiny")[0].requires_grad_(False)


@pytest.fixture
def book(base: Any) -> Book:
    return Book({"tiny": base})


@pytest.fixture(scope="module")
def whole(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An undisturbed run: its directory, and what its server saw."""
    book = Book({"tiny": base})
    with serving(book) as url:
        path = train(recipe(tmp_path_factory.mktemp("whole") / "run", url))
    return path, book


def records(path: Path) -> list[Any]:
    return list(RunDirectory.open(path).steps.read())


def rows(path: Path) -> Any:
    return RunDirectory.open(path).rollouts.scan().collect().sort("step", "context", "candidate")


def once(table: Any, steps: int = STEPS) -> bool:
    """Whether every candidate of every step is there, and once."""
    keys = table.select("step", "context", "candidate")
    return len(table) == keys.n_unique() == steps * PROMPTS * SIZE


def test_every_step_draws_from_the_version_before_it_and_says_so(whole):
    path, book = whole
    table = rows(path)
    assert once(table)
    assert (table["version"] == table["step"] - 1).all()
    assert (table["lag"] == 0).all()
    # log μ of the server's forward, log π of ours: float32 both
    assert (table["log_mu"] - table["log_policy"]).abs().max() <= of_sequence("float32")
    for step, record in enumerate(records(path), 1):
        told = record["served"]
        assert (told["version"], told["lag"], told["most"]) == (step - 1, 0.0, 0)
        (sync,) = told["syncs"]
        assert (sync["good"], sync["kind"], sync["draws"]) == (True, "noise", "noise")
        assert sync["version"] == step - 1
    assert [name.rpartition("-v")[2] for name in book.loads] == ["0", "1", "2"]
    moved = [r["optimiser"]["grad_norm"] for r in records(path)]
    assert max(moved) > 0


def test_nothing_of_a_run_that_ended_stays_on_its_servers(whole):
    path, book = whole
    assert list(book.models) == ["tiny"]
    assert not (path / "adapters").exists()
    assert (path / "model" / "adapter_model.safetensors").exists()
    assert not (path / "mismatches.jsonl").exists()


def test_neither_a_killed_server_nor_a_stopped_run_loses_or_repeats_anything(
    whole, book, tmp_path, monkeypatch
):
    """The server dies while it draws the second batch and comes back without any adapter.

    The run is killed in its third one, and goes on with a server that still has other weights under
    the names of the killed processes; at its end it has none.
    """
    seen: list[Any] = []

    def killed(body: dict[str, Any]) -> dict[str, Any]:
        if body["model"].endswith("-v1") and body.get("n") == SIZE:
            seen.append(body)
            if len(seen) == 2:
                book.forget()
                book.failing = [(503, "starting")] * 2
                raise ConnectionAbortedError
        if body["model"].endswith("-v2") and body.get("n") == SIZE:
            raise KeyError("stopped")
        return body

    book.asked = killed
    monkeypatch.setattr(ServedWeights, "close", lambda _: None)  # as a killed process does
    with serving(book) as url, pytest.raises(ModelError, match="stopped"):
        train(recipe(tmp_path / "run", url))
    monkeypatch.undo()
    assert len(seen) > PROMPTS
    assert [name.rpartition("-v")[2] for name in book.loads] == ["0", "1", "1", "2"]
    again = Book(dict.fromkeys(book.models, book.models["tiny"]))
    assert len(again.models) == 3
    with serving(again) as url:
        path = train(recipe(tmp_path / "run", url), resume=True)
    assert list(again.models) == ["tiny"]
    assert not list(path.glob("adapters*"))
    assert once(rows(path))
    assert rows(path)["token_ids"].to_list() == rows(whole[0])["token_ids"].to_list()
    second = records(path)[1]["served"]["syncs"]
    assert [(sync["version"], sync["good"]) for sync in second] == [(1, True), (1, True)]


def test_weights_lag_as_the_recipe_says_and_that_is_measured(book, tmp_path):
    proposal = {"prompts": PROMPTS, "size": SIZE, "max_new_tokens": 8, "refresh": 2}
    operator = {"proposal": proposal, "action": {"kind": "policy_gradient"}}
    evaluate = {"held_out_prompts": 2, "samples_per_prompt": 2, "every": 1, "start": False}
    with serving(book) as url:
        path = train(recipe(tmp_path / "run", url, operator=operator, evaluate=evaluate))
    table = rows(path)
    by_step = {s: set(table.filter(table["step"] == s)["lag"]) for s in range(1, STEPS + 1)}
    assert by_step == {1: {0}, 2: {1}, 3: {0}}
    # the lagging copy is what drew: its own forward gives log μ, that of the policy does not
    second = table.filter(table["step"] == 2)
    assert (second["log_mu"] - second["log_old"]).abs().max() <= of_sequence("float32")
    assert (second["log_mu"] - second["log_policy"]).abs().max() > of_sequence("float32")
    # evaluation is of the policy as it is: every version was served for it
    assert [name.rpartition("-v")[2] for name in book.loads] == ["0", "1", "2", "3"]
    assert np.array_equal(read(path).lag, table["lag"].to_numpy())
    seen = [[sync["version"] for sync in r["served"]["syncs"]] for r in records(path)]
    assert seen == [[0, 1], [2], [3]]


def deaf(base: Any, _: str) -> Any:
    """The adapter is acknowledged and never applied."""
    return base


def test_a_server_that_keeps_old_weights_stops_the_run_and_is_named(base, tmp_path):
    stopped = pytest.raises(ModelError, match=r"step 2: server .*those of the start.*on_mismatch")
    with serving(Book({"tiny": base}, read=deaf)) as url, stopped:
        train(recipe(tmp_path / "run", url))
    page = report_page([tmp_path / "run"])
    assert "Out of sync at step 2" in page
    (noted,) = RunDirectory.open(tmp_path / "run").mismatches.read()
    assert (noted["step"], noted["version"], noted["kind"]) == (2, 1, "initial")
    assert len(records(tmp_path / "run")) == 1


def test_a_mismatch_that_is_only_warned_of_stands_in_the_record(base, tmp_path):
    def older(base: Any, directory: str) -> Any:
        """The third version is read as the second."""
        stem, _, version = directory.rpartition("/v")
        return with_adapter(base, f"{stem}/v{min(int(version), 1)}")

    with (
        serving(Book({"tiny": base}, read=older)) as url,
        warnings.catch_warnings(record=True) as w,
    ):
        warnings.simplefilter("always")
        path = train(recipe(tmp_path / "run", url, sync={"on_mismatch": "warn"}))
    syncs = [record["served"]["syncs"][0] for record in records(path)]
    assert [sync["kind"] for sync in syncs] == ["noise", "noise", "stale"]
    assert syncs[2]["name"] == "version 1"
    said = [str(one.message) for one in w if "version 1" in str(one.message)]
    assert said
    assert "nats a token off" in said[0]
    assert len(list(RunDirectory.open(path).mismatches.read())) == 1


def test_a_server_that_answers_in_another_name_is_refused(base, tmp_path):
    """One that does not know the name, and says so only in the answer."""

    def told(answer: Any) -> Any:
        return answer | {"model": "tiny"}

    refused = pytest.raises(ModelError, match=r"model: 'tiny'.*answers for every name")
    with serving(Book({"tiny": base}, told=told)) as url, refused:
        train(recipe(tmp_path / "run", url))


def test_a_server_that_takes_no_adapters_is_refused_with_its_flags(book, tmp_path):
    book.load = lambda _: (404, '{"detail":"Not Found"}')
    with (
        serving(book) as url,
        pytest.raises(ModelError, match=r"ALLOW_RUNTIME_LORA.*sync.adapters"),
    ):
        train(recipe(tmp_path / "run", url))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft": None}, "servers are sent adapters"),
        (
            {
                "operator": {
                    "proposal": {"source": "dataset"},
                    "action": {"kind": "weighted_regression"},
                },
                "target": {"kind": "data"},
            },
            "use source old",
        ),
    ],
)
def test_what_servers_cannot_do_is_said_before_anything_is_asked(tmp_path, changes, said):
    with pytest.raises(SpecError, match=said):
        recipe(tmp_path, "http://127.0.0.1:9", **changes)
