"""One batch of evidence: prompts, candidates, utilities, anchors' log-probs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tod.candidates import Candidates, Labels, Tokens
from tod.engine.data import Example, prompt_text
from tod.engine.forward import token_log_probs
from tod.engine.ledger import Work
from tod.engine.rollouts import Rollouts
from tod.engine.sampling import SamplingParams, sample
from tod.engine.session import Session
from tod.engine.utilities import CustomUtility

Values = Float[np.ndarray, " _"]


@dataclass(frozen=True)
class Evidence:
    """A batch before any update: what every process knows of all its contexts.

    Attributes:
        rollouts: Tokens as drawn.
        examples: The prompts' rows, [C].
        completions: Decoded completions, [N].
        utility: Utilities by name, [N].
        anchors: Token log-probs by name, [M]; ``old`` joins when the policy has been forwarded.
        work: What scoring computed, by model name.
    """

    rollouts: Rollouts
    examples: tuple[Example, ...]
    completions: tuple[str, ...]
    utility: Mapping[str, Values]
    anchors: Mapping[str, Values]
    work: Mapping[str, Work]

    def candidates(self, tokenizer: Any = None) -> Candidates:
        """The batch as the theory sees it; with its texts when a tokenizer is given."""
        rollouts = self.rollouts
        sums = {name: rollouts.sequences.sum(values) for name, values in self.anchors.items()}
        log_mu = None if rollouts.log_mu is None else rollouts.log_mu.astype(np.float64)
        labels = Labels(
            context=_distinct([example.id for example in self.examples]),
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
            log_mu=None if log_mu is None else rollouts.sequences.sum(log_mu),
            log_anchor=sums,
            tokens=Tokens(rollouts.sequences, log_mu, self.anchors, rollouts.ids),
            labels=labels,
        )

    def with_anchors(self, **anchors: Values) -> "Evidence":
        """With further token log-probs."""
        return replace(self, anchors={**self.anchors, **anchors})


def _distinct(names: list[str]) -> tuple[str, ...]:
    """The names, with ``#2``, ``#3`` … on repeats: a small task may ask a prompt twice a batch."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(found)


def collect(session: Session, step: int) -> Evidence:
    """Draw and score the batch of ``step``: each process its share, then all hold all of it.

    Raises:
        UtilityError: A utility failed or returned nonsense.
        DataError: A prompt does not fit.
    """
    world, proposal = session.world, session.operator.proposal
    examples = session.task.batch(step - 1, proposal.prompts)
    mine = world.share(len(examples))
    if len(mine) == 0:
        gathered = world.gather(None)
    else:
        gathered = world.gather(_drawn(session, [examples[i] for i in mine], mine, step))
    return joined([part for part in gathered if part is not None])


def draw(
    session: Session,
    model: Any,
    examples: Sequence[Example],
    size: int,
    params: SamplingParams,
    *,
    seed: int,
    step: int,
    numbers: Any,
) -> tuple[Rollouts, tuple[str, ...]]:
    """Sample ``size`` candidates of each example and decode them."""
    rollouts = sample(
        model,
        session.prompts(examples),
        size,
        params=params,
        pad_id=session.pad_id,
        eos_ids=session.stop_ids,
        seed=seed,
        step=step,
        context_ids=numbers,
    )
    return rollouts, decoded(session.tokenizer, rollouts)


def decoded(tokenizer: Any, rollouts: Rollouts) -> tuple[str, ...]:
    """Text of every completion, special tokens left out."""
    rows = rollouts.sequences.split(rollouts.ids)
    return tuple(tokenizer.batch_decode(rows, skip_special_tokens=True))


def scored(
    session: Session, examples: Sequence[Example], rollouts: Rollouts, completions: Sequence[str]
) -> Mapping[str, Values]:
    """Every utility of every candidate, [N] each."""
    rows = [examples[int(c)] for c in rollouts.contexts.owner]
    wanted = any(isinstance(spec, CustomUtility) for spec in session.settings.utilities)
    ids = rollouts.sequences.split(rollouts.ids) if wanted else None
    return session.scorer.score(rows, completions, ids)


def _drawn(session: Session, examples: list[Example], numbers: Any, step: int) -> Evidence:
    rollouts, completions = draw(
        session,
        session.sampler,
        examples,
        session.operator.proposal.size,
        session.params,
        seed=session.settings.train.seed,
        step=step,
        numbers=numbers,
    )
    utility = scored(session, examples, rollouts, completions)
    anchors, work = _anchors(session, rollouts)
    return Evidence(rollouts, tuple(examples), completions, utility, anchors, work)


def _anchors(session: Session, rollouts: Rollouts) -> tuple[dict[str, Values], dict[str, Work]]:
    """Log-probs of the frozen anchors that the target names, and of μ's model when it lags.

    Skipped where the result is known: π_old is the policy's own first forward while μ is the
    policy, and μ's record itself while μ has full support.
    """
    anchors: dict[str, Values] = {}
    work: dict[str, Work] = {}
    temperature = session.operator.proposal.temperature
    needed = {name: session.frozen[name] for name in session.frozen if _named(session, name)}
    for name, model in needed.items():
        with torch.no_grad():
            scored = token_log_probs(model, rollouts, temperature=temperature)
        anchors[name] = scored.log_prob.double().cpu().numpy()
        work[name] = scored.work
    if session.sampler is not session.policy:
        if session.params.top_k is None and not session.params.truncates_mass:
            assert rollouts.log_mu is not None  # noqa: S101 - sampled, never greedy
            anchors["old"] = rollouts.log_mu.astype(np.float64)
        else:
            with torch.no_grad():
                scored = token_log_probs(session.sampler, rollouts, temperature=temperature)
            anchors["old"] = scored.log_prob.double().cpu().numpy()
            work["old"] = scored.work
    return anchors, work


def _named(session: Session, name: str) -> bool:
    return name in session.settings.target.target.names


def joined(parts: list[Evidence]) -> Evidence:
    """The evidence of several processes as one, in their order."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Evidence(
        rollouts=Rollouts.concatenate([part.rollouts for part in parts]),
        examples=tuple(example for part in parts for example in part.examples),
        completions=tuple(text for part in parts for text in part.completions),
        utility={k: np.concatenate([part.utility[k] for part in parts]) for k in first.utility},
        anchors={k: np.concatenate([part.anchors[k] for part in parts]) for k in first.anchors},
        work={k: _added([part.work[k] for part in parts]) for k in first.work},
    )


def _added(works: list[Work]) -> Work:
    return sum(works, Work(0, 0, 0))
