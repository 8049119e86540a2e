"""The completions protocol: what a request says, and what of an answer is believed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from jaxtyping import Float, Int

from tod.base import ModelError
from tod.serving.client import Client

PATH = "/v1/completions"
IMPOSSIBLE = -9999.0
"""What servers write for the log-prob −∞."""
ABOVE = 1e-3
"""By how much a log-prob of rounded arithmetic may exceed 0."""

Token = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _LogProb(msgspec.Struct):
    logprob: float


class _LogProbs(msgspec.Struct):
    token_logprobs: list[float | None]


class _Choice(msgspec.Struct):
    index: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    finish_reason: str | None = None
    logprobs: _LogProbs | None = None
    token_ids: list[Token] | None = None
    prompt_token_ids: list[Token] | None = None
    prompt_logprobs: list[dict[str, _LogProb] | None] | None = None
    text: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    parent: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True)
class CompletionRequest:
    """Completions of one prompt.

    Attributes:
        model: What the server calls the model.
        prompt: Token ids.
        size: K.
        max_new_tokens: Longest completion, the end-of-sequence token included.
        stop_ids: Tokens that end a completion.
        temperature: Divides the logits.
        top_p: Nucleus mass; 1: all tokens.
        top_k: Most likely tokens that are left; None: all.
        seed: Seed of the draws; None: the server's own.
        named: Whether the answer must say that it comes from this model, which an adapter has no
            other name for: servers that do not know a name may answer with what they have.
    """

    model: str
    prompt: Int[np.ndarray, " P"]
    size: int
    max_new_tokens: int
    stop_ids: tuple[int, ...]
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    named: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """The request. What would alter the draws is said even where it is nothing.

        A server takes what is left out from the model's own ``generation_config.json``.
        """
        return {
            "model": self.model,
            "prompt": [int(token) for token in self.prompt],
            "n": self.size,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": -1 if self.top_k is None else self.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stop_token_ids": list(self.stop_ids),
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
            **({} if self.seed is None else {"seed": self.seed}),
        }


@dataclass(frozen=True)
class Completion:
    """One candidate as a server drew it.

    Attributes:
        ids: Token ids, an end-of-sequence token included.
        log_mu: Log-prob of every token, nats.
        truncated: Whether it was cut before an end-of-sequence token.
    """

    ids: Int[np.ndarray, " T"]
    log_mu: Float[np.ndarray, " T"]
    truncated: bool


def complete(client: Client, asked: CompletionRequest) -> tuple[Completion, ...]:
    """The K candidates of one prompt, in their order.

    Raises:
        Unavailable: The server did not answer.
        Missing: It does not know the model.
        ModelError: It answers something else than was asked; with the field and its value.
    """
    answer = _answer(client, asked.body)
    choices = answer.choices
    if asked.named and answer.model != asked.model:
        said = f"{asked.model!r} was asked: it answers for every name with what it has"
        raise _refused(client, "model", repr(answer.model), said)
    if len(choices) != asked.size:
        raise _refused(
            client,
            "choices",
            f"{len(choices)} of them where n = {asked.size} was asked",
            "Servers that ignore `n` cannot be used (`transformers serve` is one); vLLM obeys it",
        )
    ordered = sorted(choices, key=lambda choice: choice.index)
    if [choice.index for choice in ordered] != list(range(asked.size)):
        twice = [choice.index for choice in choices]
        raise _refused(client, "choices[].index", f"{twice}, not each number once", "")
    return tuple(_completion(client, asked, choice) for choice in ordered)


def score(
    client: Client, model: str, ids: Int[np.ndarray, " L"], start: int
) -> Float[np.ndarray, " T"]:
    """Log-prob of the tokens from ``start`` >= 1 on, of the server's model at temperature 1, nats.

    Errors as in ``complete``.
    """
    body = {
        "model": model,
        "prompt": [int(token) for token in ids],
        "max_tokens": 1,
        "temperature": 1.0,
        "prompt_logprobs": 0,
        "return_token_ids": True,
    }
    choices = _answer(client, body).choices
    if len(choices) != 1:
        raise _refused(client, "choices", f"{len(choices)} where one was asked", "")
    _same_prompt(client, ids, choices[0])
    said = "Scoring needs them: use vLLM, or SGLang"
    return np.array(_prompt_log_probs(client, ids.tolist(), choices[0], start, said))


def scored_text(client: Client, model: str, text: str) -> tuple[list[int], list[float]]:
    """Token ids of a text as the server cuts it, and the log-prob of each but the first, nats.

    Errors as in ``complete``.
    """
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 1.0}
    body |= {"prompt_logprobs": 0, "return_token_ids": True}
    choices = _answer(client, body).choices
    said = "Judging by options needs log-probs and ids of the prompt: use vLLM, or `scale`"
    if not choices or not choices[0].prompt_token_ids:
        raise _refused(client, "choices[0].prompt_token_ids", "missing", said)
    ids = choices[0].prompt_token_ids
    return ids, _prompt_log_probs(client, ids, choices[0], 1, said)


def answered_text(client: Client, model: str, text: str, longest: int) -> str:
    """What the server says after a text, its most likely tokens; errors as in ``complete``."""
    body = {"model": model, "prompt": text, "max_tokens": longest, "temperature": 0.0}
    choices = _answer(client, body).choices
    if not choices or choices[0].text is None:
        raise _refused(client, "choices[0].text", "missing", "")
    return choices[0].text


def models(client: Client) -> dict[str, int | None]:
    """What the server serves, and the longest context of each where it says that.

    That of an adapter is its model's.
    """
    listed = _decoded(client, client.get("/v1/models"), _Models).data
    own = {model.id: model.max_model_len for model in listed}
    return {m.id: own.get(m.parent or "") if own[m.id] is None else own[m.id] for m in listed}


def _prompt_log_probs(
    client: Client, ids: Sequence[int], choice: _Choice, start: int, said: str
) -> list[float]:
    """Log-prob of a prompt's tokens from ``start`` on, when the answer has each of them, nats."""
    told = choice.prompt_logprobs
    if told is None or len(told) != len(ids):
        got = "missing" if told is None else f"{len(told)} for {len(ids)} tokens"
        raise _refused(client, "choices[0].prompt_logprobs", got, said)
    found = []
    for place in range(start, len(ids)):
        entry = (told[place] or {}).get(str(ids[place]))
        if entry is None or not -math.inf < entry.logprob <= ABOVE:
            got = "missing" if entry is None else repr(entry.logprob)
            raise _refused(client, f"choices[0].prompt_logprobs[{place}].{ids[place]}", got, "")
        found.append(min(entry.logprob, 0.0))
    return found


def _answer(client: Client, body: dict[str, Any]) -> _Answer:
    answer: _Answer = _decoded(client, client.post(PATH, body), _Answer)
    return answer


def _decoded(client: Client, content: bytes, form: type[Any]) -> Any:
    """An answer of the wanted form; of another one the field and its value are named."""
    try:
        return msgspec.json.decode(content, type=form)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$")
        where = where.rstrip("`").removeprefix(".")
        value = _value_at(content, where)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said, where, value = f"It is no JSON: {error}", "", _begin(content)
    raise _refused(client, where or "the answer", value, said)


def _value_at(content: bytes, where: str) -> str:
    """What stands at a path such as ``choices[0].index``, shortened."""
    try:
        here = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # broken behind that place
        return _begin(content)
    for step in where.replace("[...]", "").replace("[", ".").replace("]", "").split("."):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
    shown = repr(here)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _begin(content: bytes) -> str:
    """How a text begins."""
    return repr(content[:60].decode("utf-8", "replace"))


def _completion(client: Client, asked: CompletionRequest, choice: _Choice) -> Completion:
    """One candidate, when its parts fit together."""
    where = f"choices[{choice.index}]"
    _same_prompt(client, asked.prompt, choice)
    ids, told = choice.token_ids, choice.logprobs
    if not ids:
        said = "vLLM gives them where `return_token_ids` is asked (from 0.10.2 on)"
        raise _refused(client, f"{where}.token_ids", f"{ids}", said)
    if told is None or not told.token_logprobs:
        said = "Servers that ignore `logprobs` cannot be used (`transformers serve` is one)"
        raise _refused(client, f"{where}.logprobs", "missing", said)
    if len(told.token_logprobs) != len(ids):
        got = f"{len(told.token_logprobs)} for {len(ids)} token_ids"
        said = "Each token needs one, the end-of-sequence token too"
        raise _refused(client, f"{where}.logprobs.token_logprobs", got, said)
    log_mu = np.empty(len(ids))
    for place, value in enumerate(told.token_logprobs):
        if value is None or not IMPOSSIBLE < value <= ABOVE:
            at = f"{where}.logprobs.token_logprobs[{place}]"
            raise _refused(client, at, repr(value), "A drawn token has a finite log-prob below 0")
        log_mu[place] = min(value, 0.0)
    return Completion(np.array(ids), log_mu, _truncated(client, asked, choice, ids))


def _truncated(client: Client, asked: CompletionRequest, choice: _Choice, ids: list[int]) -> bool:
    """Whether a candidate was cut, when its end and its length agree with what the server says."""
    where, ends = f"choices[{choice.index}]", set(asked.stop_ids)
    if choice.finish_reason not in ("stop", "length"):
        got = repr(choice.finish_reason)
        raise _refused(client, f"{where}.finish_reason", got, "Known are stop and length")
    if len(ids) > asked.max_new_tokens:
        got = f"{len(ids)} tokens where max_tokens = {asked.max_new_tokens}"
        raise _refused(client, f"{where}.token_ids", got, "")
    early = next((i for i, token in enumerate(ids[:-1]) if token in ends), None)
    if early is not None:
        got = f"token {ids[early]} at {early} of {len(ids)}, which ends a completion"
        raise _refused(client, f"{where}.token_ids", got, "Its stop tokens are others than ours")
    ended = ids[-1] in ends
    if choice.finish_reason == "stop" and not ended:
        got = f"the last is {ids[-1]}, and finish_reason is stop"
        said = "The end-of-sequence token must be among ids and log-probs: its choice is a draw too"
        raise _refused(client, f"{where}.token_ids", got, said)
    if not ended and len(ids) < asked.max_new_tokens:
        got = f"{len(ids)} tokens without end where max_tokens = {asked.max_new_tokens}"
        said = "The context of the server may be shorter (--max-model-len)"
        raise _refused(client, f"{where}.token_ids", got, said)
    return not ended


def _same_prompt(client: Client, prompt: Int[np.ndarray, " P"], choice: _Choice) -> None:
    told = choice.prompt_token_ids
    if told is not None and told != [int(token) for token in prompt]:
        place = next(
            (i for i, t in enumerate(told) if i >= len(prompt) or t != prompt[i]), len(told)
        )
        got = f"another prompt than was sent, from token {place} on"
        said = "It changes prompts, or has another tokenizer"
        raise _refused(client, f"choices[{choice.index}].prompt_token_ids", got, said)


def _refused(client: Client, field: str, value: str, way_out: str) -> ModelError:
    said = f"server {client.url} answers {field}: {value}."
    return ModelError(f"{said} {way_out}." if way_out else said)
