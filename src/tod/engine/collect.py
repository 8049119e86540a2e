"""One batch of evidence: prompts, candidates, utilities, anchors' log-probs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import UtilityError
from tod.base.rows import chained, picked
from tod.base.text import distinct
from tod.candidates import Candidates, Labels, Tokens
from tod.engine.costs import ForwardWork
from tod.engine.data.prompts import prompt_text
from tod.engine.data.task import Example
from tod.engine.forward.index import Index
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample
from tod.engine.session import Session
from tod.engine.utilities.utility_specs import CustomUtility, OverlongUtility

Values = Float[np.ndarray, " _"]
NOTHING = ForwardWork(0, 0, 0)
READ_IDS = (CustomUtility, OverlongUtility)
"""Utilities that read token ids."""


@dataclass(frozen=True)
class BatchEvidence:
    """A batch before any update: what every process knows of all its contexts.

    Attributes:
        rollouts: Tokens as drawn.
        examples: The prompts' rows, [C].
        completions: Decoded completions, [N].
        utility: Utilities by name, [N].
        anchors: Token log-probs by name, [M]; ``old`` joins when the policy has been forwarded.
        work: What scoring computed, by model name; ``utility.NAME`` is that utility's model.
        semantics: Whether candidates are draws of μ or a fixed set.
        log_mu: log μ of every candidate, [N], where it is known but not by token.
        drawn: Contexts that were drawn to get these, where some were dropped.
        dropped: What drawing dropped contexts and candidates computed.
        unjudged: Candidates that were left out because no server judged them.
        judged: Candidates that servers judged, those of dropped contexts too.
        particles: What drawing answers together told of every context, by name, [C] each; None
            where each was drawn by itself.
    """

    rollouts: Rollouts
    examples: tuple[Example, ...]
    completions: tuple[str, ...]
    utility: Mapping[str, Values]
    anchors: Mapping[str, Values]
    work: Mapping[str, ForwardWork]
    semantics: Literal["sampled", "fixed"] = "sampled"
    log_mu: Values | None = None
    drawn: int | None = None
    dropped: ForwardWork = NOTHING
    unjudged: int = 0
    judged: int = 0
    particles: Mapping[str, Values] | None = None

    def candidates(self, tokenizer: Any = None) -> Candidates:
        """The batch as the theory sees it; with its texts when a tokenizer is given."""
        rollouts = self.rollouts
        sums = {name: rollouts.sequences.sum(values) for name, values in self.anchors.items()}
        log_mu = None if rollouts.log_mu is None else rollouts.log_mu.astype(np.float64)
        log_mu_sum = self.log_mu if log_mu is None else rollouts.sequences.sum(log_mu)
        labels = Labels(
            context=distinct(example.id for example in self.examples),  # a small task repeats
            length=rollouts.sequences.sizes,
            answer=np.unique(np.array(self.completions, dtype=np.str_), return_inverse=True)[1],
            prompt=None
            if tokenizer is None
            else tuple(prompt_text(e.prompt, tokenizer) for e in self.examples),
            completion=None if tokenizer is None else self.completions,
        )
        return Candidates(
            contexts=rollouts.contexts,
            utility=self.utility,
            log_mu=log_mu_sum,
            log_anchor=sums,
            semantics=self.semantics,
            tokens=Tokens(rollouts.sequences, log_mu, self.anchors, rollouts.ids),
            labels=labels,
        )

    def with_anchors(self, **anchors: Values) -> "BatchEvidence":
        """With further token log-probs."""
        return replace(self, anchors={**self.anchors, **anchors})

    def take(self, chosen: Int[np.ndarray, " c"]) -> "BatchEvidence":
        """The chosen contexts, whole, in that order; what scoring computed stays."""
        _, rows = self.rollouts.contexts.take(chosen)
        _, tokens = self.rollouts.sequences.take(rows)
        return replace(
            self,
            rollouts=self.rollouts.take(chosen),
            examples=picked(self.examples, chosen),
            completions=picked(self.completions, rows),
            utility=picked(self.utility, rows),
            anchors=picked(self.anchors, tokens),
            log_mu=picked(self.log_mu, rows),
            particles=picked(self.particles, chosen),
        )


def collect(session: Session, step: int) -> BatchEvidence:
    """Draw and score the batch of ``step``: each process its share, then all hold all of it.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit.
    """
    examples = session.task.batch(step - 1, session.operator.proposal.prompts)
    return judged_or_error(
        session,
        everywhere(session, examples, lambda mine, numbers: drawn(session, mine, numbers, step)),
    )


def everywhere(
    session: Session,
    examples: Sequence[Example],
    make: Callable[[list[Example], Int[np.ndarray, " c"]], BatchEvidence],
) -> BatchEvidence:
    """The evidence of all examples, ``make`` asked in every process for its share of them."""
    mine = session.world.share(len(examples))
    part = make([examples[i] for i in mine], mine) if len(mine) else None
    return joined([found for found in session.world.gather(part) if found is not None])


def draw(
    session: Session,
    model: Any,
    examples: Sequence[Example],
    size: int,
    step: int,
    numbers: Any,
    *,
    params: SamplingParams | None = None,
    seed: int | None = None,
) -> Rollouts:
    """Sample ``size`` candidates of each example, as the run's proposal does where nothing is said.

    Where the policy is served the servers draw what the policy or its lagging copy would draw.

    Args:
        session: The run.
        model: What samples.
        examples: The prompts' rows.
        size: K.
        step: Step of the run.
        numbers: Number of every example in the step.
        params: How tokens are drawn.
        seed: Seed of the draws.
    """
    asked = {
        "params": params or session.params,
        "eos_ids": session.stop_ids,
        "seed": session.settings.seed if seed is None else seed,
        "step": step,
        "context_ids": numbers,
    }
    prompts = session.prompts(examples)
    if session.served is not None and model in (session.policy, session.behaviour):
        return session.served.sample(prompts, size, **asked)
    return sample(model, prompts, size, pad_id=session.pad_id, **asked)


def decoded(session: Session, rollouts: Rollouts) -> tuple[str, ...]:
    """Text of every completion as its tokens spell it, special tokens left out."""
    rows = rollouts.sequences.split(rollouts.ids)
    return tuple(session.tokenizer.batch_decode(rows, skip_special_tokens=True))


def scored(
    session: Session, examples: Sequence[Example], rollouts: Rollouts, completions: Sequence[str]
) -> tuple[dict[str, Values], dict[str, ForwardWork]]:
    """Every utility of every candidate, [N] each, and what its models computed."""
    found = read(session, examples, rollouts, completions)
    work: dict[str, ForwardWork] = {}
    for name in session.settings.judges:
        log_prob, work[name] = scored_log_probs(session.frozen[name], rollouts)
        total: Any = rollouts.sequences.sum(log_prob)
        found[name.removeprefix("utility.")] = total
    if session.judges is not None:
        rows = judged_rows(session, examples, rollouts, completions)
        found |= {spec.name: session.judges.score(spec, rows) for spec in session.judges.specs}
    return found, work


def judged_rows(
    session: Session, examples: Sequence[Example], rollouts: Rollouts, completions: Sequence[str]
) -> list[dict[str, Any]]:
    """What a judge's question may name of every candidate: its row, its prompt, its completion."""
    texts = [prompt_text(example.prompt, session.tokenizer) for example in examples]
    return [
        {**examples[int(c)].columns, "prompt": texts[int(c)], "completion": text}
        for c, text in zip(rollouts.contexts.owner, completions, strict=True)
    ]


def read(
    session: Session, examples: Sequence[Example], rollouts: Rollouts, completions: Sequence[str]
) -> dict[str, Values]:
    """Every utility that is read off the text, of every candidate, [N] each."""
    rows = [examples[int(c)] for c in rollouts.contexts.owner]
    wanted = any(isinstance(spec, READ_IDS) for spec in session.settings.utilities)
    ids = rollouts.sequences.split(rollouts.ids) if wanted else None
    return session.scorer.score(rows, completions, ids)


def drawn(session: Session, examples: list[Example], numbers: Any, step: int) -> BatchEvidence:
    """Draw candidates of some examples from the proposal's one model, and score them."""
    size = session.operator.proposal.size
    rollouts = draw(session, session.sampler, examples, size, step, numbers)
    return scored_evidence(session, examples, rollouts)


def scored_evidence(
    session: Session, examples: Sequence[Example], rollouts: Rollouts
) -> BatchEvidence:
    """Candidates with their texts, their utilities and their anchors' log-probs.

    What no server judges is NaN; it is left out when all processes have their share.
    """
    completions = decoded(session, rollouts)
    utility, judged = scored(session, examples, rollouts, completions)
    anchors, work = anchors_of(session, rollouts)
    return BatchEvidence(rollouts, tuple(examples), completions, utility, anchors, work | judged)


def judged_or_error(session: Session, evidence: BatchEvidence) -> BatchEvidence:
    """The candidates of a whole step that every judge judged; the same in all processes.

    Raises:
        UtilityError: There are none, or none of a prompt of a search.
    """
    if not session.settings.asked:
        return evidence
    known = judged_by_all(session, evidence)
    contexts = evidence.rollouts.contexts
    counts = np.bincount(contexts.owner[known], minlength=len(contexts))
    if known.any() and (counts.all() or not session.settings.selects):
        return only_judged(session, evidence)
    reasons = [] if session.judges is None else session.world.gather(dict(session.judges.why))
    why = " ".join(text for told in reasons[::-1] for text in told.values())
    if not known.any():
        raise UtilityError(
            f"none of {len(known)} rollouts could be judged by all of "
            f"{', '.join(spec.name for spec in session.settings.asked)}. {why} "
            "Look at their servers, or at `question`."
        )
    raise UtilityError(
        f"no rollout of prompt {evidence.examples[int(np.argmin(counts))].id} could be judged, so "
        f"none can be selected. {why} Go on with --resume when the server answers."
    )


def judged_by_all(session: Session, evidence: BatchEvidence) -> Bool[np.ndarray, " N"]:
    """Of every candidate whether all judges judged it."""
    values = [evidence.utility[spec.name] for spec in session.settings.asked]
    known = np.ones(len(evidence.completions), dtype=bool)
    return known & ~np.any([np.isnan(v) for v in values], axis=0) if values else known


def only_judged(session: Session, evidence: BatchEvidence) -> BatchEvidence:
    """Without the candidates that a judge did not judge, and the contexts that have no other.

    What drawing them computed stays among the work, as dropped.
    """
    if not session.settings.asked:
        return evidence
    known, before = judged_by_all(session, evidence), evidence.rollouts
    rows = np.flatnonzero(known)
    counts = np.bincount(before.contexts.owner[rows], minlength=len(before.contexts))
    rollouts = before.kept(known)
    dropped = Index(before).useful - Index(rollouts).useful
    return replace(
        evidence,
        rollouts=rollouts,
        examples=picked(evidence.examples, np.flatnonzero(counts)),
        completions=picked(evidence.completions, rows),
        utility=picked(evidence.utility, rows),
        anchors=picked(evidence.anchors, before.sequences.take(rows)[1]),
        log_mu=picked(evidence.log_mu, rows),
        dropped=evidence.dropped + dropped,
        unjudged=len(known) - len(rows),
        judged=len(rows),
    )


def anchors_of(
    session: Session, rollouts: Rollouts
) -> tuple[dict[str, Values], dict[str, ForwardWork]]:
    """Log-probs under the models that the target's anchor names, [M] each, and their work.

    Not computed again where μ's own record tells them: of π_old while μ has full support and the
    policy's temperature, and in a search of whatever model samples.
    """
    anchors: dict[str, Values] = {}
    work: dict[str, ForwardWork] = {}
    log_mu = rollouts.log_mu if session.mu_is_its_model else None
    for name, model in session.anchor_models.items():
        recorded = model is session.sampler and (name == "old" or session.settings.selects)
        if recorded and log_mu is not None:
            anchors[name] = log_mu.astype(np.float64)
        else:
            temperature = session.operator.proposal.scoring_temperature
            anchors[name], work[name] = scored_log_probs(model, rollouts, temperature)
    return anchors, work


def joined(parts: list[BatchEvidence]) -> BatchEvidence:
    """The evidence of several processes as one, in their order."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return replace(
        first,
        rollouts=Rollouts.concatenate([part.rollouts for part in parts]),
        examples=chained([part.examples for part in parts]),
        completions=chained([part.completions for part in parts]),
        utility=chained([part.utility for part in parts]),
        anchors=chained([part.anchors for part in parts]),
        work={k: sum((p.work.get(k, NOTHING) for p in parts), NOTHING) for k in first.work},
        log_mu=chained([part.log_mu for part in parts]),
        dropped=sum((part.dropped for part in parts), NOTHING),
        particles=chained([part.particles for part in parts]),
    )
