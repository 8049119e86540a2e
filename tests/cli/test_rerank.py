"""`tod rerank` and `tod search` on the command line: screens, files, refusals."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from tod.base import DataError, SpecError
from tod.cli.main import app
from tod.reranking.rerank import rerank
from tod.show.page.rerank_page import rerank_page
from tod.show.schemas import schema
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
    assert [rule["name"] for rule in told_["rules"]][:2] == ["best_of_k", "vote"]
    assert [rule["rule"]["kind"] for rule in told_["rules"]][1:3] == ["majority_vote", "resample"]
    assert complaints(told_, schema("tod.rerank/1")) == []
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")


def complaints(document: object, described: dict) -> list[str]:
    found = Draft202012Validator(described).iter_errors(document)
    return [f"{list(error.path)}: {error.message[:200]}" for error in found]


def file_of(path: Path, rewards: list, prompts: int = 4) -> str:
    """Prompts whose candidates have these rewards each."""
    lines_ = [
        json.dumps({"prompt": f"q{p}", "response": f"{i}", "reward": reward})
        for p in range(prompts)
        for i, reward in enumerate(rewards)
    ]
    path.write_text("\n".join(lines_) + "\n")
    return str(path)


def test_what_cannot_be_chosen_by_is_said_first(tmp_path: Path) -> None:
    same = lines(rerank(file_of(tmp_path / "same.jsonl", [0.5, 0.5, 0.5])))
    assert same[0].startswith("Nothing to select by: all candidates of a prompt have the same")
    voted = lines(rerank(file_of(tmp_path / "same.jsonl", [0.5, 0.5, 0.5]), "vote"))
    assert voted[0].startswith("The vote of 3"), "a vote does not read rewards"
    one = lines(rerank(file_of(tmp_path / "one.jsonl", [0.0, 1.0], prompts=1)))
    assert "note: one prompt: no interval, and nothing that holds for others" in one
    assert complaints(
        rerank(str(tmp_path / "one.jsonl")).to_dict() | {"verdict": {}}, schema("tod.rerank/1")
    ), "the schema refuses a verdict without its keys"


@pytest.mark.parametrize(
    ("rewards", "options", "says"),
    [
        ([0.0, 1.0], {"k": 3}, "no prompt has more than 2 candidates. Give at most 2"),
        ([0.0, None], {}, "null where a number is wanted"),
        ([0.0, "good"], {}, "text where a number is wanted"),
        ([[0.0, 1.0], [1.0, 0.0]], {}, "reward holds lists, and one number a candidate is wanted"),
        ([0.0, 1e200], {}, "Divide the rewards by a constant"),
        ([0.0, 1.0], {"answer": "("}, "no regular expression"),
        ([0.0, 1.0], {"answer": "x+", "rules": "vote"}, "no response has a match of --answer"),
        ([0.0, 1.0], {"rules": "w" * 10**6}, "no such rule"),
        ([0.0, 1.0], {"gold": "g" * 10**6}, "no such score"),
    ],
)
def test_refusals_say_what_to_do_in_few_words(
    rewards: list, options: dict, says: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "x.jsonl", rewards)
    with pytest.raises((DataError, SpecError), match=re.escape(says)) as refused:
        rerank(path, **options)
    assert len(str(refused.value)) < 1000


def test_rows_without_a_reward_may_be_left_out(tmp_path: Path) -> None:
    path = file_of(tmp_path / "x.jsonl", [0.0, None, 1.0])
    shown = " ".join(lines(rerank(path, max_rejected=0.4)))
    assert "note: 4 rows left out" in shown
    assert "4 prompts, K = 2, 8 candidates" in shown


def test_lists_of_candidates_are_told_how_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{"prompt": f"q{p}", "response": ["a", "b"], "reward": [0.0, 1.0]} for p in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=re.escape("completion=response[]")) as refused:
        rerank(str(path))
    words = re.search(r"'(reward=.*?)'", str(refused.value))[1]  # type: ignore[index]
    mapping = dict(word.split("=") for word in f"{words},prompt=prompt".split(","))
    assert rerank(str(path), mapping=mapping).scored.contexts.total == 8


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
    assert {row["rule"] for row in answers} == {"vote"}
    assert len((tmp_path / "run" / "answers.jsonl").read_text().splitlines()) == 6
