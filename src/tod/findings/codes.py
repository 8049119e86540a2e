"""Whole numbers that stand for texts or pairs: as small ones, and each once."""

import numpy as np
from jaxtyping import Int


def bounded(codes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Codes in [0, 2N), equal where the given ones are: these themselves where they are so small.

    A product of two of them then is a whole number of 64 bits.
    """
    small = not len(codes) or (int(codes.min()) >= 0 and int(codes.max()) < 2 * len(codes))
    return codes.astype(np.int64) if small else np.unique(codes, return_inverse=True)[1]


def distinct(values: Int[np.ndarray, " N"]) -> Int[np.ndarray, " D"]:
    """Every value once, ascending; of many different ones faster than `numpy.unique`."""
    ordered = np.sort(values)
    fresh = np.ones(len(ordered), dtype=bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return ordered[fresh]


def by_appearance(codes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Codes as 0, 1, … in the order of their first appearance."""
    values, place = np.unique(codes, return_inverse=True)
    first = np.empty(len(values), dtype=np.int64)
    first[place[::-1]] = np.arange(len(codes))[::-1]  # of repeated places the last one stays
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(values))
    return rank[place]
