"""A batch cut into parts that fit: whole contexts, about equal work, the same gradient."""

import numpy as np
from jaxtyping import Int

from tod.base import SpecError
from tod.engine.rollouts import Rollouts


def context_tokens(rollouts: Rollouts) -> Int[np.ndarray, " C"]:
    """Tokens of every context as the layers see them when rows are not shared.

    Σ over its candidates of prompt + completion: an upper bound on every layout.
    """
    prompts = np.array([len(prompt) for prompt in rollouts.prompts], dtype=np.int64)
    completions = rollouts.sequences.within(rollouts.contexts).sizes
    return np.asarray(prompts * rollouts.contexts.sizes + completions)


def micro_batches(rollouts: Rollouts, max_tokens: int) -> list[Int[np.ndarray, " c"]]:
    """Contexts in the fewest parts of at most ``max_tokens``, balanced by tokens.

    Longest first into the lightest part; the number of parts grows from ⌈total / max_tokens⌉
    until all fit. A context is never split: one that is larger than ``max_tokens`` by itself
    is a part by itself (whether it fits in memory is not decided here). Deterministic; within
    a part contexts keep their order.

    Raises:
        SpecError: ``max_tokens`` < 1.
    """
    if max_tokens < 1:
        raise SpecError(f"max_tokens is {max_tokens}: a micro-batch holds a token at least.")
    cost = context_tokens(rollouts)
    large = cost > max_tokens
    alone = [np.array([c]) for c in np.flatnonzero(large)]
    rest = np.flatnonzero(~large)
    parts = -(-int(cost[rest].sum()) // max_tokens)
    while True:
        fitted = _spread(rest, cost, parts)
        if all(int(cost[part].sum()) <= max_tokens for part in fitted):
            return sorted(alone + fitted, key=lambda part: int(part[0]))
        parts += 1


def _spread(
    contexts: Int[np.ndarray, " c"], cost: Int[np.ndarray, " C"], parts: int
) -> list[Int[np.ndarray, " m"]]:
    """Longest first into the lightest of ``parts`` parts; empty parts are dropped."""
    if not contexts.size:
        return []
    load = np.zeros(parts, dtype=np.int64)
    home = np.zeros(contexts.size, dtype=np.int64)
    for i in np.argsort(-cost[contexts], kind="stable"):
        home[i] = int(np.argmin(load))
        load[home[i]] += cost[contexts[i]]
    return [contexts[home == part] for part in range(parts) if (home == part).any()]
