"""How alike two completions are: the gain G of minimum Bayes risk."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

Similarity = Literal["token_f1", "exact"]
_PARTS = re.compile(r"\w+|[^\w\s]")


def similarity(texts: Sequence[str], kind: Similarity) -> Float[np.ndarray, "K K"]:
    """G(y_i, y_j) of all pairs, symmetric, in [0, 1], 1 on the diagonal.

    ``token_f1``: 2·|A ∩ B| / (|A| + |B|) of the multisets A, B of words and single signs; two
    texts without any are equal. ``exact``: 1 for the same text.
    """
    if kind == "exact":
        codes = np.unique(np.array(texts, dtype=np.str_), return_inverse=True)[1]
        same: Float[np.ndarray, "K K"] = (codes[:, None] == codes[None, :]).astype(np.float64)
        return same
    bags = [Counter(_PARTS.findall(text)) for text in texts]
    place = {part: i for i, part in enumerate(dict.fromkeys(p for bag in bags for p in bag))}
    counts = np.zeros((len(texts), len(place)))
    for row, bag in enumerate(bags):
        for part, count in bag.items():
            counts[row, place[part]] = count
    shared = np.stack([np.minimum(row, counts).sum(axis=1) for row in counts])
    size = counts.sum(axis=1)
    both = size[:, None] + size[None, :]
    return np.where(both == 0, 1.0, 2 * shared / np.where(both == 0, 1.0, both))
