"""Sampling candidates: exact log μ, counter-based random numbers, no batch-size dependence."""

from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.processors import draw, processed_log_probs
from tod.engine.sampling.sampler import sample
from tod.engine.sampling.sampler_path import sampler_path
from tod.engine.sampling.uniforms import row_keys, uniforms

__all__ = [
    "SamplingParams",
    "draw",
    "processed_log_probs",
    "row_keys",
    "sample",
    "sampler_path",
    "uniforms",
]
