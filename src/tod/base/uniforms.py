"""Random numbers by counter: one uniform per (seed, step, context, candidate, position).

There is no generator state to save, and no draw depends on which other rows share its batch.
Each row is a SplitMix64 stream (Steele, Lea & Flood 2014) whose start is a hash of its address.
"""

import numpy as np
from jaxtyping import Float, Int, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: the stream's increment
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)  # Stafford's Mix13, the finaliser of SplitMix64
_MIX_2 = np.uint64(0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def row_keys(
    seed: int, step: int, contexts: Int[np.ndarray, "*n"], candidates: Int[np.ndarray, "*m"]
) -> UInt64[np.ndarray, "*r"]:
    """The key of every row's stream, from its address.

    Args:
        seed: Seed of the run; any integer, taken modulo 2^64.
        step: Step of the run.
        contexts: Number of every row's context, unique within the step.
        candidates: Number of every row within its context; [C, 1] and [K] give keys [C, K].
    """
    key = np.array([seed & _WORD], dtype=np.uint64)
    for part in (np.array([step]), np.asarray(contexts), np.asarray(candidates)):
        key = _stream(key, part.astype(np.int64).astype(np.uint64))
    return key


def uniforms(keys: UInt64[np.ndarray, "*n"], position: int) -> Float[np.ndarray, "*n"]:
    """One number in [0, 1) per row for its token at ``position``: multiples of 2^-53, float64."""
    bits = _stream(keys, np.array([position], dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _stream(key: UInt64[np.ndarray, "*n"], index: UInt64[np.ndarray, "*m"]) -> np.ndarray:
    """Output ``index`` of the SplitMix64 stream that starts at ``key``, modulo 2^64."""
    z = key + (index + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    out: np.ndarray = z ^ (z >> np.uint64(31))
    return out
