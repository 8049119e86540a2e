"""Sampling K candidates for every prompt."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from tod.base import DataError, Groups, ModelError
from tod.base.uniforms import row_keys
from tod.engine.models import context_length, plain
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.batching import DrawBatch, DrawnBatch, Wanted, batches, fitting_rows
from tod.engine.sampling.fallback import generate
from tod.engine.sampling.native import decode
from tod.engine.sampling.next_logits import evaluating
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler_path import SamplerPath, sampler_path


def sample(
    model: Any,
    prompts: Sequence[Int[np.ndarray, " P"]],
    size: int,
    *,
    params: SamplingParams,
    pad_id: int,
    eos_ids: Sequence[int],
    seed: int,
    step: int,
    context_ids: Int[np.ndarray, " C"] | None = None,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    path: SamplerPath | None = None,
) -> Rollouts:
    """Draw ``size`` candidates for each of C prompts, with the log μ they were drawn with.

    Every token has its own random number, keyed by (seed, step, context, candidate, position):
    neither ``batch_size`` nor the other prompts change a sample, except where rounding moves a
    token's boundary across its number.

    Args:
        model: A transformers causal language model, with or without LoRA; its training mode is
            left as found.
        prompts: Token ids of every prompt, each at least one token.
        size: Candidates per prompt, K >= 1.
        params: Temperature, top-k, top-p and the longest completion.
        pad_id: Fills the space before short prompts; never attended to.
        eos_ids: Tokens that end a completion (may be empty: all run to the full length).
        seed: Seed of the run.
        step: Step of the run.
        context_ids: Number of every prompt in the step; default 0 … C−1. Processes that share a
            step pass disjoint numbers.
        batch_size: Candidates drawn at a time; None: as many as memory allows.
        progress: Called with (candidates done, candidates in all) after every batch.
        path: Force ``native`` or ``generate``; None: ``sampler_path`` decides.

    Returns:
        Contexts in the order of ``prompts``; ``log_mu`` is None for greedy completions.

    Raises:
        DataError: An empty or foreign prompt, or one that leaves no room for the completion.
        ModelError: The model's logits are not finite.
    """
    prompts = tuple(np.asarray(prompt, dtype=np.int64) for prompt in prompts)
    model = plain(model)
    _check(model, prompts, size, params)
    lengths = np.array([len(prompt) for prompt in prompts])
    numbers = np.arange(len(prompts)) if context_ids is None else np.asarray(context_ids)
    rows = batch_size or fitting_rows(model, int(lengths.max()) + params.max_new_tokens)
    way = path or sampler_path(model)[0]
    run = decode if way == "native" else generate
    parts: list[tuple[DrawBatch, DrawnBatch]] = []
    done = 0
    with evaluating(model):
        for batch in batches(lengths, size, rows, even=way == "generate"):
            keys = row_keys(seed, step, numbers[batch.contexts][batch.owner], batch.candidate)
            chosen = [prompts[int(i)] for i in batch.contexts]
            wanted = Wanted(chosen, batch.owner, keys, params, pad_id, eos_ids)
            parts.append((batch, run(model, wanted)))
            done += len(batch.owner)
            if progress is not None:
                progress(done, len(prompts) * size)
    return _gathered(prompts, size, parts, greedy=params.greedy)


def _check(
    model: Any, prompts: tuple[Int[np.ndarray, " P"], ...], size: int, params: SamplingParams
) -> None:
    if not prompts or size < 1:
        raise DataError(f"{len(prompts)} prompts and K={size}: there is nothing to sample.")
    room, vocabulary = context_length(model), model.get_input_embeddings().num_embeddings
    for index, prompt in enumerate(prompts):
        where = f"prompt {index} of {len(prompts)}"
        if prompt.ndim != 1 or not len(prompt):
            raise DataError(f"{where} has shape {prompt.shape}: a prompt is at least one token.")
        if int(prompt.min()) < 0 or int(prompt.max()) >= vocabulary:
            raise DataError(
                f"{where} holds token {int(prompt.max() if prompt.min() >= 0 else prompt.min())}, "
                f"the model knows 0 … {vocabulary - 1}. Use the model's own tokenizer."
            )
        if room is not None and len(prompt) + params.max_new_tokens > room:
            raise DataError(
                f"{where} is {len(prompt)} tokens long and max_new_tokens={params.max_new_tokens}: "
                f"together {len(prompt) + params.max_new_tokens}, but the model's context holds "
                f"{room}. Shorten or drop the prompt, or lower max_new_tokens."
            )


def _gathered(
    prompts: tuple[Int[np.ndarray, " P"], ...],
    size: int,
    parts: list[tuple[DrawBatch, DrawnBatch]],
    *,
    greedy: bool,
) -> Rollouts:
    """The batches' rows in the order of contexts and candidates, without padding."""
    row = np.concatenate(
        [batch.contexts[batch.owner] * size + batch.candidate for batch, _ in parts]
    )
    order = np.argsort(row)
    lengths = np.concatenate([drawn.lengths for _, drawn in parts])
    flat_ids = np.concatenate([_flat(drawn.ids, drawn.lengths) for _, drawn in parts])
    flat_log_mu = np.concatenate([_flat(drawn.log_mu, drawn.lengths) for _, drawn in parts])
    sequences, tokens = Groups(lengths).take(order)
    log_mu = flat_log_mu[tokens]
    bad = np.flatnonzero(~np.isfinite(log_mu))
    if bad.size:
        sequence = int(sequences.owner[bad[0]])
        raise ModelError(
            f"the model gave logits that are not finite for prompt {sequence // size}, rollout "
            f"{sequence % size}, token {int(sequences.position[bad[0]])}: its weights are broken "
            "or its precision overflows. Go back to the last good checkpoint, or use float32."
        )
    return Rollouts(
        prompts=prompts,
        contexts=Groups.equal(len(prompts), size),
        sequences=sequences,
        ids=flat_ids[tokens],
        log_mu=None if greedy else log_mu,
        truncated=np.concatenate([drawn.truncated for _, drawn in parts])[order],
    )


def _flat(padded: np.ndarray, lengths: Int[np.ndarray, " n"]) -> np.ndarray:
    return padded[np.arange(padded.shape[1])[None, :] < lengths[:, None]]
