"""`tod rerank` and `tod search` on the command line: screens, files, refusals."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.reranking.rerank import rerank
from tod.show.page.rerank_page import rerank_page
from tod.show.terminal.rerank_screen import lines

RULES = "best_of_k,vote,sir,weighted_vote,rejection,mbr"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("scored") / "scored.jsonl"
    rows = [
        {
            "prompt": f"what is {p}? \x1b[2J",
            "response": f"it is \\boxed{{{rng.integers(3)}}}",
            "reward": float(rng.random() < p / 40),
            "a_second_score_of_a_rather_long_name": float(rng.random()),
            "tokens": 7,
        }
        for p in range(40)
        for _ in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(*words: str) -> str:
    done = CliRunner().invoke(app, ["rerank", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rules": RULES.split(","), "eta": 2.0, "mapping": {"length": "tokens"}},
        {"gold": "a_second_score_of_a_rather_long_name"},
        {"rules": ["rejection", "vote"], "k": 3},
    ],
)
def test_a_screen_has_24_lines_of_80_columns_and_says_the_answer_first(
    options: dict, scored: Path
) -> None:
    found = rerank(str(scored), **options)
    shown = lines(found, "answers.jsonl: 40 prompts")
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    assert re.match(r"(Best of|Rejection of) \d+ .* from 0\.\d{3} to 0\.\d{3}", shown[0])
    for label in ("Is K enough?", "How much selection", "Over-optimised?", "Answers"):
        assert any(line.startswith(label) for line in shown)


def test_answers_json_and_page_are_written(scored: Path, tmp_path: Path) -> None:
    answers, page, data = (tmp_path / name for name in ("a.jsonl", "p.html", "d.json"))
    words = ("--rule", RULES, "--eta", "2", "-o", answers, "--html", page, "--json", data)
    screen = told(str(scored), *map(str, words))
    assert screen.startswith("Best of 12 raises reward")
    assert len(answers.read_text().splitlines()) == 6 * 40
    assert "\x1b" not in screen
    told_ = json.loads(data.read_text())
    assert told_["schema"] == "tod.rerank/1"
    assert [rule["name"] for rule in told_["rules"]][:2] == ["best_of_k", "majority_vote"]
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")


def test_answers_and_json_may_go_to_stdout(scored: Path) -> None:
    rows = [json.loads(line) for line in told(str(scored), "-o", "-").splitlines()]
    assert len(rows) == 40
    assert {"prompt_id", "prompt", "answer", "index", "reward", "rule", "weight"} <= set(rows[0])
    assert json.loads(told(str(scored), "--json", "-"))["verdict"]["k"] == 12


def test_the_page_shows_every_rule_and_escapes_what_came_from_files(scored: Path) -> None:
    found = rerank(str(scored), ["best_of_k", "{kind: rejection, log_bound: 9}"], eta=2.0)
    page = rerank_page(found)
    assert "rejection log_bound=9" in page
    assert "reward against candidates" in page
    assert page.count("<figure") == 1
    assert page.count("<details") == 3
    gold = rerank(str(scored), gold="a_second_score_of_a_rather_long_name")
    assert rerank_page(gold).count("<figure") == 2


def test_the_page_of_what_puts_nothing_out_is_made(scored: Path) -> None:
    found = rerank(str(scored), "{kind: rejection, log_bound: 900}", eta=2.0)
    assert "0.0 %" in rerank_page(found)
    assert len(lines(found)) <= 24


def test_a_recipe_that_trains_is_no_search() -> None:
    with pytest.raises(ValueError, match="grpo trains: `tod run grpo`"):
        CliRunner().invoke(app, ["search", "grpo"], catch_exceptions=False)
    with pytest.raises(ValueError, match="a file of prompts is JSON lines"):
        CliRunner().invoke(app, ["search", "sir", "--prompts", "x.csv"], catch_exceptions=False)


def test_a_search_answers_every_prompt_of_a_file(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"1 {i} 3={i}:", "numbers": [1, i, 3], "target": i} for i in range(2, 8)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["search", "best_of_k", "--prompts", str(prompts), "operator.proposal.size=4"]
    words += [f"output={tmp_path / 'run'}", "-o", str(tmp_path / "a.jsonl"), "--rule", "vote"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "The vote of 4" in done.stdout
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in answers] == [row["prompt"] for row in rows]
    assert {row["rule"] for row in answers} == {"majority_vote"}
    assert len((tmp_path / "run" / "answers.jsonl").read_text().splitlines()) == 6
