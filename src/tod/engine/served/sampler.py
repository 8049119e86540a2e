"""Candidates from servers in the form that our own sampler gives them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups, ModelError
from tod.base.uniforms import row_keys
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.serving.client import Client, Missing
from tod.serving.completions import Completion, CompletionRequest, complete, score
from tod.serving.handshake import Greeting, handshake
from tod.serving.pool import answers
from tod.serving.spec import ServedPolicy

Answer = TypeVar("Answer")
_SEEDS = 1 << 63


@dataclass
class ServedSampler:
    """Servers that draw candidates.

    Attributes:
        spec: Which they are and how they are asked.
        vocabulary: Tokens that the model knows.
        clients: Connections, one a server.
        model: What the servers call the weights in force; `spec.model` at first.
        greetings: What each showed before the first token.
        version: Batches that the weights in force were trained on; None where nothing is trained.
        until: Reading of ``time.monotonic`` at which everything must be answered; None: no end.
        restore: Gives a server its weights again that says it has none of that name, as one that
            was started anew; None: such a server is refused.
    """

    spec: ServedPolicy
    vocabulary: int
    clients: list[Client] = field(default_factory=list)
    model: str = ""
    greetings: tuple[Greeting, ...] = ()
    version: int | None = None
    until: float | None = None
    restore: Callable[[Client, str], None] | None = None

    def __post_init__(self) -> None:
        """Make the connections; nothing is asked yet."""
        self.model = self.model or self.spec.model
        self.clients = [
            Client(url, timeout=self.spec.timeout, key=self.spec.key) for url in self.spec.server
        ]

    def close(self) -> None:
        """End the connections."""
        for client in self.clients:
            client.close()

    def sample(
        self,
        prompts: Sequence[Int[np.ndarray, " P"]],
        size: int,
        *,
        params: SamplingParams,
        eos_ids: Sequence[int],
        seed: int,
        step: int,
        context_ids: Int[np.ndarray, " C"] | None = None,
        progress: Callable[[int, int], None] | None = None,
        clients: Sequence[Client] | None = None,
    ) -> Rollouts:
        """Draw ``size`` candidates of each of C prompts; arguments as of `sampling.sampler.sample`.

        A prompt's request has a seed of (seed, step, context). Before the first one every server
        is looked at (`tod.serving.handshake`). ``clients``: the servers that draw; None: all.

        Raises:
            DataError: Nothing to draw, or greedy draws, which have no μ.
            ModelError: A server cannot be used, or none is left.
        """
        if not len(prompts) or size < 1 or params.greedy:
            raise DataError(
                f"{len(prompts)} prompts, K={size}, greedy={params.greedy}: a server draws one "
                "candidate of one prompt at least, and greedy ones have no log-probs."
            )
        numbers = np.arange(len(prompts)) if context_ids is None else np.asarray(context_ids)
        seeds = row_keys(seed, step, numbers, np.zeros_like(numbers)) % np.uint64(_SEEDS)
        jobs = [
            self._asked(prompt, size, params, eos_ids, int(seeds[i]))
            for i, prompt in enumerate(prompts)
        ]
        if not self.greetings:
            self.greetings = self._each(lambda client: handshake(client, jobs))
        found = answers(
            self.clients if clients is None else clients,
            jobs,
            self._complete,
            in_flight=self.spec.in_flight,
            patience=self.spec.patience,
            progress=progress,
            until=self.until,
        )
        drawn = gathered(prompts, found, self.vocabulary)
        if self.version is None:
            return drawn
        return replace(drawn, version=np.full(len(drawn.sequences), self.version))

    def scores(
        self,
        rollouts: Rollouts,
        model: str | None = None,
        clients: Sequence[Client] | None = None,
    ) -> Float[np.ndarray, " M"]:
        """Log-prob of every completion token at temperature 1 by the servers' model, nats.

        Each server scores one candidate at a time: vLLM 0.32 with adapters stops for good when it
        scores two on a CPU. Errors as in ``sample``.
        """
        name = self.model if model is None else model
        owner = rollouts.contexts.owner
        rows = [
            (rollouts.prompts[int(c)], ids)
            for c, ids in zip(owner, rollouts.sequences.split(rollouts.ids), strict=True)
        ]

        def one(client: Client, row: tuple[Any, Any]) -> Float[np.ndarray, " T"]:
            return self._known(
                client, name, lambda: score(client, name, np.concatenate(row), len(row[0]))
            )

        servers = self.clients if clients is None else clients
        patience = self.spec.patience
        found = answers(servers, rows, one, in_flight=1, patience=patience, until=self.until)
        return np.concatenate(found)

    def _complete(self, client: Client, asked: CompletionRequest) -> tuple[Completion, ...]:
        return self._known(client, asked.model, lambda: complete(client, asked))

    def _known(self, client: Client, name: str, ask: Callable[[], Answer]) -> Answer:
        """An answer, asked again when the server was given weights that it did not know."""
        try:
            return ask()
        except Missing:
            if self.restore is None:
                raise
            self.restore(client, name)
            return ask()

    def _each(self, ask: Callable[[Client], Any]) -> tuple[Any, ...]:
        """The answer of each server, one after the other, waited for like any."""
        return tuple(
            answers(
                [client],
                [0],
                lambda c, _: ask(c),
                patience=self.spec.patience,
                until=self.until,
            )[0]
            for client in self.clients
        )

    def _asked(
        self,
        prompt: Int[np.ndarray, " P"],
        size: int,
        params: SamplingParams,
        eos_ids: Sequence[int],
        seed: int,
    ) -> CompletionRequest:
        return CompletionRequest(
            model=self.model,
            prompt=np.asarray(prompt),
            size=size,
            max_new_tokens=params.max_new_tokens,
            stop_ids=tuple(eos_ids),
            temperature=params.temperature,
            top_p=1.0 if params.top_p is None else params.top_p,
            top_k=params.top_k,
            seed=seed,
            named=self.version is not None,
        )


def gathered(
    prompts: Sequence[Int[np.ndarray, " P"]],
    drawn: Sequence[Sequence[Completion]],
    vocabulary: int,
) -> Rollouts:
    """The servers' candidates as rollouts, in the order of prompts and candidates.

    Raises:
        ModelError: A token that the model does not know.
    """
    rows = [completion for row in drawn for completion in row]
    ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
    if int(ids.max()) >= vocabulary:
        raise ModelError(
            f"a server draws token {int(ids.max())} and the model here knows 0 … {vocabulary - 1}: "
            "it serves a model with another tokenizer. Name that model as the recipe's `model`."
        )
    return Rollouts(
        prompts=tuple(np.asarray(prompt, np.int64) for prompt in prompts),
        contexts=Groups(np.array([len(row) for row in drawn])),
        sequences=Groups(np.array([len(row.ids) for row in rows])),
        ids=ids,
        log_mu=np.concatenate([row.log_mu for row in rows]),
        truncated=np.array([row.truncated for row in rows]),
    )
