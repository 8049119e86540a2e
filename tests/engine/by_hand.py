"""What the engine computes in batches, one at a time: log-probs of rollouts, and a gradient."""

from typing import Any

import numpy as np
import torch

from tod.engine.proposals.propose import propose
from tod.engine.rollouts import Rollouts
from tod.engine.session import Session, open_session
from tod.engine.settings import RunSettings
from tod.engine.update import update


def sequence_log_probs(model: Any, rollouts: Rollouts) -> np.ndarray:
    """Σ_t log p(y_t | c, y_<t), one candidate at a time through the plain forward."""
    total = []
    for row, ids in enumerate(rollouts.sequences.split(rollouts.ids)):
        prompt = rollouts.prompts[int(rollouts.contexts.owner[row])]
        whole = torch.tensor(np.concatenate([prompt, ids]))[None]
        with torch.no_grad():
            log_p = model(whole).logits[0].log_softmax(-1)
        where = np.arange(len(prompt), whole.shape[1])
        total.append(float(log_p[where - 1, whole[0, where]].sum()))
    return np.array(total)


def first_gradient(settings: RunSettings) -> tuple[Session, np.ndarray, Any, Any]:
    """Session, gradient of its first optimiser step, evidence and what the update saw."""
    session = open_session(settings)
    seen: list[np.ndarray] = []

    def keep(*_: object, **__: object) -> None:
        flat = [p.grad.reshape(-1) for p in session.parameters if p.grad is not None]
        seen.append(torch.cat(flat).numpy().copy())

    session.optimiser.register_step_pre_hook(keep)
    evidence = propose(session, 1)
    told = update(session, evidence, settings.procedure.tilt, settings.operator.update, 1)
    return session, seen[0], evidence, told
