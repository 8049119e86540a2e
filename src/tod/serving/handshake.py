"""Before the first token: does a server do what is asked of it, and say what it did?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tod.base import Groups, ModelError
from tod.diagnostics import Sync, in_sync
from tod.serving.client import Client
from tod.serving.completions import Completion, CompletionRequest, complete, models, score

SIZE = 4
"""Candidates of every prompt: enough to see that n is obeyed."""
PROMPTS = 4
OWN_NOISE = 0.01
"""RMS in nats a token between a server's decoding and its own scoring: half precision's."""
EQUAL = 1e-3
"""RMS in nats a token below which two columns are one."""
SPREAD = 0.1
"""Mean surprise in nats a token above which a temperature, or a cut, shows in the log-probs."""


@dataclass(frozen=True)
class Greeting:
    """What a server showed of itself.

    Attributes:
        url: Its address.
        model: What it calls the model.
        longest: Tokens of its context; None where it does not say.
        rms: Between the log μ of its own draws and its own scores of them, nats a token.
        tokens: How many tokens that is of.
        ended: Share of these candidates that ended by themselves.
    """

    url: str
    model: str
    longest: int | None
    rms: float
    tokens: int
    ended: float


def handshake(client: Client, asked: Sequence[CompletionRequest]) -> Greeting:
    """Draw a few candidates as the run will, and score them by the same server.

    Every answer is read as in the run: n, token ids, log-probs and the end-of-sequence token are
    there, or it is refused. Then draws at temperature 1 from the full support must have the log μ
    that scoring gives them; and where the run draws otherwise, another one.

    Args:
        client: The server.
        asked: The run's requests of some prompts; of at most four a few candidates are drawn.

    Raises:
        Unavailable: It did not answer.
        ModelError: It cannot be used: what it did, why that matters, and the way out.
    """
    longest = _serves(client, asked)
    few = [_short(one, longest) for one in asked[:PROMPTS]]
    plain = [replace(one, temperature=1.0, top_p=1.0, top_k=None) for one in few]
    drawn = [complete(client, one) for one in plain]
    log_mu, rescored, sequences = _rescored(client, plain, drawn)
    sync = in_sync(log_mu, rescored, sequences, noise=OWN_NOISE)
    if not sync.good:
        raise ModelError(_disagrees(client, sync))
    if few != plain:
        _as_asked(client, few)
    ended = np.mean([not c.truncated for row in drawn for c in row])
    rms = float(np.sqrt(np.mean((log_mu - rescored) ** 2)))
    return Greeting(client.url, asked[0].model, longest, rms, len(log_mu), float(ended))


def _names(known: Iterable[str]) -> str:
    """What a server calls its models, on one line: ten of them, 80 characters of each."""
    names = list(known)
    shown = [name[:80] if name[:80].isprintable() else repr(name[:80]) for name in names[:10]]
    return ", ".join([*shown, "…"] if len(names) > 10 else shown) or "none"


def _serves(client: Client, asked: Sequence[CompletionRequest]) -> int | None:
    """The context of the model, which is there and long enough."""
    known, model = models(client), asked[0].model
    if model not in known:
        raise ModelError(
            f"server {client.url} has no model {model!r}; it serves {_names(known)}. "
            "Name one of these (`policy.model`), or start it with --served-model-name."
        )
    longest = known[model]
    needed = max(len(one.prompt) + one.max_new_tokens for one in asked)
    if longest is not None and needed > longest:
        raise ModelError(
            f"server {client.url} holds {longest} tokens (max_model_len) and prompt and completion "
            f"have up to {needed}: start it with --max-model-len {needed}, or lower max_new_tokens."
        )
    return longest


def _short(one: CompletionRequest, longest: int | None) -> CompletionRequest:
    """A few candidates that leave room for the one token that a server draws when it scores."""
    room = one.max_new_tokens if longest is None else longest - 1 - len(one.prompt)
    return replace(one, size=SIZE, max_new_tokens=max(1, min(one.max_new_tokens, room)))


def _rescored(
    client: Client, asked: Sequence[CompletionRequest], drawn: Sequence[Sequence[Completion]]
) -> tuple[np.ndarray, np.ndarray, Groups]:
    """Log μ and the server's own score of every drawn token, and the candidates they are of."""
    rows = [(one.prompt, c) for one, row in zip(asked, drawn, strict=True) for c in row]
    model = asked[0].model
    scores = [
        score(client, model, np.concatenate([prompt, c.ids]), len(prompt)) for prompt, c in rows
    ]
    log_mu = np.concatenate([c.log_mu for _, c in rows])
    return log_mu, np.concatenate(scores), Groups(np.array([len(c.ids) for _, c in rows]))


def _as_asked(client: Client, few: Sequence[CompletionRequest]) -> None:
    """Refuse log μ of temperature 1 and the full support where something else is drawn."""
    drawn = [complete(client, one) for one in few]
    log_mu, rescored, _ = _rescored(client, few, drawn)
    rms = float(np.sqrt(np.mean((log_mu - rescored) ** 2)))
    if rms < EQUAL and -float(rescored.mean()) > SPREAD:
        one = few[0]
        how = f"temperature {one.temperature:g}, top_p {one.top_p:g}, top_k {one.top_k}"
        raise ModelError(
            f"server {client.url} draws with {how} and gives log-probs of the whole model at "
            "temperature 1: they are not log μ. Start it with --logprobs-mode processed_logprobs."
        )


def _disagrees(client: Client, sync: Sync) -> str:
    """That draws and scores of one server part, and what that looks like."""
    looks = {
        "truncated": "it cuts off unlikely tokens though the full support was asked: look at "
        "its own sampling defaults (--generation-config vllm leaves the model's out)",
        "temperature": "it draws at another temperature than 1, which was asked: look at its own "
        "sampling defaults (--generation-config vllm leaves the model's out)",
    }
    what = looks.get(sync.kind, "it draws from something else than it scores with")
    return (
        f"server {client.url} gives its own draws log-probs that are {sync.rms:.2g} nats a token "
        f"(RMS) off its own scores of them: {what}."
    )
