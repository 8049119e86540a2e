"""Real older weights: the embedded model after some updates of AdamW, and draws of it."""

import copy
from typing import Any

import numpy as np
import torch

from tod.engine.data.load import load_task
from tod.engine.data.prompts import prompt_ids
from tod.engine.data.task_specs import CountdownTask
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.models import load_model, load_tokenizer
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample

VERSIONS = 5


def _prompts() -> list[Any]:
    """Some prompts of the task that the model knows."""
    tokenizer, task = load_tokenizer("tod://tiny"), load_task(CountdownTask(), 0)
    return [np.array(prompt_ids(e.prompt, tokenizer)) for e in task.batch(0, 3)]


PROMPTS = _prompts()


def drawn(model: Any, size: int, seed: int = 0) -> Any:
    """Candidates of the three prompts."""
    params = SamplingParams(max_new_tokens=16)
    return sample(model, PROMPTS, size, params=params, pad_id=0, eos_ids=(1,), seed=seed, step=0)


def versions() -> list[Any]:
    """The model as it was after 0, 1, … 5 updates of AdamW on draws with signs by their parity."""
    model, _ = load_model("tod://tiny")
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4)
    found = [copy.deepcopy(model)]
    for step in range(VERSIONS):
        batch = drawn(model, 8, seed=step)
        sign = torch.from_numpy(np.where(batch.sequences.owner % 2 == 0, 1.0, -1.0))
        loss = -(sign * token_log_probs(model, batch).log_prob).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(copy.deepcopy(model).requires_grad_(False))
    return found
