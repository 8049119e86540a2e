"""A rule applied to a batch: reproducible uniforms, and contexts where nothing can be put out."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups, to_numpy
from tod.base.uniforms import row_keys, uniforms
from tod.operators import Selection, SelectionPool, SelectionRule

AT_ONCE = 1 << 20
"""Numbers that one part of a batch may hold; a single context may hold more."""
Pairs = Callable[[Int[np.ndarray, " c"]], Float[np.ndarray, " P"]]
"""G of all pairs of some contexts, row by row."""
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


def draws_of(seed: int, contexts: Groups) -> Float[np.ndarray, " N"]:
    """The same of all candidates of contexts that are the whole search."""
    if contexts.uniform is None:
        return selection_uniforms(seed, contexts.owner, contexts.position)
    keys = row_keys(seed, 0, np.arange(len(contexts))[:, None], np.arange(contexts.uniform))
    return uniforms(keys, SELECTION).ravel()


def in_parts(numbers: Int[np.ndarray, " C"]) -> Iterator[Int[np.ndarray, " c"]]:
    """Contexts in runs that hold at most ``AT_ONCE`` numbers, or one context each."""
    if len(numbers) and int(numbers.sum()) <= AT_ONCE:
        yield np.arange(len(numbers))
        return
    start, held = 0, 0
    for c, count in enumerate(numbers.tolist()):
        if c > start and held + count > AT_ONCE:
            yield np.arange(start, c)
            start, held = c, 0
        held += count
    if start < len(numbers):
        yield np.arange(start, len(numbers))


def select_by_pairs(
    rule: SelectionRule, pool: SelectionPool, draws: Float[np.ndarray, " N"], pairs: Pairs
) -> Selection:
    """What a rule puts out that compares candidates in pairs, K² of them a context.

    Contexts know nothing of each other, so that pairs are made of a few at a time.
    """
    rows = np.full(len(pool.contexts), -1, dtype=np.int64)
    for chosen in in_parts(pool.contexts.sizes**2):
        part, places = _part(pool, chosen)
        found = select(rule, replace(part, similarity=pairs(chosen)), draws[places])
        rows[chosen[found.accepted]] = places[found.rows[found.accepted]]
    return Selection(rows, rows >= 0)


def select(rule: SelectionRule, pool: SelectionPool, draws: Float[np.ndarray, " N"]) -> Selection:
    """What the rule puts out; nothing where no candidate is inside the target's support.

    The rules themselves refuse such contexts. Unlike them this is meant for whole batches, in
    which one hopeless context must not end the rest.
    """
    possible = _possible(rule, pool)
    if possible is None:
        return rule.select(pool, draws)
    rows = np.full(len(pool.contexts), -1, dtype=np.int64)
    if len(possible):
        part, places = _part(pool, possible)
        chosen = rule.select(part, draws[places])
        kept = possible[chosen.accepted]
        rows[kept] = places[chosen.rows[chosen.accepted]]
    return Selection(rows, rows >= 0)


def chances(
    rule: SelectionRule, pool: SelectionPool, pairs: Pairs | None = None
) -> Float[np.ndarray, " N"]:
    """P(candidate is put out) over what the rule draws, [N]; 0 in contexts outside the support."""
    return _of_candidates(rule, rule.chances, pool, pairs)


def strengths(
    rule: SelectionRule, pool: SelectionPool, pairs: Pairs | None = None
) -> Float[np.ndarray, " N"]:
    """How much speaks for each candidate, [N]; 0 in contexts outside the support."""
    return _of_candidates(rule, rule.strength, pool, pairs)


def _of_candidates(
    rule: SelectionRule,
    number: Callable[[SelectionPool], Float[np.ndarray, " n"]],
    pool: SelectionPool,
    pairs: Pairs | None,
) -> Float[np.ndarray, " N"]:
    """A number of every candidate, by a method of the rule on the contexts that it can take."""
    found = np.zeros(pool.contexts.total)
    if pairs is not None:
        for chosen in in_parts(pool.contexts.sizes**2):
            part, places = _part(pool, chosen)
            found[places] = _of_candidates(
                rule, number, replace(part, similarity=pairs(chosen)), None
            )
        return found
    possible = _possible(rule, pool)
    if possible is None:
        return number(pool)
    if len(possible):
        part, places = _part(pool, possible)
        found[places] = number(part)
    return found


def _possible(rule: SelectionRule, pool: SelectionPool) -> Int[np.ndarray, " c"] | None:
    """Contexts with a candidate inside the support; None where all have one, or none needs it."""
    if not rule.needs_anchors or pool.log_w is None:
        return None
    inside = to_numpy(pool.contexts.max(to_numpy(pool.log_w))) > -np.inf
    return None if bool(inside.all()) else np.flatnonzero(inside)


def _part(
    pool: SelectionPool, chosen: Int[np.ndarray, " c"]
) -> tuple[SelectionPool, Int[np.ndarray, " n"]]:
    """Some contexts of a pool, and the rows they are made of."""
    contexts, rows = pool.contexts.take(chosen)
    grid = None if pool.similarity is None else Groups(pool.contexts.sizes**2).take(chosen)[1]
    found = replace(
        pool,
        contexts=contexts,
        value=to_numpy(pool.value)[rows],
        log_w=None if pool.log_w is None else to_numpy(pool.log_w)[rows],
        answers=None if pool.answers is None else to_numpy(pool.answers)[rows],
        similarity=None if pool.similarity is None else to_numpy(pool.similarity)[grid],
    )
    return found, rows
