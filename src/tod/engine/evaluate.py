"""Held-out evaluation: pass@1 and pass@K on prompts that training never sees."""

import math

import numpy as np

from tod.engine.collect import decoded, draw, read
from tod.engine.sampling.params import SamplingParams
from tod.engine.session import Session
from tod.runs import HeldOut

EVALUATION_SEED = 7919
"""Seed of evaluation draws: the same uniforms before and after, so that differences are paired."""


def evaluate(session: Session, utility: str) -> HeldOut:
    """Mean of ``utility`` over held-out samples, its standard error clustered by prompt.

    pass@K is the share of prompts with at least one sample at the utility's full mark (1).
    Samples are drawn at the policy's own temperature with full support. Unknown parts are None.
    """
    settings = session.settings
    assert settings.evaluate is not None  # noqa: S101 - asked only when configured
    examples = session.task.held_out(settings.evaluate.held_out_prompts)
    size = settings.evaluate.samples_per_prompt
    proposal = settings.operator.proposal
    params = SamplingParams(
        max_new_tokens=proposal.max_new_tokens, temperature=proposal.scoring_temperature
    )
    mine = session.world.share(len(examples))
    values = np.zeros((0, size))
    if len(mine):
        chosen = [examples[i] for i in mine]
        rollouts = draw(
            session, session.policy, chosen, size, 0, mine, params=params, seed=EVALUATION_SEED
        )
        values = read(session, chosen, rollouts, decoded(session, rollouts))[utility]
        values = values.reshape(len(chosen), size)
    table = np.concatenate(session.world.gather(values))
    if not len(table):
        return HeldOut(prompts=0, samples=size)
    means = table.mean(axis=1)
    error = float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else None
    return HeldOut(
        pass_at_1=float(means.mean()),
        pass_at_k=float((table >= 1.0).any(axis=1).mean()),
        standard_error=error,
        prompts=len(table),
        samples=size,
        by_prompt=tuple(means.tolist()),
    )
