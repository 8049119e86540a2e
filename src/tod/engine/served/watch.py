"""After every transfer: do the servers draw from the weights that they were sent?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from tod.diagnostics import SYNC_REMEDIES, SYNC_WORDS
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.alternatives import Earlier
from tod.engine.served.check import Checked, compared
from tod.engine.served.weights import ServedWeights
from tod.serving.client import Client

OF_A_PROMPT = 2
"""Candidates of every prompt of the probe."""
WATCH_SEED = 15_487_469
"""Seed of the probe's draws, added to the run's: they repeat no candidate of a step."""


@dataclass(frozen=True)
class TransferProbe:
    """What every server is asked after a transfer.

    Attributes:
        prompts: Token ids.
        params: How it is drawn: the run's temperature, with full support.
        eos_ids: Tokens that end a completion.
        seed: Of the run.
    """

    prompts: tuple[Int[np.ndarray, " P"], ...]
    params: SamplingParams
    eos_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Watched:
    """What one server showed of one version.

    Attributes:
        version: Which was asked for.
        server: Its address.
        checked: Scores and draws against the trainer's model, and against what it held before.
    """

    version: int
    server: str
    checked: Checked

    @property
    def good(self) -> bool:
        """Whether it draws from what it was sent."""
        return self.checked.good

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the record."""
        weights, draws = self.checked.weights, self.checked.sampling
        return {
            "version": self.version,
            "server": self.server,
            "good": self.good,
            "kind": weights.kind,
            "name": weights.name,
            "rms": weights.rms,
            "limit": weights.limit,
            "tokens": weights.tokens,
            "draws": None if draws is None else draws.kind,
            "surprise": self.checked.surprise,
            "said": said(self),
        }


def watch(weights: ServedWeights, model: Any, probe: TransferProbe) -> list[Watched]:
    """Look at every server that got weights since the last look.

    Each draws a few candidates and scores them; both are compared with the model here, with the
    versions that it held before, whole and in part, and with other temperatures.

    Args:
        weights: The servers, with the version in force.
        model: The model that they should hold.
        probe: What they are asked.

    Raises:
        ModelError: A server cannot be used at all, or is away for longer than it may be.
    """
    clients, weights.unwatched = weights.unwatched, []
    return [_watched(weights, model, probe, client) for client in clients]


def _watched(weights: ServedWeights, model: Any, probe: TransferProbe, client: Client) -> Watched:
    sampler, version = weights.sampler, weights.loaded[-1]
    drawn = sampler.sample(
        probe.prompts,
        OF_A_PROMPT,
        params=probe.params,
        eos_ids=probe.eos_ids,
        seed=probe.seed + WATCH_SEED,
        step=version,
        clients=[client],
    )
    scores = sampler.scores(drawn, clients=[client])
    found = compared(
        model,
        drawn,
        scores,
        earlier(weights, version),
        sampler.greetings[sampler.clients.index(client)],
        sampler.spec.sync.dtype,
        probe.params.temperature,
        thorough=False,
    )
    return Watched(version, client.url, found)


def earlier(weights: ServedWeights, version: int) -> Sequence[Earlier]:
    """What a server may hold instead of a version: those of the start, then the newest first."""
    states = {v: s for v, s in weights.states.items() if v != version}
    start = [Earlier("those of the start", "initial", states.pop(0))] if 0 in states else []
    others = sorted(states, key=lambda v: abs(version - v))
    return [*start, *(Earlier(f"version {v}", "stale", states[v]) for v in others)]


def said(found: Watched) -> str:
    """One line: what the server draws from, by how much, and the way out."""
    checked, where = found.checked, f"server {found.server}, version {found.version}"
    worst = checked.weights if not checked.weights.good else checked.sampling
    if found.good:
        return f"{where}: in sync ({checked.weights.rms:.2g} nats a token)"
    if worst is None or worst.good:
        return (
            f"{where}: its draws are {checked.surprise:+.1f} standard errors likelier than its "
            "log-probs say: look for a temperature or a cut that they leave out (--logprobs-mode)."
        )
    name = f" ({worst.name})" if worst.name else ""
    return (
        f"{where}: it draws from {SYNC_WORDS[worst.kind]}{name}, {worst.rms:.2g} nats a token off "
        f"(RMS) where rounding is {worst.limit:.2g} at most. {SYNC_REMEDIES[worst.kind]}"
    )
