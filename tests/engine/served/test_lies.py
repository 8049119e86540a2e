"""Ten lies of servers, each refused or named for what it is."""

import copy
from typing import Any

import numpy as np
import pytest
from lying_server import Book, nothing, serving
from planted_weights import PROMPTS, VERSIONS, drawn

from tod.base import ModelError
from tod.engine.models import load_model
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.alternatives import Earlier, old_head
from tod.engine.served.check import compared
from tod.engine.served.sampler import ServedSampler
from tod.serving.spec import ServedPolicy

HERE = {"patience": 10.0, "timeout": 20.0, "in_flight": 2}


def look(
    book: Book, trainer: Any, known: list[Earlier], dtype: str = "float32", temperature: float = 1.0
) -> Any:
    """What `tod check-sync` says of a server."""
    with serving(book) as url:
        served = ServedSampler(ServedPolicy(server=url, model="tiny", **HERE), 21)
        params = SamplingParams(max_new_tokens=16, temperature=temperature)
        try:
            batch = served.sample(PROMPTS, 6, params=params, eos_ids=(1,), seed=0, step=0)
            scores = served.scores(batch)
        finally:
            served.close()
    return compared(trainer, batch, scores, known, served.greetings[0], dtype, temperature)


@pytest.fixture(scope="module")
def known(history: list[Any]) -> list[Earlier]:
    return [
        Earlier("of the start", "initial", history[0].state_dict()),
        Earlier(f"{VERSIONS - 2} old", "stale", history[2].state_dict()),
    ]


def drop(*names: str) -> Any:
    """Answers whose choices lack some fields."""

    def told(answer: dict[str, Any]) -> dict[str, Any]:
        kept = [{k: v for k, v in c.items() if k not in names} for c in answer["choices"]]
        return {"choices": kept}

    return told


def without_end(answer: dict[str, Any]) -> dict[str, Any]:
    """The end-of-sequence token is left out, as chat front ends do."""
    for choice in answer["choices"]:
        if choice["finish_reason"] == "stop":
            choice["token_ids"] = choice["token_ids"][:-1] or [5]
            choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][:-1] or [-1]
    return answer


def other_words(answer: dict[str, Any]) -> dict[str, Any]:
    """Ids of another vocabulary."""
    for choice in answer["choices"]:
        choice["prompt_token_ids"] = [t + 1 for t in choice["prompt_token_ids"]]
    return answer


REFUSED = {
    "no log-probs": (nothing, drop("logprobs"), r"logprobs: missing.*cannot be used"),
    "n ignored": (lambda b: b | {"n": 1}, nothing, r"choices: 1 of them where n = 4"),
    "n and log-probs dropped": (lambda b: b | {"n": 1}, drop("logprobs"), "transformers serve"),
    "no ids": (nothing, drop("token_ids"), r"token_ids: None.*return_token_ids"),
    "no scores": (nothing, drop("prompt_logprobs"), r"prompt_logprobs: missing"),
    "eos not counted": (nothing, without_end, r"finish_reason is stop.*choice is a draw too"),
    "other tokenizer": (nothing, other_words, r"another prompt than was sent, from token 0"),
    "nucleus": (lambda b: b | {"top_p": 0.8}, nothing, "it cuts off unlikely tokens"),
    "temperature": (lambda b: b | {"temperature": 0.5}, nothing, "at another temperature than 1"),
}


@pytest.mark.parametrize("lie", REFUSED)
def test_what_a_handshake_sees_is_refused_with_the_way_out(history, lie):
    asked, told, said = REFUSED[lie]
    with pytest.raises(ModelError, match=said):
        look(Book({"tiny": history[-1]}, asked=asked, told=told), history[-1], [])


def test_log_probs_of_temperature_1_for_other_draws_are_refused(history):
    """vLLM's default, `raw_logprobs`."""

    def raw(answer: dict[str, Any]) -> dict[str, Any]:
        for choice in answer["choices"]:
            if "logprobs" in choice:
                ids = np.array(choice["token_ids"])
                prompt = np.array(choice["prompt_token_ids"])
                from lying_server import _scored

                rows = _scored(history[-1], np.concatenate([prompt, ids]))["prompt_logprobs"]
                values = [next(iter(row.values()))["logprob"] for row in rows[len(prompt) :]]
                choice["logprobs"]["token_logprobs"] = values
        return answer

    with pytest.raises(ModelError, match="--logprobs-mode processed_logprobs"):
        look(Book({"tiny": history[-1]}, told=raw), history[-1], [], temperature=0.7)


def test_a_model_that_is_not_served(history):
    with pytest.raises(ModelError, match="has no model 'tiny'; it serves big"):
        look(Book({"big": history[-1]}), history[-1], [])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_an_honest_server_is_in_sync(history, known, temperature):
    said = look(Book({"tiny": history[-1]}), history[-1], known, temperature=temperature)
    assert said.good
    assert said.weights.kind == said.sampling.kind == "noise"


@pytest.mark.parametrize(
    ("held", "kind", "name"), [(0, "initial", "of the start"), (2, "stale", "3 old")]
)
def test_old_weights_are_named(history, known, held, kind, name):
    said = look(Book({"tiny": history[held]}), history[-1], known)
    assert (said.weights.kind, said.weights.name, said.good) == (kind, name, False)


def test_an_old_head_under_a_new_body_is_named(history, known):
    model = copy.deepcopy(history[-1])
    with old_head(model, history[0].state_dict()):
        said = look(Book({"tiny": model}), history[-1], known)
    assert (said.weights.kind, said.weights.name) == ("partly_old", "the head of the start")


def test_weights_that_nobody_knows_are_others(history, known):
    """Such as an adapter of somebody else's run."""
    other, _ = load_model("tod://tiny-teacher")
    said = look(Book({"tiny": other}), history[-1], known)
    assert (said.weights.kind, said.weights.name) == ("weights", "")
    assert len(drawn(other, 1).ids)


def test_names_of_a_server_stay_on_one_line(history):
    with pytest.raises(ModelError, match=r"it serves 'a.*in sync'") as refused:
        look(Book({"a\n\x1b[31mfake: in sync": history[-1]}), history[-1], [])
    assert str(refused.value).isprintable()
