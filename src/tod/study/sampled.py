"""Finite batches of exact worlds: K candidates drawn from μ, as a run would see them."""

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups
from tod.base.rows import picked
from tod.candidates import Candidates, Tokens
from tod.study.population import Policies
from tod.study.world import Law, generator
from tod.targets import Target

_DRAW = 3


def draw(log_mu: Law, size: int, seed: int, *place: int) -> Int[np.ndarray, "C K"]:
    """``size`` sequences of every context by inverse CDF; the same uniforms at the same place.

    Operators compared at equal seeds and places share their random numbers.
    """
    return rows_at(cumulative(log_mu), uniforms(len(log_mu), size, seed, *place))


def uniforms(count: int, size: int, seed: int, *place: int) -> Float[np.ndarray, "C K"]:
    """The uniforms that `draw` reads at a place."""
    return generator(seed, _DRAW, *place).random((count, size))


def cumulative(log_mu: Law) -> Float[np.ndarray, "C Y"]:
    """Distribution functions of all contexts, each from its number on: one ascending table."""
    mass = np.cumsum(np.exp(log_mu), axis=1)
    return mass / mass[:, -1:] + np.arange(len(log_mu))[:, None]  # type: ignore[no-any-return]


def rows_at(
    table: Float[np.ndarray, "C Y"], uniforms: Float[np.ndarray, "C K"]
) -> Int[np.ndarray, "C K"]:
    """The sequences at some uniforms, by the inverse of `cumulative`."""
    context = np.arange(len(table))[:, None]
    wanted = (uniforms + context).ravel()
    flat = np.searchsorted(table.ravel(), wanted, "right").reshape(uniforms.shape)
    # a uniform next to 1 may round up into the next context
    rows: Int[np.ndarray, "C K"] = np.minimum(flat - table.shape[1] * context, table.shape[1] - 1)
    return rows


def sampled(
    policies: Policies,
    target: Target,
    rows: Int[np.ndarray, "C K"],
    log_mu: Law,
    log_policy: Float[np.ndarray, "C M"],
    mu_tokens: Float[np.ndarray, "C M"] | None = None,
) -> tuple[Candidates, Int[np.ndarray, " m"]]:
    """SelectionAtK sequences as candidates, and the place of their tokens among all tokens, flat.

    Args:
        policies: The world and its policies.
        target: Whose utilities are looked up by name.
        rows: SelectionAtK sequences.
        log_mu: What drew them.
        log_policy: log π of every token before it saw them: ``old`` and ``policy``.
        mu_tokens: log μ of every token, if it is known already.
    """
    world = policies.world
    count, size = rows.shape
    every = (rows + log_mu.shape[1] * np.arange(count)[:, None]).ravel()
    sequences, at = policies.sequences.take(every)
    by_token = world.tokens(log_mu) if mu_tokens is None else mu_tokens
    log_old = world.language.of_sequences(log_policy)
    found = Candidates(
        contexts=Groups.equal(count, size),
        utility={name: world.named(name).ravel()[every] for name in target.utilities},
        log_mu=log_mu.ravel()[every],
        log_anchor=picked(policies.log_probs(log_old), every),
        tokens=Tokens(sequences, by_token.ravel()[at], picked(policies.tokens, at)),
    )
    return found, at
