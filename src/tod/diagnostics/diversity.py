"""How different a context's candidates are from each other."""

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups


def distinct_n(
    ids: Int[np.ndarray, " M"], sequences: Groups, contexts: Groups, n: int = 2
) -> Float[np.ndarray, " C"]:
    """Unique n-grams over all n-grams, pooled over the candidates of a context; in (0, 1].

    n-grams never cross sequences; NaN where no sequence holds n tokens. Pooling is not the average
    over candidates: repetition between candidates counts.

    Raises:
        DataError: n < 1.
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
