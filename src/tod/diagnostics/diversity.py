"""How different a context's candidates are from each other."""

import math
from collections import Counter

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups

__all__ = ["distinct_n", "self_bleu", "unique_answers"]


def distinct_n(
    ids: Int[np.ndarray, " M"], sequences: Groups, contexts: Groups, n: int = 2
) -> Float[np.ndarray, " C"]:
    """Unique n-grams over all n-grams, pooled over the candidates of a context; in (0, 1].

    n-grams never cross sequences; NaN where no sequence holds n tokens. Pooling is not the average
    over candidates: repetition between candidates counts.

    Raises:
        DataError: n < 1.

    Source: Li et al. 2016 (equation distinct-n)
    """
    if n < 1:
        raise DataError(f"n={n}: an n-gram holds at least one token.")
    room = np.repeat(sequences.sizes, sequences.sizes) - sequences.position
    starts = np.flatnonzero(room >= n)
    codes = np.unique(np.asarray(ids), return_inverse=True)[1].astype(np.int64)
    span = int(codes.max(initial=0)) + 1
    gram = np.zeros(len(starts), dtype=np.int64)
    for j in range(n):  # renumbered after every token, so that codes never overflow
        gram = np.unique(gram * span + codes[starts + j], return_inverse=True)[1].astype(np.int64)
    context = contexts.owner[sequences.owner[starts]]
    pairs = np.unique(context * (int(gram.max(initial=0)) + 1) + gram)
    unique = np.bincount(pairs // (int(gram.max(initial=0)) + 1), minlength=len(contexts))
    total = np.bincount(context, minlength=len(contexts))
    return np.divide(unique, total, out=np.full(len(contexts), np.nan), where=total > 0)  # type: ignore[no-any-return]


def unique_answers(answers: Int[np.ndarray, " N"], contexts: Groups) -> Float[np.ndarray, " C"]:
    """Distinct answers over candidates, in [1/K, 1]."""
    codes = np.unique(np.asarray(answers), return_inverse=True)[1].astype(np.int64)
    span = int(codes.max(initial=0)) + 1
    pairs = np.unique(contexts.owner * span + codes)
    return np.bincount(pairs // span, minlength=len(contexts)) / contexts.sizes  # type: ignore[no-any-return]


def self_bleu(
    ids: Int[np.ndarray, " M"], sequences: Groups, contexts: Groups, n: int = 4
) -> Float[np.ndarray, " C"]:
    """Mean over a context's candidates of BLEU(y_i | the others), in [0, 1]; NaN for a singleton.

    BLEU = BP·exp(mean_{j≤J} ln p_j), p_j the share of y_i's j-grams that occur in another candidate
    (each at most as often as in the one that has most), BP = exp(min(0, 1 − r/|y_i|)) with r the
    length nearest to |y_i| among the others (the shorter on a tie), J = min(n, |y_i|). Unsmoothed:
    0 where some p_j is 0, and for an empty candidate. 1: all candidates are equal. Source: Papineni
    et al. 2002, section 2; self-BLEU: arXiv 1802.01886 (equation self-bleu)

    Raises:
        DataError: n < 1.
    """
    if n < 1:
        raise DataError(f"n={n}: an n-gram holds at least one token.")
    split = sequences.split(np.asarray(ids))
    bleu = np.full(len(contexts), np.nan)
    for place, members in enumerate(contexts.split(np.arange(len(sequences)))):
        if len(members) > 1:
            bleu[place] = np.mean(_bleu_of_each([split[i] for i in members], n))
    return bleu


def _bleu_of_each(texts: list[list[int]], n: int) -> list[float]:
    """BLEU of every candidate against all others."""
    logs: list[list[float]] = [[] for _ in texts]
    for j in range(1, n + 1):
        counts = [Counter(zip(*(text[s:] for s in range(j)), strict=False)) for text in texts]
        most = _two_largest(counts)
        for own, seen in zip(logs, counts, strict=True):
            total = seen.total()
            if total:
                hits = sum(min(c, most[g][c == most[g][0]]) for g, c in seen.items())
                own.append(math.log(hits / total) if hits else -math.inf)
    sizes = [len(text) for text in texts]
    return [
        math.exp(_brevity(i, sizes) + sum(own) / len(own)) if own else 0.0
        for i, own in enumerate(logs)
    ]


def _two_largest(counts: list[Counter[tuple[int, ...]]]) -> dict[tuple[int, ...], list[int]]:
    """Largest and second largest count of every n-gram over the candidates."""
    most: dict[tuple[int, ...], list[int]] = {}
    for seen in counts:
        for gram, count in seen.items():
            pair = most.setdefault(gram, [0, 0])
            pair[:] = sorted((*pair, count), reverse=True)[:2]
    return most


def _brevity(i: int, sizes: list[int]) -> float:
    """Log of the brevity penalty of candidate i."""
    own = sizes[i]
    others = sizes[:i] + sizes[i + 1 :]
    nearest = min(others, key=lambda size: (abs(size - own), size))
    return min(0.0, 1 - nearest / own)
