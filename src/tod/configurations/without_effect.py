"""Settings that have no effect where they stand, or are off by orders for what they act on."""

from collections.abc import Iterator
from dataclasses import dataclass

import tod.operators as op
from tod.atlas.effects import ratio_is_one
from tod.configurations.framework import Computed, Settings
from tod.configurations.rules import equals
from tod.procedure import Procedure

__all__ = ["NoEffect", "without_effect"]

WIDE_FOR_SEQUENCES = 0.01
"""Half-width of a clip from which on it never binds on a geometric mean over a sequence: its
logarithm is a mean of L token log-ratios, a √L-th to an L-th of a token's own."""


@dataclass(frozen=True)
class NoEffect:
    """A setting that changes nothing here.

    Attributes:
        setting: As its framework spells it, with its value.
        why: The condition under which that holds.
    """

    setting: str
    why: str


def without_effect(
    s: Settings, procedure: Procedure | None, updates: int | None, clip: str
) -> tuple[NoEffect, ...]:
    """Everything in a file that changes nothing; what hangs on an unresolved setting is left out.

    Args:
        s: The settings.
        procedure: The triple that they make; None where the action has no composition here.
        updates: Optimiser steps on every batch; None: not known.
        clip: How the framework spells the width of the trust region; empty: it has none, or its
            ratio is to the sampler's own log-probs.
    """
    return tuple(dict.fromkeys([*_recorded(s), *_of_clip(s, procedure, updates, clip)]))


def _recorded(s: Settings) -> Iterator[NoEffect]:
    """What the framework's facts say of the settings that the file writes."""
    for name, rule in s.facts.idle.get(s.method, {}).items():
        if name not in s.given or isinstance(s.given[name], Computed):
            continue
        for other, values in rule.at.items():
            if _certain(s, other) and any(equals(s[other], value) for value in values):
                why = rule.why or "{name} is {value}"
                shown = why.format(name=other.rpartition(".")[2], value=s[other])
                yield NoEffect(s.said(name), shown)
                break


def _of_clip(
    s: Settings, procedure: Procedure | None, updates: int | None, clip: str
) -> Iterator[NoEffect]:
    """A trust region on a ratio of 1, or of a token's width on a sequence's mean."""
    action = None if procedure is None else procedure.operator.action
    if procedure is None or not isinstance(action, op.PolicyGradient) or not clip or s.computed:
        return
    region = action.trust_region
    constant = isinstance(region, op.Truncate) and region.cap == region.floor
    if isinstance(region, op.Unbounded) or constant:
        return
    if ratio_is_one(procedure, updates):
        yield NoEffect(clip, "one update a batch: the ratio is 1 when the trust region looks")
    elif action.level == "sequence_mean" and getattr(region, "high", 0.0) > WIDE_FOR_SEQUENCES:
        yield NoEffect(
            clip,
            "a token's width on the geometric mean over a sequence: it never binds; 3e-4 to 4e-4 "
            "is usual",
        )


def _certain(s: Settings, name: str) -> bool:
    """Whether the value in force is known: written, or the default with nothing unresolved."""
    if name in s.given:
        return not isinstance(s.given[name], Computed)
    return name in s.defaults and not any(other.startswith("**") for other in s.computed)
