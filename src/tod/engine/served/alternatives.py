"""What a server may hold instead of the trainer's weights, and what that gives for a probe."""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tod.diagnostics import Alternative
from tod.engine.forward.head import exact
from tod.engine.forward.log_probs import scored_log_probs, token_statistics
from tod.engine.forward.model_parts import device
from tod.engine.models import DTYPES, plain
from tod.engine.rollouts import Rollouts

LEAST_NOISE = 1e-5
"""RMS in nats a token that engines part by in float32, whatever the model."""


@dataclass(frozen=True)
class Earlier:
    """Weights that a server may still hold, all of them or a part.

    Attributes:
        name: In a person's words, such as ``3 versions old``.
        kind: ``initial`` for those of the start.
        state: Tensors by the names of the model's ``state_dict``; of adapters these alone.
    """

    name: str
    kind: Literal["stale", "initial"]
    state: Mapping[str, Tensor]

    def as_held(self, dtype: str) -> "Earlier":
        """With the tensors that a server of a precision would hold."""
        if _exact(dtype):
            return self
        rounded = {n: v.to(DTYPES[dtype]).to(v.dtype) for n, v in self.state.items()}
        return replace(self, state=rounded)


def as_held(model: nn.Module, dtype: str) -> nn.Module:
    """The model with its weights rounded to a server's precision; the arithmetic stays exact.

    Rounding undoes small updates: a norm near 1 keeps its old value in bfloat16 until 0.004 have
    come together. So a server that has what it was sent is compared with the rounded weights.
    """
    if _exact(dtype):
        return model
    held = copy.deepcopy(model)
    with torch.no_grad():
        for value in held.state_dict().values():
            value.copy_(value.to(DTYPES[dtype]))
    return held


def expected_noise(held: nn.Module, rollouts: Rollouts, dtype: str) -> float:
    """RMS, nats a token, between exact arithmetic and the server's on the weights that it holds.

    Another engine's rounding is of that size. 1e-5 at least.
    """
    if _exact(dtype):
        return LEAST_NOISE
    rough = copy.deepcopy(plain(held)).to(DTYPES[dtype])
    gap = scored_log_probs(rough, rollouts)[0] - scored_log_probs(held, rollouts)[0]
    return max(LEAST_NOISE, float(np.sqrt(np.mean(gap**2))))


def _exact(dtype: str) -> bool:
    return DTYPES[dtype] in (torch.float32, torch.float64)


def whole(model: nn.Module, rollouts: Rollouts, earlier: Iterable[Earlier]) -> list[Alternative]:
    """Every earlier state in full, and the model without its adapters where it has any."""
    found = []
    for one in earlier:
        with replaced(model, one.state):
            log_prob, _ = scored_log_probs(model, rollouts)
        found.append(Alternative(one.kind, one.name, log_prob))
    off: Any = getattr(model, "disable_adapter", None)
    if off is not None:
        with off():
            log_prob, _ = scored_log_probs(model, rollouts)
        found.append(Alternative("partly_old", "the model without its adapter", log_prob))
    return found


def in_parts(model: nn.Module, rollouts: Rollouts, earlier: Iterable[Earlier]) -> list[Alternative]:
    """The model with one part of an earlier state: the head, the embedding, a layer, the rest."""
    found = []
    for one in earlier:
        for part, names in parts_of(one.state).items():
            state = {name: one.state[name] for name in names}
            with replaced(model, state):
                log_prob, _ = scored_log_probs(model, rollouts)
            found.append(Alternative("partly_old", f"{part} {one.name}", log_prob))
        with old_head(model, one.state) as there:
            if there:
                log_prob, _ = scored_log_probs(model, rollouts)
                found.append(Alternative("partly_old", f"the head {one.name}", log_prob))
    return found


def at_temperatures(model: nn.Module, rollouts: Rollouts, log_mu: Any) -> list[Alternative]:
    """The model at the temperature that comes nearest to a server's log μ, to four digits."""
    low, high, best = 0.1, 5.0, 1.0
    for _ in range(5):
        tried = np.geomspace(low, high, 17)
        table = tempered(model, rollouts, tried.tolist())
        place = int(((table - np.asarray(log_mu)[:, None]) ** 2).sum(0).argmin())
        low, high = tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)]
        best = float(tried[place])
    return [Alternative("temperature", f"temperature {best:.3g}", table[:, place])]


def tempered(
    model: nn.Module, rollouts: Rollouts, temperatures: Sequence[float]
) -> Float[np.ndarray, "M s"]:
    """Log-prob of every token at each of some temperatures, nats, in one forward."""
    ids = torch.from_numpy(rollouts.ids.astype("int64")).to(device(model))

    def head(z: Tensor, at: Tensor) -> Tensor:
        columns = [-cross_entropy(exact(z) / t, ids[at], reduction="none") for t in temperatures]
        return torch.stack(columns, dim=1)

    with torch.no_grad():
        return token_statistics(model, rollouts, head)[0].double().cpu().numpy()


def surprise(model: nn.Module, rollouts: Rollouts, temperature: float) -> float:
    """By how many standard errors draws are likelier than draws of the model at a temperature.

    z = Σ_t (log π(y_t) + H_t) / √(Σ_t Var_t log π), whose terms are martingale differences under
    π: about normal of variance 1. Above 0: the draws come from a colder or a truncated law.

    Source: definition of a martingale's standardised sum (equation surprise)
    """
    ids = torch.from_numpy(rollouts.ids.astype("int64")).to(device(model))

    def head(z: Tensor, at: Tensor) -> Tensor:
        log_prob = torch.log_softmax(exact(z) / temperature, dim=-1)
        prob = log_prob.exp()
        mean = (prob * log_prob).sum(-1)
        spread = (prob * (log_prob - mean[:, None]) ** 2).sum(-1)
        return torch.stack([log_prob.gather(-1, ids[at][:, None])[:, 0] - mean, spread], dim=1)

    with torch.no_grad():
        told = token_statistics(model, rollouts, head)[0].double()
    over, spread = told.sum(0).tolist()
    return 0.0 if spread <= 0 else over / spread**0.5


def parts_of(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of a state by the part of the model that they belong to: each layer, and the rest."""
    found: dict[str, list[str]] = {}
    for name in state:
        layer = re.search(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.", name)
        if layer is not None:
            found.setdefault(f"layer {layer[1]}", []).append(name)
        elif "norm" in name or "ln_f" in name:
            found.setdefault("the last norm", []).append(name)
    return found


@contextmanager
def replaced(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other values of some tensors, while it lasts."""
    own = model.state_dict()
    held = {name: own[name].detach().clone() for name in state if name in own}
    try:
        with torch.no_grad():
            for name in held:
                own[name].copy_(state[name])
        yield
    finally:
        with torch.no_grad():
            for name, value in held.items():
                own[name].copy_(value)


@contextmanager
def old_head(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[bool]:
    """The model with the output embedding of a state, untied from the input; whether that differs.

    A server that loads new weights into a tied pair may leave the old ones in its head.
    """
    output = plain(model).get_output_embeddings()
    names = [n for n, p in model.state_dict(keep_vars=True).items() if p is output.weight]
    value = next((state[name] for name in names if name in state), None)
    if value is None:
        with nullcontext():
            yield False
        return
    own = output.weight
    try:
        output.weight = nn.Parameter(value.to(own), requires_grad=False)
        yield True
    finally:
        output.weight = own
