"""Forward and backward of every layout against one padded batch, in one process.

The padded batch is what trainers commonly build: prompts padded on the left, completions on the
right, one mask, logits for the completion part only. Runs alternate, so that whatever else the
machine does falls on both; times are medians, memory is the growth of peak resident size of a
process of its own per way.

    python benchmarks/forward.py            # times
    python benchmarks/forward.py --memory   # peaks
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tod.base import Groups
from tod.engine.forward.layout import LAYOUTS
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.rollouts import Rollouts


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def sample(contexts: int, size: int, seed: int = 0) -> Rollouts:
    """Prompts of 11 to 17 tokens; completions of 3 to 20, about 9 in the mean."""
    rng = np.random.default_rng(seed)
    groups = Groups.equal(contexts, size)
    lengths = np.clip(np.round(rng.gamma(5.0, 1.8, groups.total)), 3, 20).astype(np.int64)
    sequences = Groups(lengths)
    return Rollouts(
        prompts=tuple(rng.integers(1, 40, rng.integers(11, 18)) for _ in range(contexts)),
        contexts=groups,
        sequences=sequences,
        ids=rng.integers(1, 40, sequences.total),
        log_mu=None,
        truncated=np.zeros(groups.total, dtype=bool),
    )


def padded(model: LlamaForCausalLM, rollouts: Rollouts) -> torch.Tensor:
    """Log-probs [M] from one batch with every prompt repeated and everything padded."""
    rows = len(rollouts.sequences)
    before = max(len(prompt) for prompt in rollouts.prompts)
    after = int(rollouts.sequences.sizes.max())
    ids = np.zeros((rows, before + after), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, c in enumerate(rollouts.contexts.owner):
        prompt = rollouts.prompts[c]
        own = rollouts.ids[rollouts.sequences.offsets[i] : rollouts.sequences.offsets[i + 1]]
        ids[i, before - len(prompt) : before] = prompt
        ids[i, before : before + len(own)] = own
        mask[i, before - len(prompt) : before + len(own)] = 1
    ids_t, mask_t = torch.from_numpy(ids), torch.from_numpy(mask)
    out = model(input_ids=ids_t, attention_mask=mask_t, logits_to_keep=after + 1, use_cache=False)
    log_p = torch.log_softmax(out.logits[:, :-1].float(), dim=-1)
    picked = log_p.gather(2, ids_t[:, before:, None])[..., 0]
    return picked[mask_t[:, before:].bool()]


def step(model: LlamaForCausalLM, rollouts: Rollouts, way: str) -> float:
    model.zero_grad()
    if way == "padded":
        value = padded(model, rollouts)
    else:
        value = token_log_probs(model, rollouts, layout=way).log_prob
    loss = -(value * torch.linspace(-1, 1, len(value), device=value.device)).sum()
    loss.backward()
    return float(loss.detach())


def times(contexts: int, size: int, repeats: int) -> dict[str, float]:
    model, rollouts = tiny(), sample(contexts, size)
    ways = ["padded", *LAYOUTS]
    taken: dict[str, list[float]] = {way: [] for way in ways}
    losses = {way: step(model, rollouts, way) for way in ways}
    spread = max(losses.values()) - min(losses.values())
    print(f"{contexts} prompts x {size}: largest difference of the loss {spread:.1e}")
    for _ in range(repeats):
        for way in ways:
            start = time.perf_counter()
            step(model, rollouts, way)
            taken[way].append(time.perf_counter() - start)
    return {way: statistics.median(found) for way, found in taken.items()}


def peak(way: str, contexts: int, size: int) -> float:
    """Peak resident size of this process after a few steps, MiB."""
    model, rollouts = tiny(), sample(contexts, size)
    if way != "none":
        for _ in range(3):
            step(model, rollouts, way)
    # getrusage would begin with the peak of the process that started this one
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", metavar="WAY")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        print(peak(args.peak, 32, args.sizes[0]))
        return
    for size in args.sizes:
        if args.memory:
            found = {}
            for way in ["none", "padded", *LAYOUTS]:
                command = [sys.executable, __file__, "--peak", way, "--sizes", str(size)]
                out = subprocess.run(command, capture_output=True, text=True, check=True)
                found[way] = float(out.stdout.split()[-1])
            for way, value in found.items():
                above = value - found["none"]
                print(f"{way:14s} {value:7.0f} MiB, {above:6.0f} above the model alone")
            continue
        taken = times(32, size, args.repeats)
        for way, seconds in taken.items():
            print(f"{way:14s} {seconds * 1e3:8.1f} ms   {taken['padded'] / seconds:5.2f} x padded")


if __name__ == "__main__":
    main()
