"""Answers of completions as votes count them, and how alike two completions are."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from tod.base import Groups, SpecError, to_numpy
from tod.operators.selection import Ballots

if TYPE_CHECKING:
    import polars as pl

_BOXED = "\\boxed{"
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""What ``str.strip`` removes."""


def answer(completion: str, pattern: str | None = None) -> str | None:
    r"""The answer of a completion, blanks at its ends removed; None where there is none.

    Args:
        completion: Its text.
        pattern: Regular expression; its last match counts, or the first group of it. None takes
            the last ``<answer>…</answer>``, else the last ``\boxed{…}``, else the whole text.
    """
    if pattern is not None:
        found = list(re.finditer(pattern, completion))
        text = "" if not found else (found[-1].group(1 if found[-1].re.groups else 0) or "")
    elif "<answer>" not in completion and _BOXED not in completion:
        text = completion
    else:
        tagged = tagged_answer(completion)
        boxed = _boxed(completion) if tagged is None else tagged
        text = completion if boxed is None else boxed
    return text.strip() or None


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression.

    Raises:
        SpecError: With the place.
    """
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SpecError(
            f"--answer {pattern[:60]!r}: no regular expression ({error}). Put a backslash before "
            "what stands for itself."
        ) from None


def tagged_answer(completion: str) -> str | None:
    """What stands in the last ``<answer>…</answer>`` of a completion, None without one."""
    if "<answer>" not in completion:
        return None
    return completion.rpartition("<answer>")[2].partition("</answer>")[0]


def answers_of(texts: "pl.Series", pattern: str | None) -> "pl.Series":
    """`answer` of a column of completions, null where there is none."""
    import polars as pl

    marked = pl.Series([True]) if pattern is not None else None
    if marked is None:
        marked = texts.str.contains_any(["<answer>", _BOXED]).fill_null(False)
    if not marked.any():
        stripped = texts.str.strip_chars(_BLANKS)
        return stripped.set(stripped == "", None)
    found = [None if text is None else answer(text, pattern) for text in texts.to_list()]
    return pl.Series(found, dtype=pl.String)


def answer_codes(answers: Sequence[str | None]) -> Int[np.ndarray, " N"]:
    """Codes of the answers, equal for equal text, −1 for none."""
    codes = {text: code for code, text in enumerate(dict.fromkeys(a for a in answers if a))}
    return np.array([-1 if a is None else codes[a] for a in answers], dtype=np.int64)


def local_codes(codes: Int[np.ndarray, " N"], contexts: Groups) -> Int[np.ndarray, " N"]:
    """The same numbered 0, 1, … in every context, −1 for none: small, so that votes need no sort.

    Args:
        codes: Equal for equal answers, negative for none.
        contexts: Candidates in contexts.
    """
    ballots = Ballots.of(codes, contexts)
    first = contexts.spread(to_numpy(contexts.min(ballots.number)))
    return np.where(ballots.known, ballots.number - first, -1)


def _boxed(completion: str) -> str | None:
    r"""What stands in the last ``\boxed{…}``, braces inside it matched."""
    start = completion.rfind(_BOXED)
    if start < 0:
        return None
    depth, begin = 1, start + len(_BOXED)
    for place in range(begin, len(completion)):
        depth += {"{": 1, "}": -1}.get(completion[place], 0)
        if depth == 0:
            return completion[begin:place]
    return None


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
