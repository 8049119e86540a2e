"""Anybody's server against weights on disk: what it draws, what it scores, what it holds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from tod.base import DataError, ModelError
from tod.diagnostics import Sync, in_sync
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.models import context_length, eos_ids, load_model, text_config
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.alternatives import (
    Earlier,
    as_held,
    at_temperatures,
    expected_noise,
    in_parts,
    surprise,
    tempered,
    whole,
)
from tod.engine.served.sampler import ServedSampler
from tod.serving.handshake import Greeting
from tod.serving.pool import NoServer
from tod.serving.spec import ServedPolicy

SCHEMA = "tod.sync/1"
STRANGE = 5.0
"""Standard errors of `surprise` beyond which draws are not of the law that they are said to be."""
TEXTS = (
    "The",
    "1 + 2 =",
    "Question: which number is the largest, 3, 14 or 15?\nAnswer:",
    "def add(a, b):\n",
)
"""Prompts of the probe where none are given; what they say does not matter."""


@dataclass(frozen=True)
class Checked:
    """What a server showed against weights on disk.

    Attributes:
        greeting: Of the handshake.
        weights: The server's scores of the probe against the model's.
        sampling: The log μ of its draws against the model at the temperature that was asked.
        surprise: Standard errors by which the draws are likelier than draws of the model; None
            where the weights are others.
        dtype: Precision that the server was taken to compute in.
        sequences: Candidates of the probe.
    """

    greeting: Greeting
    weights: Sync
    sampling: Sync | None
    surprise: float | None
    dtype: str
    sequences: int

    @property
    def good(self) -> bool:
        """Whether it draws from these weights, as asked."""
        lawful = self.surprise is None or abs(self.surprise) <= STRANGE
        return self.weights.good and (self.sampling is None or self.sampling.good) and lawful

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": SCHEMA,
            "good": self.good,
            "server": self.greeting.url,
            "model": self.greeting.model,
            "context": self.greeting.longest,
            "dtype": self.dtype,
            "sequences": self.sequences,
            "ended": self.greeting.ended,
            "own_gap": self.greeting.rms,
            "weights": self.weights.to_dict(),
            "sampling": None if self.sampling is None else self.sampling.to_dict(),
            "surprise": self.surprise,
        }


def check_server(
    served: ServedPolicy,
    source: str,
    *,
    earlier: Sequence[str] = (),
    initial: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16",
    temperature: float = 1.0,
    prompts: Sequence[str] = TEXTS,
    size: int = 8,
    longest: int = 32,
    seed: int = 0,
    seconds: float | None = None,
) -> Checked:
    """Draw from a server and compare with a model here, and with what it may hold instead.

    Args:
        served: The server; of several the first.
        source: The weights that it should hold: as `load_model` names models.
        earlier: Older versions of them, the newest first.
        initial: The weights that training started from.
        dtype: Precision that the server computes in.
        temperature: Of the draws.
        prompts: Texts to continue.
        size: Candidates of each.
        longest: Tokens of a candidate at most.
        seed: Of the draws.
        seconds: Time that the server has for all of it; None: as long as it takes.

    Raises:
        ModelError: A model cannot be loaded, the handshake fails, or nothing answers in time.
        DataError: The model's context leaves no room.
    """
    model, tokenizer = load_model(source)
    room = (context_length(model) or 2**31) - 1  # a server draws one token more when it scores
    longest = min(longest, room - 1)
    ids = [_ids(tokenizer, text, room - longest) for text in prompts]
    sampler = ServedSampler(served, int(text_config(model).vocab_size))
    sampler.until = None if seconds is None else time.monotonic() + seconds
    try:
        params = SamplingParams(max_new_tokens=longest, temperature=temperature)
        ends = eos_ids(model, tokenizer)
        drawn = sampler.sample(ids, size, params=params, eos_ids=ends, seed=seed, step=0)
        scores = sampler.scores(drawn)
    except NoServer as error:
        raise ModelError(_unanswered(served, error, seconds)) from error
    finally:
        sampler.close()
    known = [_state(place, "initial", "those of the start") for place in (initial,) if place]
    known += [_state(s, "stale", _versions(i + 1)) for i, s in enumerate(earlier)]
    return compared(model, drawn, scores, known, sampler.greetings[0], dtype, temperature)


def compared(
    model: Any,
    drawn: Rollouts,
    scores: Any,
    known: Sequence[Earlier],
    greeting: Greeting,
    dtype: str,
    temperature: float,
    thorough: bool = True,
) -> Checked:
    """A server's draws and its scores of them, against a model and what may be held instead.

    Parts of earlier weights and other temperatures are looked at where a gap is beyond rounding and
    no earlier version explains it; ``thorough``: always, so that a part is seen whose gap is not.
    """
    model, known = as_held(model, dtype), [one.as_held(dtype) for one in known]
    noise = expected_noise(model, drawn, dtype)
    log_policy, _ = scored_log_probs(model, drawn)
    others = whole(model, drawn, known)

    def read() -> Sync:
        return in_sync(
            scores,
            log_policy,
            drawn.sequences,
            noise=noise,
            alternatives=others,
            experts=has_experts(model),
        )

    weights = None if thorough else read()
    if weights is None or weights.kind not in ("noise", "stale", "initial"):
        others += in_parts(model, drawn, known) + at_temperatures(model, drawn, scores)
        weights = read()
    sampling = lawful = None
    if weights.good and drawn.log_mu is not None:
        at = tempered(model, drawn, [temperature])[:, 0]
        log_mu = np.asarray(drawn.log_mu, np.float64)
        rounding = noise * max(1.0, 1 / temperature)
        sampling = in_sync(log_mu, at, drawn.sequences, noise=rounding)
        if thorough or not sampling.good:
            others = at_temperatures(model, drawn, log_mu)
            sampling = in_sync(log_mu, at, drawn.sequences, noise=rounding, alternatives=others)
        lawful = surprise(model, drawn, temperature)
    return Checked(greeting, weights, sampling, lawful, dtype, len(drawn.sequences))


def has_experts(model: Any) -> bool:
    """Whether a model routes between experts."""
    config = text_config(model)
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    return any(getattr(config, name, None) for name in names)


def _unanswered(served: ServedPolicy, error: NoServer, seconds: float | None) -> str:
    """That nothing was found out, and what to do about it."""
    if not error.lost:
        return (
            f"nothing can be said of {served.server[0]}: {error} It had {seconds:g} s "
            "(--deadline). Give it more, or ask for less (--size, --max-tokens)."
        )
    return (
        f"nothing can be said of {served.server[0]}: {' '.join(error.lost)} Look at the address "
        "(--server), whether the server is up and reached from here (curl ADDRESS/v1/models), or "
        "wait longer for one that is starting (--patience)."
    )


def _versions(count: int) -> str:
    return "1 version old" if count == 1 else f"{count} versions old"


def _state(source: str, kind: Literal["stale", "initial"], name: str) -> Earlier:
    """Weights of a model, or of one checkpoint of a run."""
    weights = Path(source) / "policy.safetensors"
    if weights.is_file():
        from safetensors.torch import load_file

        return Earlier(name, kind, load_file(weights))
    model, _ = load_model(source)
    return Earlier(name, kind, model.state_dict())


def _ids(tokenizer: Any, text: str, most: int) -> Int[np.ndarray, " P"]:
    """Token ids of a text, as many as fit; the first token of all where there are none."""
    found = np.asarray(tokenizer(text)["input_ids"][:most], np.int64)
    if most < 1:
        raise DataError(f"the model's context leaves no room for the prompt {text!r}.")
    return found if len(found) else np.zeros(1, np.int64)
