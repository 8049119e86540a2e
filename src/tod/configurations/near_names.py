"""The nearest of many names, as `difflib.get_close_matches` has it, without trying each in full."""

from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["closest"]


def closest(name: str, known: Iterable[str], cutoff: float) -> str:
    """The name of the largest ratio 2M/T to ``name`` from ``cutoff`` on; empty if there is none.

    M characters match, in order, of T in both: M is at most the longest common subsequence, which
    costs a hundredth of the ratio and leaves few names to try.

    Args:
        name: What is looked for.
        known: Names; of two equally near ones the later in order of letters.
        cutoff: Least ratio, in [0, 1].
    """
    places: dict[str, int] = {}
    for place, letter in enumerate(name):
        places[letter] = places.get(letter, 0) | (1 << place)
    matcher = SequenceMatcher()
    matcher.set_seq2(name)
    best, nearest = cutoff, ""
    for other in known:
        total = len(name) + len(other)
        if 2 * min(len(name), len(other)) < best * total:
            continue
        if 2 * _common(other, places, len(name)) < best * total:
            continue
        matcher.set_seq1(other)
        ratio = matcher.ratio()
        if (ratio, other) > (best, nearest) or (ratio == best and not nearest):
            best, nearest = ratio, other
    return nearest


def _common(other: str, places: dict[str, int], length: int) -> int:
    """Length of the longest common subsequence, a letter of ``other`` at a time over all bits.

    Args:
        other: One text.
        places: Of the other text, every letter's places as bits.
        length: Of that text.
    """
    ones = (1 << length) - 1
    row = ones
    for letter in other:
        meets = row & places.get(letter, 0)
        row = ((row + meets) | (row - meets)) & ones
    return length - row.bit_count()
