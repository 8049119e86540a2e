"""The example of a chat model: its recipe is one, its problems are right, its reward counts."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tod.engine.data.load import load_task
from tod.engine.settings import RunSettings

CHAT = Path(__file__).parents[2] / "docs/examples/chat"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHAT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in (CHAT / "word_problems.jsonl").read_text().splitlines()]


def solved(question: str) -> int:
    """The answer as a reader finds it: two numbers, and what is done with them."""
    first, second = map(int, re.findall(r"\d+", question))
    if "more" in question:
        return first + second
    if "gave away" in question:
        return first - second
    if "boxes" in question:
        return first * second
    assert "equally" in question
    assert first % second == 0
    return first // second


def test_the_problems_are_those_of_the_script_and_right() -> None:
    assert module("word_problems").rows() == rows()
    for row in rows():
        assert solved(row["prompt"]) == int(row["answer"]), row


def test_the_recipe_reads_them_as_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHAT)
    settings = RunSettings.load(Path("chat_lora.yaml"))
    task = load_task(settings.task)
    held = task.held[:1000]
    assert len(task) + len(held) == len(rows())
    assert len(held) >= settings.evaluate.held_out_prompts
    (message,) = task.batch(0, 1)[0].prompt
    assert message["role"] == "user"


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("5 + 3 = 8 pens now.", "8", 1.0),
        ("8, or 9", "8", 0.0),
        ("none", "8", 0.0),
        ("1,024 coins", "1024", 1.0),
        ("8.0", "8", 1.0),
        ("-3", "3", 0.0),
    ],
)
def test_the_last_number_counts(text: str, answer: str, reward: float) -> None:
    """Of a text, and of a chat's messages."""
    correct = module("last_number").correct
    said = [{"role": "assistant", "content": text}]
    assert correct(["?"] * 2, [text, said], answer=[answer] * 2) == [reward] * 2
