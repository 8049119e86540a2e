"""Utilities that a model on a server gives: by options, by a number, and when nothing comes."""

import math
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lying_server import Book, serving

from tod.base import DataError, ModelError, SpecError, UtilityError
from tod.engine.collect import collect
from tod.engine.data.prompts import prompt_text
from tod.engine.distributed import World
from tod.engine.forward.index import Index
from tod.engine.models import load_model
from tod.engine.proposals.propose import propose
from tod.engine.record import unjudged
from tod.engine.search.job import search
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.engine.utilities.judge import Judges, of_options, on_scale
from tod.engine.utilities.utility_specs import JudgeUtility
from tod.runs import RunDirectory
from tolerance import double, of_weights


class Talking(Book):
    """A server that answers texts: it says what it is told to, and scores with its model."""

    says: str = "7"
    first: str = ""
    """How the first question began."""

    def refuses(self, _: str) -> bool:
        """Whether it will not judge a question."""
        return False

    def answer(self, body: dict[str, Any]) -> Any:
        text = body["prompt"]
        self.first = self.first or text[:8]
        if self.refuses(text):
            raise ValueError("it will not judge this")
        if body.get("prompt_logprobs") is None:
            return {"choices": [{"index": 0, "text": self.says}]}
        ids = self.tokenizer(text)["input_ids"]
        return super().answer(body | {"prompt": ids})


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_model("tod://tiny")


@pytest.fixture
def book(tiny: Any) -> Talking:
    found = Talking({"judge": tiny[0]})
    found.tokenizer = tiny[1]
    return found


def spec(url: str, **how: Any) -> JudgeUtility:
    """A judge of two options, where nothing else is said."""
    how = {} if "scale" in how else {"options": {"1": 1.0, "2+2": -0.5}} | how
    return judge(url, **how)


def judge(url: str, **how: Any) -> JudgeUtility:
    told = {"name": "good", "server": url, "model": "judge", "question": "{prompt}{completion}="}
    return JudgeUtility.parse(told | {"patience": 0.5, "timeout": 10.0} | how)


ROWS = [{"prompt": "1 2 3", "completion": f"{n}+1"} for n in (3, 4, 3)]


def test_options_are_weighed_by_their_probabilities_under_the_judge(book, tiny):
    """By plain forwards of question and option, token by token."""
    import torch

    model, tokenizer = tiny
    with serving(book) as url:
        judges = Judges([spec(url)])
        found = judges.score(judges.specs[0], ROWS)
        judges.close()
    for row, value in zip(ROWS, found, strict=True):
        text, shares = f"{row['prompt']}{row['completion']}=", []
        for option in ("1", "2+2"):
            ids = tokenizer(text + option)["input_ids"]
            start = len(tokenizer(text)["input_ids"])
            with torch.no_grad():
                z = model(torch.tensor(ids)[None]).logits[0].double().log_softmax(-1)
            shares.append(math.exp(sum(float(z[t - 1, ids[t]]) for t in range(start, len(ids)))))
        wanted = (shares[0] - 0.5 * shares[1]) / sum(shares)
        # the server's forward is float32: as for other log-softmaxes of this model
        assert value == pytest.approx(wanted, abs=2 * of_weights("float32", 96, 16))
    assert found[0] == found[2]


def test_what_was_asked_is_not_asked_again(book):
    with serving(book) as url:
        judges = Judges([judge(url, scale=[0, 10])])
        first = judges.score(judges.specs[0], ROWS)
        asked = len(book.requests)
        assert judges.score(judges.specs[0], ROWS).tolist() == first.tolist()
        judges.close()
    assert asked == len(book.requests) == 2  # two of the three texts are one


def test_options_that_are_one_text_to_the_judge_leave_all_unknown(book):
    with serving(book) as url:
        judges = Judges([judge(url, options={"1": 1.0, "1+1": 0.0})])
        assert np.isnan(judges.score(judges.specs[0], ROWS)).all()
        judges.close()
    assert "begin of another" in judges.why["good"]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("7", 0.7),
        ("I would say 2, no: 9.5.", 0.95),
        ("0/10: 0", 0.0),
        ("7 out of 10", 0.7),
        ("It is a 4 / 10.", 0.4),
        ("3 of 10", 0.3),
        ("10/10", 1.0),
    ],
)
def test_the_last_number_is_read_on_its_scale(said, value):
    assert on_scale(said, (0.0, 10.0)) == pytest.approx(value, rel=double(1))
    assert on_scale(said, (10.0, 0.0)) == pytest.approx(1 - value, rel=double(2))


@pytest.mark.parametrize("said", ["4/5", "between 3 out of 4 and 2 out of 3", "8/10, 90% sure", ""])
def test_a_share_of_another_number_is_not_of_the_scale(said):
    with pytest.raises(ModelError, match="no number from 0 to 10"):
        on_scale(said, (0.0, 10.0))


def test_what_was_said_before_counts_where_the_memory_is_full(book, monkeypatch):
    monkeypatch.setattr("tod.engine.utilities.judge.REMEMBERED", 2)
    with serving(book) as url:
        judges = Judges([judge(url, scale=[0, 10])])
        judges.score(judges.specs[0], ROWS)
        new = {"prompt": "1 2 3", "completion": "5+1"}
        assert judges.score(judges.specs[0], [*ROWS, new]).tolist() == [0.7] * 4
        judges.close()


def test_options_in_numbers():
    told = [([1, 2, 3], [-9.0, math.log(0.2)]), ([1, 2, 4], [-9.0, math.log(0.6)])]
    assert of_options(told, [1.0, 0.0]) == pytest.approx(0.25, rel=double(4))


def test_what_no_server_judges_is_unknown_and_never_0(book):
    book.refuses = lambda text: "4+1=" in text
    with serving(book) as url:
        judges = Judges([spec(url)])
        found = judges.score(judges.specs[0], ROWS)
        judges.close()
    assert np.isnan(found).tolist() == [False, True, False]
    assert "will not judge" in judges.why["good"]


def test_no_number_on_the_scale_is_unknown_and_a_server_that_is_away_says_so(book):
    book.says = "eleven, or 11"
    with serving(book) as url:
        judges = Judges([judge(url, scale=[0, 10])])
        assert np.isnan(judges.score(judges.specs[0], ROWS)).all()
        judges.close()
    assert "no number from 0 to 10" in judges.why["good"]
    judges = Judges([judge("http://127.0.0.1:9", scale=[0, 10], patience=0.1)])
    assert np.isnan(judges.score(judges.specs[0], ROWS)).all()
    judges.close()
    assert "does not answer" in judges.why["good"]


def recipe(
    output: Path, url: str, question: str = "{prompt}{completion}=", **changes: Any
) -> RunSettings:
    told = judge(url, scale=[0, 10], question=question)
    data = {
        "name": "judged",
        "utilities": [
            {"name": "correct", "kind": "countdown"},
            told.model_dump(mode="json"),
        ],
        "target": {"kind": "verifier", "eta": 2.0, "utility": "good"},
        "operator": {
            "proposal": {"prompts": 3, "size": 4, "max_new_tokens": 12},
            "action": {"kind": "policy_gradient"},
        },
        "train": {"steps": 1, "learning_rate": 1e-3},
        "evaluate": None,
        "output": str(output),
    }
    return RunSettings.parse(data | changes)


def test_training_leaves_out_what_was_not_judged_and_counts_it(book, tmp_path):
    book.refuses = lambda text: sum(map(ord, text)) % 2 == 0
    with serving(book) as url:
        path = train(recipe(tmp_path / "run", url, "{completion}="))
    run = RunDirectory.open(path)
    table, (record,) = run.rollouts.scan().collect(), list(run.steps.read())
    share = record["optimiser"]["unjudged"]
    assert 0 < share < 1
    assert len(table) == round(12 * (1 - share))
    assert set(table["utility.good"]) == {0.7}
    with serving(Talking(book.models)) as url:
        whole = train(recipe(tmp_path / "whole", url, "{completion}="))
    (all_judged,) = RunDirectory.open(whole).steps.read()
    tokens = [r["ledger"]["sample_tokens"] for r in (record, all_judged)]
    assert tokens[0] == tokens[1]  # what was drawn and left out was drawn


@contextmanager
def opened(settings: RunSettings) -> Any:
    session = open_session(settings)
    try:
        yield session
    finally:
        session.close()


def test_a_round_without_a_judgement_is_counted_and_ends_nothing(book, tmp_path):
    """Every group has one utility throughout, so that a second round is drawn; its all fail."""
    proposal = {"prompts": 3, "size": 4, "max_new_tokens": 12, "dynamic": {"max_rounds": 2}}
    operator = {"proposal": proposal, "action": {"kind": "policy_gradient"}}
    with serving(book) as url:
        settings = recipe(tmp_path / "run", url, "{prompt}|{completion}=", operator=operator)
        with opened(settings) as session:
            every = propose(session, 1)
            late = [prompt_text(e.prompt, session.tokenizer) for e in session.task.batch(1, 3)]
            book.refuses = lambda text: text.partition("|")[0] in late
            session.judges._said.clear()
            found = propose(session, 1)
    assert (found.unjudged, found.judged) == (12, 12)
    assert unjudged(found) == {"unjudged": 0.5}
    assert (found.drawn, every.drawn, len(found.examples)) == (6, 6, 3)
    drawn = [Index(e.rollouts).useful + e.dropped for e in (found, every)]
    assert drawn[0] == drawn[1]


class Early(Exception):
    """Another process has not come this far."""


@dataclass(frozen=True)
class Peer(World):
    """A process whose peers were asked before it, or are asked after it."""

    shared: list[Any] = field(default_factory=list)

    def gather(self, item: Any) -> list[Any]:
        self.shared[self.rank] = item
        if None in self.shared:
            raise Early
        return list(self.shared)


def test_a_share_without_a_judgement_ends_no_process(book, tmp_path):
    """Two processes of one prompt each; of the first one's nothing is judged."""
    proposal = {"prompts": 2, "size": 4, "max_new_tokens": 12}
    operator = {"proposal": proposal, "action": {"kind": "policy_gradient"}}
    with serving(book) as url:
        settings = recipe(tmp_path / "run", url, "{prompt}|{completion}=", operator=operator)
        with opened(settings) as session:
            first = session.task.batch(0, 2)[0]
            text = prompt_text(first.prompt, session.tokenizer)
            book.refuses = lambda asked: asked.partition("|")[0] == text

            shared: list[Any] = [None, None]
            worlds = [Peer(rank, 2, session.world.device, shared=shared) for rank in range(2)]
            with pytest.raises(Early):
                collect(replace(session, world=worlds[0]), 1)
            found = [collect(replace(session, world=world), 1) for world in worlds[::-1]]
    for one in found:
        assert [example.id for example in one.examples] != [first.id]
        assert (len(one.examples), one.judged, one.unjudged) == (1, 4, 4)


def test_candidates_that_one_of_two_judges_each_leaves_out_stop_the_run(book, tmp_path):
    book.refuses = lambda text: sum(map(ord, text)) % 2 == 0
    with serving(book) as url:
        other = judge(url, name="other", scale=[0, 10], question="b{completion}=")
        settings = recipe(tmp_path / "run", url, "a{completion}=")
        utilities = [*settings.utilities, other]
        settings = settings.model_copy(update={"utilities": tuple(utilities)})
        with opened(settings) as session, pytest.raises(UtilityError, match=r"none of 12 .*other"):
            collect(session, 1)


def test_a_utility_that_is_no_number_and_no_judge_s_is_not_left_out(book, tmp_path, monkeypatch):
    with serving(book) as url, opened(recipe(tmp_path / "run", url)) as session:
        plain = session.scorer.score

        def broken(*how: Any) -> Any:
            told = plain(*how)
            told["correct"][0] = math.nan
            return told

        monkeypatch.setattr(session.scorer, "score", broken)
        found = collect(session, 1)
        assert (len(found.completions), found.unjudged) == (12, 0)
        with pytest.raises(DataError):
            found.candidates()


def test_a_search_stops_where_a_prompt_has_nothing_to_select_from(book, tmp_path):
    book.refuses = lambda text: text[:8] == book.first
    proposal = {"prompts": 3, "size": 4, "max_new_tokens": 12}
    action = {"proposal": proposal, "action": {"kind": "best_of_k"}}
    settings = {"operator": action, "train": {}, "search": {"contexts": 3, "split": "all"}}
    with serving(book) as url, pytest.raises(UtilityError, match=r"of prompt .* could be judged"):
        search(recipe(tmp_path / "run", url, **settings))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "one of them"),
        ({"options": {"a": 1.0}}, "two at least"),
        ({"scale": [1, 1]}, "ends of `scale`"),
        ({"scale": [0, 1], "question": "?"}, r"lacks \{completion\}"),
        ({"scale": [0, 1], "server": "a"}, "no address"),
    ],
)
def test_a_judge_that_says_nothing_is_refused(how, said):
    with pytest.raises(SpecError, match=said):
        judge("http://a", **how)


def test_where_a_judge_cannot_stay_unknown_it_is_refused(tmp_path):
    with pytest.raises(SpecError, match="remove `probe`"):
        recipe(tmp_path, "http://a", probe={})
    replay = {"proposal": {"source": "replay"}, "action": {"kind": "policy_gradient"}}
    with pytest.raises(SpecError, match="cannot leave rollouts out"):
        recipe(tmp_path, "http://a", operator=replay)
    with pytest.raises(SpecError, match="read off the text"):
        recipe(
            tmp_path,
            "http://a",
            utilities=[judge("http://a", scale=[0, 1]).model_dump(mode="json")],
        )
