"""Fresh contexts beside earlier ones, which keep the log μ they were drawn with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from tod.base import Groups
from tod.base.uniforms import row_keys, uniforms
from tod.engine.collect import NOTHING, BatchEvidence, decoded, drawn, everywhere, joined
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session
from tod.operators import ReplayProposal

REPLAY_SEED = 15_485_863
"""Added to the run's seed: which contexts are replayed."""


@dataclass(frozen=True)
class Buffer:
    """Contexts of earlier steps.

    Attributes:
        evidence: Theirs, oldest first.
        step: Step in which every context was drawn, [C].
        place: Its number among the prompts of that step, [C].
    """

    evidence: BatchEvidence
    step: Int[np.ndarray, " C"]
    place: Int[np.ndarray, " C"]

    def extended(self, other: "Buffer", capacity: int) -> "Buffer":
        """With further contexts, the oldest ones dropped."""
        steps = np.concatenate([self.step, other.step])
        places = np.concatenate([self.place, other.place])
        kept = np.arange(max(0, len(steps) - capacity), len(steps))
        whole = joined([self.evidence, other.evidence])
        return Buffer(whole.take(kept), steps[kept], places[kept])


def replay(session: Session, step: int, spec: ReplayProposal) -> BatchEvidence:
    """``fresh`` new contexts and, once there are some, earlier ones up to ``prompts`` in all.

    ``old`` is the policy that drew a context: log μ itself, so that trust regions and weights
    compare with what truly sampled. Which contexts are replayed follows from (seed, step).
    """
    examples = session.task.batch(step - 1, spec.drawn)
    new = everywhere(session, examples, lambda mine, numbers: drawn(session, mine, numbers, step))
    new = _with_old(new)
    fresh = Buffer(
        replace(new, work=dict.fromkeys(new.work, NOTHING)),
        np.full(spec.drawn, step),
        np.arange(spec.drawn),
    )
    earlier = session.buffer
    if earlier is None:
        session.buffer = fresh
        return new
    count = min(spec.prompts - spec.drawn, len(earlier.step))
    session.buffer = earlier.extended(fresh, spec.capacity)
    if not count:
        return new
    keys = row_keys(session.settings.train.seed + REPLAY_SEED, step, earlier.step, earlier.place)
    chosen = np.sort(np.argsort(uniforms(keys, 0), kind="stable")[:count])
    return joined([new, earlier.evidence.take(chosen)])


def pack(buffer: Buffer) -> dict[str, np.ndarray]:
    """The buffer as arrays; prompts, rows and texts follow from their addresses and tokens."""
    rollouts, evidence = buffer.evidence.rollouts, buffer.evidence
    assert rollouts.log_mu is not None  # noqa: S101 - drawn, never greedy
    return {
        "step": buffer.step,
        "place": buffer.place,
        "contexts": rollouts.contexts.sizes.copy(),
        "sequences": rollouts.sequences.sizes.copy(),
        "ids": rollouts.ids,
        "log_mu": rollouts.log_mu,
        "truncated": rollouts.truncated,
        **({} if rollouts.version is None else {"version": rollouts.version}),
        **{f"utility/{name}": values for name, values in evidence.utility.items()},
        **{f"anchor/{name}": values for name, values in evidence.anchors.items()},
    }


def unpack(session: Session, arrays: Mapping[str, np.ndarray]) -> Buffer:
    """The buffer of packed arrays."""
    spec = session.operator.proposal
    assert isinstance(spec, ReplayProposal)  # noqa: S101 - no other proposal packs
    batches = {
        step: session.task.batch(step - 1, spec.drawn) for step in {int(s) for s in arrays["step"]}
    }
    examples = tuple(
        batches[int(step)][int(place)]
        for step, place in zip(arrays["step"], arrays["place"], strict=True)
    )
    rollouts = Rollouts(
        prompts=tuple(session.prompts(examples)),
        contexts=Groups(arrays["contexts"]),
        sequences=Groups(arrays["sequences"]),
        ids=arrays["ids"],
        log_mu=arrays["log_mu"],
        truncated=arrays["truncated"],
        version=arrays.get("version"),
    )
    named = {
        part: {
            name.removeprefix(part + "/"): values
            for name, values in arrays.items()
            if name.startswith(part + "/")
        }
        for part in ("utility", "anchor")
    }
    evidence = BatchEvidence(
        rollouts,
        examples,
        decoded(session, rollouts),
        named["utility"],
        named["anchor"],
        {name: NOTHING for name in named["anchor"] if name != "old"},
    )
    return Buffer(evidence, arrays["step"], arrays["place"])


def _with_old(evidence: BatchEvidence) -> BatchEvidence:
    log_mu = evidence.rollouts.log_mu
    assert log_mu is not None  # noqa: S101 - drawn, never greedy
    work = {name: work for name, work in evidence.work.items() if name != "old"}
    found = evidence.with_anchors(old=log_mu.astype(np.float64))
    return replace(found, work=work)
