"""Log-probs of trainer and sampler for the same sampled tokens, of a world whose law is known.

A policy is logits over a small vocabulary, other ones for every token. The sampler draws by its own
law and logs the log-prob of what it drew; the trainer scores the same token.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.diagnostics import GapProfile

GapFault = Literal["top_p", "temperature", "other_prompt", "other_text", "weights", "router"]
WORDS = 24
"""Words of the vocabulary."""
ANSWERS, LENGTH = 16, 24
"""Answers of a step, and their tokens."""
ROUNDING = 0.02
"""Noise of logits between two engines that are in step."""

Logits = Float[np.ndarray, "M V"]


def profile_of(rng: np.random.Generator, fault: GapFault | None, strength: float) -> GapProfile:
    """The shape of log π_old − log μ over the tokens of one step.

    Args:
        rng: Random numbers.
        fault: What parts the sampler from the trainer; None where they are in step.
        strength: From 0, hardly a fault, to 1.
    """
    size = ANSWERS * LENGTH
    spread = rng.gamma(2.0, 1.5, (size, 1))  # some tokens are nearly certain, others open
    trainer = log_softmax(spread * rng.normal(0, 1, (size, WORDS)))
    sampler = log_softmax(trainer + rng.normal(0, ROUNDING, trainer.shape))
    if fault is not None:
        sampler = apart(rng, fault, sampler, strength)
    token = (sampler + rng.gumbel(size=sampler.shape)).argmax(axis=1)
    rows = np.arange(size)
    log_b = sampler[rows, token]
    if fault == "other_text":  # the trainer scores tokens that were never drawn from these logits
        trainer = trainer[rng.permutation(size)]
    profile = GapProfile()
    profile.add(trainer[rows, token], log_b, Groups.equal(ANSWERS, LENGTH))
    return profile


def log_softmax(logits: Logits) -> Logits:
    """Logits as log-probs."""
    top = logits.max(axis=1, keepdims=True)
    values: Logits = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return values


def apart(rng: np.random.Generator, fault: GapFault, sampler: Logits, strength: float) -> Logits:
    """The sampler's own log-probs where a fault parts it from the trainer."""
    if fault == "top_p":
        return _top_p(sampler, 0.9 - 0.2 * strength)
    if fault == "temperature":
        return log_softmax(sampler / (0.75 - 0.25 * strength))
    noise = rng.normal(0, 1, sampler.shape)
    if fault == "weights":
        return log_softmax(sampler + (0.25 + 0.5 * strength) * noise)
    if fault == "router":  # one token in five goes through other experts
        other = rng.random((len(sampler), 1)) < 0.2
        return log_softmax(sampler + other * (0.6 + 0.8 * strength) * noise)
    if fault == "other_prompt":  # a difference that fades within the first tokens of an answer
        fading = np.exp(-np.tile(np.arange(LENGTH), ANSWERS)[:, None] / 2.5)
        return log_softmax(sampler + (1.5 + 1.5 * strength) * noise * fading)
    return sampler


def _top_p(sampler: Logits, p: float) -> Logits:
    """What is left of the likeliest words that together reach p, and logged so."""
    order = np.argsort(-sampler, axis=1)
    ranked = np.exp(np.take_along_axis(sampler, order, axis=1))
    before = np.cumsum(ranked, axis=1) - ranked
    left = np.zeros_like(sampler, dtype=bool)
    np.put_along_axis(left, order, before < p, axis=1)
    return log_softmax(np.where(left, sampler, -1e9))
