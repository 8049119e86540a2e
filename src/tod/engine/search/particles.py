"""Answers of a search that are drawn together: the twist asked, and what the record says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import UtilityError, to_numpy
from tod.engine.collect import NOTHING, BatchEvidence, decoded, read, scored_evidence
from tod.engine.costs import ForwardWork
from tod.engine.data.task import Example
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.particles import ParticleDraws, sample_particles
from tod.engine.session import Session
from tod.operators import ModelTwist, SequentialMonteCarlo, UtilityTwist


@dataclass
class TwistAsked:
    """The twist of a batch as the sampler asks it, and what asking computed.

    Attributes:
        session: The models and the rewards.
        examples: The prompts' rows.
        rule: The action.
        evaluations: Unfinished answers that were weighed.
        work: What the guide computed.
    """

    session: Session
    examples: list[Example]
    rule: SequentialMonteCarlo
    evaluations: int = 0
    work: ForwardWork = field(default=NOTHING)

    def __call__(
        self, rollouts: Rollouts, places: Int[np.ndarray, " c"]
    ) -> Float[np.ndarray, " n"]:
        """Log ψ of unfinished answers, [n], nats.

        Raises:
            UtilityError: The reward has no number for one.
        """
        self.evaluations += len(rollouts.sequences)
        twist = self.rule.twist
        if isinstance(twist, ModelTwist):
            temperature = self.session.operator.proposal.scoring_temperature
            guide = self.session.frozen[twist.guide]
            log_prob, work = scored_log_probs(guide, rollouts, temperature)
            self.work += work
            gap: Any = rollouts.sequences.sum(log_prob - rollouts.log_mu)
            return np.asarray(twist.eta * gap)
        assert isinstance(twist, UtilityTwist)  # noqa: S101 - without a twist nothing is asked
        examples = [self.examples[int(i)] for i in places]
        values = read(self.session, examples, rollouts, decoded(self.session, rollouts))
        value = np.asarray(values[twist.utility], dtype=np.float64)
        if not np.isfinite(value).all():
            raise UtilityError(
                f"the twist asks reward {twist.utility!r} of unfinished answers, and it has no "
                "number for one of them: return a finite number for every text."
            )
        return np.asarray(twist.eta * value)


def together(session: Session, examples: list[Example], numbers: Any, step: int) -> BatchEvidence:
    """Particles of some examples, with the density that resampling left them, and their scores.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit.
        ModelError: The model's cache cannot be permuted.
    """
    rule, size = session.operator.action, session.operator.proposal.size
    assert isinstance(rule, SequentialMonteCarlo)  # noqa: S101 - asked only of such actions
    asked = TwistAsked(session, examples, rule)
    draws = sample_particles(
        session.sampler,
        session.prompts(examples),
        size,
        rule,
        asked,
        params=session.params,
        pad_id=session.pad_id,
        eos_ids=session.stop_ids,
        seed=session.settings.seed,
        step=step,
        context_ids=np.asarray(numbers),
    )
    evidence = scored_evidence(session, examples, draws.rollouts)
    log_mu, lowered = after_resampling(draws)
    lost = draws.drawn - draws.rollouts.sequences.total
    work = dict(evidence.work)
    if rule.guide is not None:
        work[rule.guide] = work.get(rule.guide, NOTHING) + asked.work
    every = rule.every * (1 + np.arange(len(draws.ess_rel)))
    seen = {f"ess_rel.{t}": values for t, values in zip(every, draws.ess_rel, strict=True)}
    share = np.full(len(examples), asked.evaluations / len(examples))
    return replace(
        evidence,
        rollouts=replace(draws.rollouts, log_mu=None),
        log_mu=log_mu,
        work=work,
        dropped=ForwardWork(lost, 0, lost),
        particles={
            "resamplings": draws.resampled.astype(np.float64),
            "twist_evaluations": share,
            "lowered": lowered,
            **seen,
        },
    )


def after_resampling(
    draws: ParticleDraws,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " C"]]:
    """Log μ of every particle after the last resampling, [N], and by how much it was lowered, [C].

    γ_s·μ(rest)/Ẑ_s is a density up to the error of Ẑ_s, so that an estimate may exceed 1. Where
    one does, all of its prompt are lowered alike until the largest is 0: weights within the prompt
    stay as they are, and the record's log Ẑ adds the difference back.
    """
    rollouts = draws.rollouts
    assert rollouts.log_mu is not None  # noqa: S101 - the sampler tells it
    told: Any = rollouts.sequences.sum(rollouts.log_mu.astype(np.float64))
    log_mu = told + draws.log_gain
    lowered = np.maximum(to_numpy(rollouts.contexts.max(log_mu)), 0.0)
    return np.minimum(log_mu - rollouts.contexts.spread(lowered), 0.0), lowered


def particle_statistics(
    evidence: BatchEvidence, log_w: Float[np.ndarray, " N"]
) -> dict[str, float | None]:
    """What a record says of the particles of a batch; nothing where there are none.

    ``smc.log_z`` is the mean over prompts of log Ẑ = LSE(log w) − log K, ``smc.log_z_se`` its
    standard error over prompts (None of one prompt), ``smc.resamplings`` a prompt's mean number,
    ``smc.ess_rel.T`` the median over prompts after T tokens, before resampling;
    ``smc.twist_evaluations`` how many unfinished answers were weighed in all.
    """
    seen: Mapping[str, Any] | None = evidence.particles
    if seen is None:
        return {}
    contexts = evidence.rollouts.contexts
    log_z = to_numpy(contexts.logsumexp(log_w)) - np.log(contexts.sizes) - seen["lowered"]
    finite = log_z[np.isfinite(log_z)]
    found: dict[str, float | None] = {
        "smc.log_z": float(finite.mean()) if len(finite) == len(log_z) else None,
        "smc.log_z_se": float(finite.std(ddof=1) / len(finite) ** 0.5)
        if len(finite) == len(log_z) > 1
        else None,
        "smc.resamplings": float(seen["resamplings"].mean()),
        "smc.twist_evaluations": float(seen["twist_evaluations"].sum()),
    }
    for name in (name for name in seen if name.startswith("ess_rel.")):
        known = seen[name][~np.isnan(seen[name])]
        found[f"smc.{name}"] = float(np.median(known)) if len(known) else None
    return found
