"""Candidates over HTTP: what is asked, what is believed, and what happens when servers fail."""

import json
import re
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from lying_server import Book, serving
from planted_weights import PROMPTS

from tod.base import ModelError, SpecError
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.sampler import ServedSampler
from tod.serving.client import Client, Unavailable
from tod.serving.spec import ServedPolicy
from tolerance import of_weights

PARAMS = SamplingParams(max_new_tokens=16)


OPEN: list[ServedSampler] = []


@pytest.fixture(autouse=True)
def _all_closed() -> Any:
    yield
    while OPEN:
        OPEN.pop().close()


def sampler(*urls: str, **how: Any) -> ServedSampler:
    how = {"patience": 10.0, "timeout": 20.0, **how}
    OPEN.append(ServedSampler(ServedPolicy(server=urls, model="tiny", **how), 21))
    return OPEN[-1]


def sample(served: ServedSampler, size: int = 4, params: Any = PARAMS) -> Any:
    return served.sample(PROMPTS, size, params=params, eos_ids=(1,), seed=3, step=1)


@pytest.fixture
def book(history: list[Any]) -> Book:
    return Book({"tiny": history[-1]})


def test_candidates_come_with_the_log_mu_that_the_model_gives_them(book, history):
    with serving(book) as url:
        drawn = sample(sampler(url))
    assert drawn.contexts.sizes.tolist() == [4, 4, 4]
    exact, _ = scored_log_probs(history[-1], drawn)
    # both are float32: the bound of a log-softmax over 21 tokens of logits up to 16
    assert np.abs(drawn.log_mu - exact).max() < of_weights("float32", 96, 16)
    ended = [ids[-1] == 1 for ids in drawn.sequences.split(drawn.ids)]
    assert (~drawn.truncated).tolist() == ended


def test_what_is_drawn_depends_on_a_prompt_s_number_alone(book):
    with serving(book) as url:
        whole = sample(sampler(url))
        served = sampler(url)
        part = served.sample(
            PROMPTS[2:], 4, params=PARAMS, eos_ids=(1,), seed=3, step=1, context_ids=np.array([2])
        )
    assert part.ids.tolist() == whole.take(np.array([2])).ids.tolist()


def test_no_more_requests_at_a_time_than_declared(book):
    book.pause = 0.02
    with serving(book) as url:
        served = sampler(url, in_flight=2)
        served.sample(PROMPTS * 4, 1, params=PARAMS, eos_ids=(1,), seed=0, step=0)
    assert book.most == 2


def test_failures_that_pass_are_asked_again_and_counted_once(book):
    book.failing = [(503, "starting"), (429, "busy"), (500, "oops")]
    with serving(book) as url:
        drawn = sample(sampler(url, patience=20))
    with serving(Book(book.models)) as url:
        assert drawn.ids.tolist() == sample(sampler(url)).ids.tolist()


def test_a_refused_request_is_told_at_once(book):
    book.failing = [(400, '{"message": "n is too large"}')]
    with serving(book) as url, pytest.raises(ModelError, match=r"400.*n is too large"):
        sample(sampler(url))


def test_what_a_server_says_steers_no_terminal(book):
    book.failing = [(400, "\x1b[2Jno\u202e"), (503, "\x1b[31m")]
    with serving(book) as url:
        client = Client(url)
        for said in ("␛[2Jno�", "␛[31m"):
            with pytest.raises(ModelError, match=re.escape(said)):
                client.post("/v1/completions", {"model": "tiny"})
        client.close()


def test_an_address_with_a_password_is_not_repeated():
    with pytest.raises(SpecError) as told:
        ServedPolicy(server="http://me:secret@a", model="tiny")
    assert "secret" not in str(told.value)


def test_a_server_that_answers_drop_by_drop_is_given_up_in_time():
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        asked, _ = listening.accept()
        with asked, suppress(OSError):
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
            for _ in range(400):
                asked.sendall(b" ")
                time.sleep(0.01)

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.2)
    with pytest.raises(Unavailable, match=r"still answers /v1/models after 0\.2 s"):
        client.get("/v1/models")
    client.close()
    listening.close()
    dripping.join(10)


def test_a_server_that_comes_back_loses_nothing(book):
    """It is away in the middle of a batch: what was answered stays, the rest is asked again."""
    many, fifth = PROMPTS * 3, threading.Event()
    with serving(book) as url:
        served = sampler(url, in_flight=1, patience=30)
        served.sample(PROMPTS[:1], 1, params=PARAMS, eos_ids=(1,), seed=0, step=0)
    port = int(url.rpartition(":")[2])
    before = len(book.requests)

    def away_after_four(body: dict[str, Any]) -> dict[str, Any]:
        if len(book.requests) > before + 4:
            fifth.set()
            time.sleep(0.5)  # killed while it works on the fifth
        return body

    book.asked = away_after_four
    found: list[Any] = []
    again = Book(book.models)
    asking = threading.Thread(
        target=lambda: found.append(
            served.sample(many, 2, params=PARAMS, eos_ids=(1,), seed=5, step=2)
        )
    )
    with serving(book, port):
        asking.start()
        fifth.wait(10)
    with serving(again, port):
        asking.join(30)
    with serving(Book(book.models)) as url:
        plain = sampler(url).sample(many, 2, params=PARAMS, eos_ids=(1,), seed=5, step=2)
    assert len(found[0].sequences) == len(many) * 2
    assert found[0].ids.tolist() == plain.ids.tolist()
    assert len(again.requests) == len(many) - 4


def test_of_two_servers_one_is_lost(book):
    with serving(book) as url, serving(Book(book.models)) as other:
        served = sampler(other, url, patience=0.3, in_flight=1)
        served.sample(PROMPTS[:1], 1, params=PARAMS, eos_ids=(1,), seed=0, step=0)
        port = int(url.rpartition(":")[2])
    with serving(book, port):
        drawn = sample(served)
    assert len(drawn.sequences) == 12


def test_when_all_servers_are_lost_that_is_said():
    with pytest.raises(ModelError, match=r"0 of 1 requests.*127\.0\.0\.1:9.*policy\.patience"):
        sample(sampler("http://127.0.0.1:9", patience=0.2))


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("localhost:8000", "no address of a server"),
        ([], "give an address"),
        (["http://a", "http://a/v1/"], "twice"),
        ("http://a\x1b[31mb", "a character is not printable"),
        ("http://me:secret@a/", "holds a user or a password"),
    ],
)
def test_an_address_that_is_none(server, said):
    with pytest.raises(SpecError, match=said):
        ServedPolicy(server=server, model="tiny")


def broken(**changes: Any) -> Any:
    """An answer with some fields of its first choice changed."""

    def change(told: dict[str, Any]) -> dict[str, Any]:
        told["choices"][0] |= changes
        return told

    return change


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (lambda _: "<html>", r"the answer: '<html>'.*no JSON"),
        (lambda _: "[" * 100_000, r"the answer: .\[\[\["),
        (lambda _: "{}", r"missing required field `choices`"),
        (lambda _: '{"choices": {"0": 1}}', r"choices: \{'0': 1\}.*Expected `array`"),
        (broken(index=-1), r"choices\[0\]\.index: -1"),
        (broken(index=2**70), r"choices\[0\]\.index"),
        (broken(index=1), r"choices\[\]\.index: \[1, 1, 2, 3\]"),
        (broken(token_ids=None), r"token_ids: None"),
        (broken(token_ids=["5"]), r"choices\[0\]\.token_ids\[0\]: '5'.*Expected `int`"),
        (broken(token_ids=[-4]), r"choices\[0\]\.token_ids\[0\]: -4"),
        (broken(token_ids=[3] * 99), r"token_logprobs: \d+ for 99"),
        (
            broken(token_ids=[2], logprobs={"token_logprobs": [-1.0]}, finish_reason="length"),
            "1 tokens without end where max_tokens = 16",
        ),
        (broken(logprobs=None), r"choices\[0\]\.logprobs: missing.*transformers serve"),
        (broken(token_ids=[1], logprobs={"token_logprobs": [0.5]}), r"token_logprobs\[0\]: 0\.5"),
        (broken(token_ids=[1], logprobs={"token_logprobs": [None]}), r"token_logprobs\[0\]: None"),
        (
            broken(token_ids=[1], logprobs={"token_logprobs": [-9999.0]}),
            r"token_logprobs\[0\]: -9999\.0",
        ),
        (broken(finish_reason="abort"), "finish_reason: 'abort'"),
        (
            broken(token_ids=[1, 1], logprobs={"token_logprobs": [-1.0, -1.0]}),
            "token 1 at 0 of 2, which ends a completion",
        ),
        (broken(prompt_token_ids=PROMPTS[0].tolist()[:3]), "prompt than was sent, from token 3 on"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_by_field_and_value(book, told, said):
    book.told = told
    with serving(book) as url, pytest.raises(ModelError, match=said):
        sample(sampler(url))


def test_a_token_that_the_model_does_not_know(book):
    def strange(told: Any) -> Any:
        for choice in told["choices"]:
            choice["token_ids"] = [t if t == 1 else 40 for t in choice["token_ids"]]
        return told

    with serving(book) as url:
        served = sampler(url)
        served.sample(PROMPTS, 2, params=PARAMS, eos_ids=(1,), seed=0, step=0)
        book.told = strange
        with pytest.raises(ModelError, match=r"draws token 40 and the model here knows 0 … 20"):
            sample(served, size=16)


def test_an_answer_without_end_is_not_read(book, monkeypatch):
    monkeypatch.setattr("tod.serving.client.LARGEST", 100_000)
    book.told = lambda _: json.dumps({"choices": ["x" * 200_000]})
    with serving(book) as url, pytest.raises(ModelError, match="more than 0 MiB"):
        sample(sampler(url))
