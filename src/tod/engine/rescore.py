"""The probe in a run: candidates of the reference, drawn once and scored again every few steps.

They are drawn before the first update from ``ref`` where the target or an operator names it, else
from the policy, which is the reference then. A reading is of the policy before the step's updates,
like every diagnostic of the step. What it costs is in the ledger as ``probe_flops``; where no
interval is given, a reading is due as soon as everything the probe has cost, with it, is within its
share of what the run has cost. Checkpoints hold the candidates and both sums: a run that is resumed
reads at the same steps and reads the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Groups
from tod.candidates import Candidates
from tod.diagnostics import ProbeReading, read_probe
from tod.engine.collect import decoded, draw, scored
from tod.engine.costs import ModelCost
from tod.engine.data.task import Example
from tod.engine.forward.index import Index
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.session import Session
from tod.engine.settings import ProbeSettings
from tod.procedure import utility_value
from tod.runs import Ledger

PROBE_SEED = 104729
"""Seed of the probe's draws, added to the run's: they repeat no candidate of a step."""


@dataclass
class Probe:
    """Candidates of the reference with what is known of them, and what they have cost.

    Attributes:
        rollouts: Tokens as the reference drew them; ``log_mu`` is log b.
        value: Utility of every candidate that the target tilts by, per unit of sharpness, [N].
        spent: Operations of the draw and of all readings.
        run: Operations of the run without them.
    """

    rollouts: Rollouts
    value: Float[np.ndarray, " N"]
    spent: float = 0.0
    run: float = 0.0

    @property
    def log_reference(self) -> Float[np.ndarray, " N"]:
        """Log b of every candidate, nats."""
        assert self.rollouts.log_mu is not None  # noqa: S101 - drawn
        total: Any = self.rollouts.sequences.sum(self.rollouts.log_mu.astype(np.float64))
        return np.asarray(total)


def draw_probe(session: Session) -> Probe:
    """The run's probe, drawn in all processes by their share of its prompts.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit.
    """
    settings = probe_settings(session)
    examples = session.task.batch(0, settings.prompts)
    mine = session.world.share(len(examples))
    part = _drawn(session, [examples[i] for i in mine], mine) if len(mine) else None
    parts = [found for found in session.world.gather(part) if found is not None]
    probe = Probe(
        Rollouts.concatenate([rollouts for rollouts, _, _ in parts]),
        np.concatenate([value for _, value, _ in parts]),
    )
    judged = sum(judging for _, _, judging in parts)
    probe.spent = float(_cost(session).forward(Index(probe.rollouts).useful)) + judged
    return probe


@dataclass(frozen=True)
class Probed:
    """What a step did with the probe.

    Attributes:
        reading: What the policy says of the candidates; None where none was due.
        flops: Operations, at the first step those of the draw too.
    """

    reading: ProbeReading | None = None
    flops: float = 0.0


UNPROBED = Probed()


def reading(session: Session, step: int) -> Probed:
    """Score the probe under the policy where that is due at ``step`` (from 1)."""
    probe = session.probe
    if probe is None:
        return UNPROBED
    drawn = probe.spent if step == 1 else 0.0
    cost = float(_cost(session).forward(Index(probe.rollouts).useful))
    if not _due(probe_settings(session), probe, step, cost):
        return Probed(None, drawn)
    log_policy = _scored(session, probe.rollouts)
    probe.spent += cost
    contexts = probe.rollouts.contexts
    found = read_probe(probe.value, probe.log_reference, log_policy, contexts)
    return Probed(found, drawn + cost)


def account(session: Session, ledger: Ledger) -> None:
    """Add what a step cost without its probe to what the run has cost."""
    if session.probe is not None:
        session.probe.run += (ledger.flops or 0.0) - (ledger.probe_flops or 0.0)


def pack(probe: Probe) -> dict[str, np.ndarray]:
    """The probe as arrays."""
    rollouts = probe.rollouts
    return {
        "prompts": np.concatenate(rollouts.prompts).astype(np.int64),
        "lengths": np.array([len(prompt) for prompt in rollouts.prompts]),
        "contexts": rollouts.contexts.sizes.copy(),
        "sequences": rollouts.sequences.sizes.copy(),
        "ids": rollouts.ids,
        "log_mu": np.asarray(rollouts.log_mu),
        "truncated": rollouts.truncated,
        "value": probe.value,
        "cost": np.array([probe.spent, probe.run]),
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> Probe:
    """The probe of packed arrays."""
    rollouts = Rollouts(
        tuple(np.split(arrays["prompts"], np.cumsum(arrays["lengths"])[:-1])),
        Groups(arrays["contexts"]),
        Groups(arrays["sequences"]),
        arrays["ids"],
        arrays["log_mu"],
        arrays["truncated"],
    )
    spent, run = arrays["cost"].tolist()
    return Probe(rollouts, arrays["value"], spent, run)


def probe_settings(session: Session) -> ProbeSettings:
    """What the recipe says of the probe; asked only where there is one."""
    assert session.settings.probe is not None  # noqa: S101 - the caller checked
    return session.settings.probe


def _due(settings: ProbeSettings, probe: Probe, step: int, cost: float) -> bool:
    if settings.every is not None:
        return step % settings.every == 0
    return probe.spent + cost <= settings.share * probe.run


def _cost(session: Session) -> ModelCost:
    return ModelCost.of(session.policy)


def _drawn(
    session: Session, examples: Sequence[Example], numbers: Any
) -> tuple[Rollouts, Float[np.ndarray, " N"], float]:
    """Candidates of some prompts, the utility that the target tilts by, and what judges cost."""
    proposal = session.settings.operator.proposal
    params = SamplingParams(
        max_new_tokens=proposal.max_new_tokens, temperature=proposal.scoring_temperature
    )
    model = session.frozen.get("ref", session.policy)
    size, seed = probe_settings(session).size, session.settings.seed + PROBE_SEED
    rollouts = draw(session, model, examples, size, 0, numbers, params=params, seed=seed)
    utility, judged = scored(session, examples, rollouts, decoded(session, rollouts))
    value = utility_value(session.settings.target.target, Candidates(rollouts.contexts, utility))
    models = {name: ModelCost.of(session.frozen[name]) for name in judged}
    work = sum(models[name].forward(work) for name, work in judged.items())
    return rollouts, np.asarray(value, dtype=np.float64), float(work)


def _scored(session: Session, rollouts: Rollouts) -> Float[np.ndarray, " N"]:
    """Log π of every candidate, each process scoring its share of the prompts."""
    mine = session.world.share(len(rollouts.contexts))
    own = np.zeros(0)
    if len(mine):
        part = rollouts.take(mine)
        temperature = session.settings.operator.proposal.scoring_temperature
        by_token, _ = scored_log_probs(session.policy, part, temperature)
        total: Any = part.sequences.sum(by_token)
        own = np.asarray(total)
    return np.concatenate(session.world.gather(own))
