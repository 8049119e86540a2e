"""A trace of prime-rl as a graph: every message once, its branches found by walking to the root.

A node adds its own tokens to the sequence of its parent. A path from a root to a leaf is a branch,
and each branch is trained as one sequence; a sampled node that several branches share (a fork) is
trained in the first of them only. What a trace sampled is all its sampled nodes, each once.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from tod.formats.jsonl import Whole
from tod.formats.token_rows import Sink

Trained = dict[bytes, dict[int, Any]]
"""Log-probs of the trainer on the trained tokens of a sequence, by digest of its ids and step."""


_MOST = 1 << 24
"""Tokens of all branches of one trace that are put together: beyond, no trace of a rollout."""


class Node(msgspec.Struct, gc=False):
    """One message of a trace."""

    sampled: bool = False
    parent: Whole | None = None
    token_ids: list[Whole] | None = None
    mask: list[bool] | None = None
    logprobs: list[float] | None = None
    reference_logprobs: list[float] | None = None

    @property
    def count(self) -> int:
        """How many of its tokens the policy sampled."""
        return sum(self.mask or ()) if self.sampled else 0


def leaves(nodes: Sequence[Node]) -> list[int]:
    """Places of the nodes that no other continues, one per branch.

    Where no node names a parent the trace is one chain.
    """
    inner = {node.parent for node in nodes}
    if inner == {None}:
        return [len(nodes) - 1]
    return [place for place in range(len(nodes)) if place not in inner]


def _paths(nodes: Sequence[Node]) -> list[list[int]]:
    """Places of the nodes of every branch, from root to leaf; none if they are too many to walk."""
    ends = leaves(nodes)
    if len(ends) == 1:
        return [list(range(len(nodes)))]
    size: list[int] = []
    for node in nodes:  # parents come first
        before = 0 if node.parent is None else size[node.parent]
        size.append(before + 1 + len(node.token_ids or ()))
    if sum(size[end] for end in ends) > _MOST:
        return []
    found = []
    for end in ends:
        path, at = [end], nodes[end].parent
        while at is not None:
            path.append(at)
            at = nodes[at].parent
        found.append(path[::-1])
    return found


def sampled_tokens(row: int, nodes: Sequence[Node], sink: Sink) -> dict[str, Any] | None:
    """Log-probs of all sampled nodes, in order; None when the row was rejected."""
    mu: list[float] = []
    ref: list[float] = []
    whole = True
    for place, node in enumerate(nodes):
        if node.parent is not None and not 0 <= node.parent < place:
            sink.reject(row, "parent", node.parent, f"node {place} does not come after its parent")
            return None
        count = node.count
        if not count:
            continue
        if node.logprobs is None or len(node.logprobs) != count:
            shown = f"{len(node.logprobs or ())} for {count} tokens"
            sink.reject(row, "logprobs", shown, "another length than the mask")
            return None
        mu += node.logprobs
        whole &= node.reference_logprobs is not None and len(node.reference_logprobs) == count
        ref += node.reference_logprobs or []
    tokens = {"mu": mu, "ref": ref if whole else []}
    return {name: values for name, values in tokens.items() if values}


def trained_log_probs(
    nodes: Sequence[Node], trained: Trained, step: int, matched: set[bytes]
) -> Any:
    """The trainer's log-probs of all sampled tokens, in order; None unless every branch was found.

    Of exports of one sequence at several steps the nearest to ``step`` counts.
    """
    known: dict[int, Any] = {}
    if not trained:
        return None
    counts = [node.count for node in nodes]
    for path in _paths(nodes):
        fresh = [place for place in path if counts[place] and place not in known]
        if not fresh:
            continue
        name = digest([t for place in path for t in nodes[place].token_ids or ()])
        by_step = trained.get(name)
        if by_step is None:
            return None
        matched.add(name)
        values = by_step[min(by_step, key=lambda other: abs(other - step))]
        ends = np.cumsum([counts[place] for place in fresh])
        if ends[-1] != len(values):
            return None
        known |= dict(zip(fresh, np.split(values, ends[:-1]), strict=True))
    return np.concatenate([known[place] for place in sorted(known)]) if known else None


def digest(ids: Any) -> bytes:
    """A short name of a sequence of token ids."""
    array = np.ascontiguousarray(ids, dtype=np.int64)
    return blake2b(array.tobytes(), digest_size=16).digest()
