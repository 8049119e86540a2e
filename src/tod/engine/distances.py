"""How far two trained models are apart, on completions that were drawn once for all of them.

A `CommonPool` holds prompts, completions and the density that drew them. Every model is asked once:
for the log-prob of every completion, and for its whole next-token distribution at some positions.
From these numbers any two models are compared, without the models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tod.base import DataError, Groups
from tod.engine.forward.head import exact
from tod.engine.forward.log_probs import scored_log_probs, token_statistics
from tod.engine.models import eos_ids, pad_id
from tod.engine.proposals.mixture import mixed_log_prob
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample

__all__ = [
    "CommonPool",
    "draw_pool",
    "sequence_log_probs",
    "sequence_variation",
    "token_distributions",
    "token_divergence",
    "two_sided_variation",
]


@dataclass(frozen=True)
class CommonPool:
    """Completions that every model is asked about.

    Attributes:
        rollouts: Prompts and completions; ``log_mu`` is the density that drew them, by token.
    """

    rollouts: Rollouts

    @property
    def log_mu(self) -> Float[np.ndarray, " N"]:
        """Log-density of every completion, nats."""
        assert self.rollouts.log_mu is not None  # noqa: S101 - made with it
        total: Any = self.rollouts.sequences.sum(self.rollouts.log_mu.astype(np.float64))
        return np.asarray(total)

    def save(self, path: Path) -> None:
        """Write the pool as a NumPy archive."""
        rollouts = self.rollouts
        lengths = np.array([len(prompt) for prompt in rollouts.prompts])
        np.savez_compressed(
            path,
            prompts=np.concatenate(rollouts.prompts),
            lengths=lengths,
            contexts=rollouts.contexts.sizes,
            sequences=rollouts.sequences.sizes,
            ids=rollouts.ids,
            log_mu=np.asarray(rollouts.log_mu, np.float64),
            truncated=rollouts.truncated,
        )

    @classmethod
    def load(cls, path: Path) -> "CommonPool":
        """The pool of such an archive; nothing in it is run.

        Raises:
            DataError: It is no pool.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                prompts = np.split(stored["prompts"], np.cumsum(stored["lengths"])[:-1])
                rollouts = Rollouts(
                    tuple(prompts),
                    Groups(stored["contexts"]),
                    Groups(stored["sequences"]),
                    stored["ids"],
                    stored["log_mu"],
                    stored["truncated"],
                )
        except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{path}: no pool of completions ({error}). Remove it and it is drawn again."
            ) from None
        return cls(rollouts)


def draw_pool(
    models: Sequence[Any],
    tokenizer: Any,
    prompts: Sequence[Int[np.ndarray, " P"]],
    size: int,
    *,
    max_new_tokens: int,
    seed: int,
) -> CommonPool:
    """``size`` completions of every prompt from each model, weighed by the mixture of them all.

    log μ(y|c) = log (1/J)·Σ_j π_j(y|c): a completion that any of the models gives is covered.

    Args:
        models: J models that share the tokenizer.
        tokenizer: Of them all.
        prompts: Token ids of every prompt.
        size: Completions of a prompt from each model.
        max_new_tokens: Longest completion, in tokens.
        seed: Seed of the draws.
    """
    params = SamplingParams(max_new_tokens=max_new_tokens)
    drawn = [
        sample(
            model,
            prompts,
            size,
            params=params,
            pad_id=pad_id(model, tokenizer),
            eos_ids=eos_ids(model, tokenizer),
            seed=seed + place,
            step=0,
        )
        for place, model in enumerate(models)
    ]
    count = len(prompts)
    together = Rollouts.concatenate(drawn)
    order = np.arange(len(models) * count).reshape(len(models), count).T.ravel()
    ordered = together.take(order)
    whole = Rollouts(
        prompts=tuple(prompts),
        contexts=Groups.equal(count, size * len(models)),
        sequences=ordered.sequences,
        ids=ordered.ids,
        log_mu=None,
        truncated=ordered.truncated,
    )
    shares = {str(place): 1.0 / len(models) for place in range(len(models))}
    log_probs = {
        str(place): scored_log_probs(model, whole)[0] for place, model in enumerate(models)
    }
    log_mu = mixed_log_prob(log_probs, shares, whole.sequences)
    return CommonPool(
        Rollouts(whole.prompts, whole.contexts, whole.sequences, whole.ids, log_mu, whole.truncated)
    )


def sequence_log_probs(model: Any, pool: CommonPool) -> Float[np.ndarray, " N"]:
    """Log π(y|c) of every completion of the pool, nats."""
    by_token, _ = scored_log_probs(model, pool.rollouts)
    total: Any = pool.rollouts.sequences.sum(by_token)
    return np.asarray(total)


def token_distributions(model: Any, pool: CommonPool, every: int = 1) -> Float[np.ndarray, "m V"]:
    """Log of the whole next-token distribution at every ``every``-th position of the pool, nats."""
    places = np.arange(0, pool.rollouts.sequences.total, every)

    def head(z: Tensor, at: Tensor) -> Tensor:  # noqa: ARG001 - every head gets it
        return torch.log_softmax(exact(z), dim=-1)

    with torch.no_grad():
        table, _ = token_statistics(model, pool.rollouts, head)
    rows: Float[np.ndarray, "m V"] = table.double().cpu().numpy()[places]
    return rows


def sequence_variation(
    log_p: Float[np.ndarray, " N"],
    log_q: Float[np.ndarray, " N"],
    log_mu: Float[np.ndarray, " N"],
    contexts: Groups,
) -> Float[np.ndarray, " C"]:
    """Total variation of two laws of completions by prompt, ½·E_μ|p − q|/μ, estimated.

    An unbiased mean over draws of μ; above 1 only by chance, then 1. Its error grows with E_μ of
    (p/μ)² and (q/μ)²: draw the pool from models as far apart as those that are compared.

    Args:
        log_p: Of the first law, nats.
        log_q: Of the second.
        log_mu: Of what drew the completions.
        contexts: Completions by prompt.
    """
    apart = 0.5 * np.abs(np.exp(log_p - log_mu) - np.exp(log_q - log_mu))
    mean: Float[np.ndarray, " C"] = np.minimum(np.asarray(contexts.mean(apart)), 1.0)
    return mean


def two_sided_variation(
    own: tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]],
    other: tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]],
) -> float:
    """Total variation from draws of both laws, by the balance heuristic.

    TV = E over the even mixture m of |p − q|/(2m), which lies in [0, 1] draw by draw: the error
    is at most ½/√n however far apart the laws are.

    Args:
        own: (log p, log q) of draws of p, nats.
        other: (log p, log q) of as many draws of q.

    Source: Veach and Guibas 1995 (balance heuristic)
    """
    gap = np.concatenate([own[0] - own[1], other[0] - other[1]])
    return float(np.abs(np.tanh(0.5 * gap)).mean())


def token_divergence(
    log_p: Float[np.ndarray, "m V"], log_q: Float[np.ndarray, "m V"]
) -> Float[np.ndarray, " m"]:
    """Jensen–Shannon divergence of two next-token distributions at every position, nats.

    JS = ½·KL(p‖m) + ½·KL(q‖m), m = ½(p + q); in [0, ln 2], exact.

    Source: Lin 1991
    """
    log_m = np.logaddexp(log_p, log_q) - np.log(2.0)
    p, q = np.exp(log_p), np.exp(log_q)
    left = np.where(p > 0, p * (log_p - log_m), 0.0).sum(axis=1)
    right = np.where(q > 0, q * (log_q - log_m), 0.0).sum(axis=1)
    both: Float[np.ndarray, " m"] = np.maximum(0.5 * (left + right), 0.0)
    return both
