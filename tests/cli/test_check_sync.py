"""`tod check-sync`: what it answers, in how many lines, with which exit code."""

import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.diagnostics import SYNC_REMEDIES, SYNC_WORDS, Sync
from tod.diagnostics.sync import SyncKind
from tod.show.terminal.sync_screen import lines

KINDS = SyncKind.__args__  # type: ignore[attr-defined]


def checked(kind: str = "noise", name: str = "", **more: Any) -> Any:
    weights = Sync(kind, name, 0.3, 1e-4, 2e-6 if name else None, (), ("1 version old",) * 9, 200)
    greeting = SimpleNamespace(url="http://127.0.0.1:8000", model="policy", ended=0.9)
    told = {"sampling": None, "surprise": 0.4, "dtype": "bfloat16", "sequences": 32}
    good = kind == "noise" and more.get("good", True)
    return SimpleNamespace(
        **(told | more | {"good": good, "weights": weights, "greeting": greeting})
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_screen_answers_first_and_fits(kind):
    shown = lines(checked(kind, "" if kind == "noise" else "2 versions old"))
    first = "In sync" if kind == "noise" else f"Out of sync: {SYNC_WORDS[kind]} (2 versions old)"
    assert shown[0].startswith(first)
    assert len(shown) <= 24
    assert max(map(len, shown[1:])) <= 80
    assert kind == "noise" or " ".join(shown).endswith(SYNC_REMEDIES[kind])


def test_draws_of_another_law_are_said():
    shown = lines(checked(good=False, surprise=9.1))
    assert shown[0] == "Out of sync: the draws follow another law than their log-probs."
    assert any("+9.1 standard errors" in line for line in shown)


def test_every_kind_has_its_words():
    assert set(SYNC_WORDS) == set(KINDS)
    assert set(SYNC_REMEDIES) == set(KINDS) - {"noise"}


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr("tod.serving.pool.FIRST_WAIT", 20.0)  # longer than it is waited for
    words = ["check-sync", "--server", "http://127.0.0.1:9", "--model", "tod://tiny"]
    done = CliRunner().invoke(app, [*words, "--threads", "1", "--patience", "0"])
    said = str(done.exception)
    assert done.exit_code != 0
    assert "nothing can be said of http://127.0.0.1:9" in said
    assert "--server" in said
    assert "--patience" in said
    assert "--resume" not in said


def test_a_server_that_answers_too_slowly_is_left():
    """One that takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        words = ["check-sync", "--server", url, "--model", "tod://tiny", "--threads", "1"]
        before = time.monotonic()
        done = CliRunner().invoke(app, [*words, "--deadline", "0.3"])
        took = time.monotonic() - before
    assert done.exit_code != 0
    assert "0 of 1 requests were answered in time" in str(done.exception)
    assert "--deadline" in str(done.exception)
    assert took < 60  # the model is loaded too; a request alone may take 600


def test_a_gap_is_said_in_probabilities():
    assert any("factor of 1.35" in line for line in lines(checked("stale", "2 versions old")))
