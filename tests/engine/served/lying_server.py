"""A small completions server over a model of ours, that can lie as real ones do."""

import copy
import json
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tod.base import Groups
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample


def nothing(body: dict[str, Any]) -> dict[str, Any]:
    return body


def with_adapter(base: Any, directory: str) -> Any:
    """The base model with an adapter of a directory."""
    from peft import PeftModel

    return PeftModel.from_pretrained(copy.deepcopy(base), directory).eval().requires_grad_(False)


@dataclass
class Book:
    """What a server serves, how it lies, and what it saw.

    Attributes:
        models: By name: the model that answers.
        asked: Changes a request before it is carried out.
        told: Changes an answer before it is sent.
        failing: Answers of the next requests in the place of real ones, as (status, seconds, text).
        most: Requests at one time, the most that were seen.
        read: The adapter of a directory as the server reads it, onto a model of its own.
        base: Name of the model that adapters belong to.
        loads: Names of the adapters that were loaded, in order.
    """

    models: dict[str, Any]
    eos: tuple[int, ...] = (1,)
    asked: Callable[[dict[str, Any]], dict[str, Any]] = nothing
    told: Callable[[dict[str, Any]], Any] = nothing
    failing: list[tuple[int, str]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    most: int = 0
    under_way: int = 0
    lock: Any = field(default_factory=threading.Lock)
    model_lock: Any = field(default_factory=threading.Lock)
    pause: float = 0.0
    read: Callable[[Any, str], Any] = with_adapter
    base: str = "tiny"
    loads: list[str] = field(default_factory=list)

    def load(self, body: dict[str, Any]) -> tuple[int, str]:
        """Read an adapter, as vLLM does."""
        name = body["lora_name"]
        if name in self.models:
            return 400, f"The lora adapter '{name}' has already been loaded."
        self.models[name] = self.read(self.models[self.base], body["lora_path"])
        self.loads.append(name)
        return 200, "Success"

    def unload(self, body: dict[str, Any]) -> tuple[int, str]:
        """Forget an adapter, as vLLM does."""
        if self.models.pop(body["lora_name"], None) is None:
            return 404, "cannot be found"
        return 200, "Success"

    def forget(self) -> None:
        """What a server that was killed and started anew holds."""
        self.models = {self.base: self.models[self.base]}

    def answer(self, body: dict[str, Any]) -> Any:
        """The answer to a request of completions."""
        body = self.asked(dict(body))
        name, prompt = body["model"], np.array(body["prompt"])
        with self.model_lock:
            choices = _remembered(self.models[name], prompt, body, self.eos)
            return self.told({"choices": choices, "model": name})


_KNOWN: dict[str, Any] = {}
"""Answers of models whose weights stay: one request has one answer, as its seed says."""


def _remembered(model: Any, prompt: Any, body: dict[str, Any], eos: Any) -> list[dict[str, Any]]:
    """The choices of a request, computed once; of each a copy, which lies may change."""
    rest = {key: value for key, value in body.items() if key != "model"}
    key = json.dumps([id(model), rest, eos], sort_keys=True)
    if key not in _KNOWN:
        scoring = body.get("prompt_logprobs") is not None
        made = [_scored(model, prompt)] if scoring else _drawn(model, prompt, body, eos)
        _KNOWN[key] = (model, json.dumps(made))  # the model too: its number stays its own
    choices: list[dict[str, Any]] = json.loads(_KNOWN[key][1])
    return choices


def _drawn(model: Any, prompt: Any, body: dict[str, Any], eos: Any) -> list[dict[str, Any]]:
    params = SamplingParams(
        max_new_tokens=body["max_tokens"],
        temperature=body["temperature"],
        top_p=body["top_p"] if body["top_p"] < 1 else None,
    )
    drawn = sample(
        model, [prompt], body["n"], params=params, pad_id=0, eos_ids=eos, seed=body["seed"], step=0
    )
    assert drawn.log_mu is not None
    rows = zip(
        drawn.sequences.split(drawn.ids),
        drawn.sequences.split(drawn.log_mu),
        drawn.truncated,
        strict=True,
    )
    return [
        {
            "index": i,
            "finish_reason": "length" if cut else "stop",
            "token_ids": [int(t) for t in ids],
            "prompt_token_ids": prompt.tolist(),
            "logprobs": {"token_logprobs": [float(v) for v in log_mu]},
        }
        for i, (ids, log_mu, cut) in enumerate(rows)
    ]


def _scored(model: Any, ids: Any) -> dict[str, Any]:
    whole = Rollouts(
        (ids[:1],),
        Groups.equal(1, 1),
        Groups(np.array([len(ids) - 1])),
        ids[1:],
        None,
        np.array([True]),
    )
    values, _ = scored_log_probs(model, whole)
    told = [{str(int(t)): {"logprob": float(v)}} for t, v in zip(ids[1:], values, strict=True)]
    return {
        "index": 0,
        "finish_reason": "length",
        "token_ids": [0],
        "prompt_token_ids": ids.tolist(),
        "prompt_logprobs": [None, *told],
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    book: Book

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        listed = [{"id": name, "max_model_len": 64} for name in self.book.models]
        self._send(200, json.dumps({"data": listed}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        book = self.book
        with book.lock:
            book.requests.append(body)
            book.under_way += 1
            book.most = max(book.most, book.under_way)
            planned = book.failing.pop(0) if book.failing else None
        try:
            if book.pause:
                threading.Event().wait(book.pause)
            if planned is not None:
                self._send(*planned)
                return
            if self.path.endswith("_lora_adapter"):
                change = book.unload if "unload" in self.path else book.load
                self._send(*change(body))
                return
            if body["model"] not in book.models:
                self._send(404, f"The model `{body['model']}` does not exist.")
                return
            try:
                told = book.answer(body)
            except ConnectionAbortedError:  # killed while it worked
                self.close_connection = True
                return
            except Exception as error:  # a fault of the test, to be seen there
                self._send(400, repr(error))
                raise
            self._send(200, told if isinstance(told, str) else json.dumps(told))
        finally:
            with book.lock:
                book.under_way -= 1

    def _send(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)


class _Quiet(ThreadingHTTPServer):
    """Its connections end with it, as those of a process do."""

    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets = [*getattr(self, "sockets", []), request]
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for one in getattr(self, "sockets", []):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """Clients that leave early are no fault."""


@contextmanager
def serving(book: Book, port: int = 0) -> Any:
    """The server in a thread of this process; its address."""
    handler = type("Handler", (_Handler,), {"book": book})
    server = _Quiet(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
