"""A rule applied to a batch: reproducible uniforms, and contexts where nothing can be put out."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups, to_numpy
from tod.engine.sampling.uniforms import row_keys, uniforms
from tod.operators import Pool, Selection, SelectionRule

SELECTION = 1 << 40
"""Position in a candidate's stream of random numbers that no token of it reaches."""


def selection_uniforms(
    seed: int, contexts: Int[np.ndarray, " N"], candidates: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """One number in [0, 1) a candidate, from its address alone.

    Args:
        seed: Seed of the search.
        contexts: Number of every candidate's context in the whole search.
        candidates: Place of every candidate in its context.
    """
    return uniforms(row_keys(seed, 0, contexts, candidates), SELECTION)


def select(rule: SelectionRule, pool: Pool, draws: Float[np.ndarray, " N"]) -> Selection:
    """What the rule puts out; nothing where no candidate is inside the target's support.

    The rules themselves refuse such contexts. Unlike them this is meant for whole batches, in
    which one hopeless context must not end the rest.
    """
    if not rule.needs_anchors or pool.log_w is None:
        return rule.select(pool, draws)
    log_w = to_numpy(pool.log_w)
    possible = np.flatnonzero(to_numpy(pool.contexts.max(log_w)) > -np.inf)
    if len(possible) == len(pool.contexts):
        return rule.select(pool, draws)
    rows = np.full(len(pool.contexts), -1, dtype=np.int64)
    if len(possible):
        part, places = _part(pool, possible)
        chosen = rule.select(part, draws[places])
        kept = possible[chosen.accepted]
        rows[kept] = places[chosen.rows[chosen.accepted]]
    return Selection(rows, rows >= 0)


def _part(pool: Pool, chosen: Int[np.ndarray, " c"]) -> tuple[Pool, Int[np.ndarray, " n"]]:
    """Some contexts of a pool, and the rows they are made of."""
    contexts, rows = pool.contexts.take(chosen)
    grid = None if pool.similarity is None else Groups(pool.contexts.sizes**2).take(chosen)[1]
    found = replace(
        pool,
        contexts=contexts,
        value=to_numpy(pool.value)[rows],
        log_w=to_numpy(pool.log_w)[rows],
        answers=None if pool.answers is None else to_numpy(pool.answers)[rows],
        similarity=None if pool.similarity is None else to_numpy(pool.similarity)[grid],
    )
    return found, rows
