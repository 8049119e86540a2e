"""Useful tokens per second of our sampler against ``generate()``, and the cache that wins.

Run ``python benchmarks/sampler.py`` (``--json PATH`` to keep the numbers). Both sides draw from
the same distribution with the same model, prompts and limit, alternating in one process; a token
is useful up to and including the end of its sequence. ``--cache`` compares the two cache layers.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tod.engine.models import eos_ids, load_model, pad_id
from tod.engine.sampling import cache
from tod.engine.sampling.batching import left_padded
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample

CANDIDATES = 16  # per prompt
PROMPT_TOKENS = 14
REACH = {64: 1.6, 256: 2.0, 512: 2.0}


class Subject:
    """A model, prompts for it, and the tokens that end an answer."""

    def __init__(self, name: str, device: str = "cpu", dtype: str = "float32") -> None:
        self.name = name
        if name == "random":
            self.model, self.ends, self.pad = _random_llama(), (1, 2, 3), 0
            rng = np.random.default_rng(0)
            sizes = rng.integers(PROMPT_TOKENS - 3, PROMPT_TOKENS + 4, size=64)
            self.prompts = [rng.integers(4, 32, size=n) for n in sizes]
        else:
            self.model, tokenizer = load_model(name, device=device, dtype=dtype)
            self.ends, self.pad = eos_ids(self.model, tokenizer), pad_id(self.model, tokenizer)
            texts = _countdown_prompts(64)
            self.prompts = [np.array(tokenizer(text)["input_ids"]) for text in texts]


def _countdown_prompts(count: int) -> list[str]:
    from tod.engine.tasks import countdown

    return [str(row["prompt"]) for row in countdown.prompts("train", count)]


def _random_llama() -> Any:
    """The shape of the embedded model, random, with an end about every ninth token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def ours(subject: Subject, prompts: list[np.ndarray], new: int, step: int) -> int:
    rollouts = sample(
        subject.model,
        prompts,
        CANDIDATES,
        params=SamplingParams(max_new_tokens=new),
        pad_id=subject.pad,
        eos_ids=subject.ends,
        seed=0,
        step=step,
        path="native",
    )
    return len(rollouts.ids)


def theirs(subject: Subject, prompts: list[np.ndarray], new: int, step: int) -> int:
    torch.manual_seed(step)
    device = subject.model.device
    ids, mask = left_padded([p for p in prompts for _ in range(CANDIDATES)], subject.pad, device)
    out = subject.model.generate(
        ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        max_new_tokens=new,
        eos_token_id=list(subject.ends),
        pad_token_id=subject.pad,
    )
    answers = out[:, ids.shape[1] :].cpu().numpy()
    ended = np.isin(answers, subject.ends)
    return int(np.where(ended.any(1), ended.argmax(1) + 1, answers.shape[1]).sum())


def compare(subject: Subject, batch: int, new: int, repeats: int) -> dict[str, Any]:
    """Alternate both sides; medians of useful tokens per second, and of the paired quotients."""
    prompts = (subject.prompts * 32)[: batch // CANDIDATES]
    rates: dict[str, list[float]] = {"tod": [], "generate": []}
    lengths: list[float] = []
    sides: dict[str, Callable[..., int]] = {"tod": ours, "generate": theirs}
    for step in range(-1, repeats):
        for name in list(sides) if step % 2 else list(sides)[::-1]:
            start = time.perf_counter()
            tokens = sides[name](subject, prompts, new, step + 1)
            elapsed = time.perf_counter() - start
            if step >= 0:  # the first round warms up
                rates[name].append(tokens / elapsed)
                lengths.append(tokens / batch)
    quotients = [a / b for a, b in zip(rates["tod"], rates["generate"], strict=True)]
    return {
        "batch": batch,
        "max_new_tokens": new,
        "mean_length": statistics.mean(lengths),
        "tod": statistics.median(rates["tod"]),
        "generate": statistics.median(rates["generate"]),
        "speedup": statistics.median(quotients),
        "speedup_range": [min(quotients), max(quotients)],
        "reach": REACH.get(batch),
    }


def compare_caches(subject: Subject, batch: int, new: int, repeats: int) -> dict[str, Any]:
    """The cache with spare room against the plain one: quotient of times, > 1 when it wins."""
    prompts = (subject.prompts * 32)[: batch // CANDIDATES]
    ends, subject.ends = subject.ends, ()
    times: dict[bool, list[float]] = {True: [], False: []}
    usual = cache.ROOMY_FROM
    for step in range(-1, repeats):
        for roomy in (True, False) if step % 2 else (False, True):
            cache.ROOMY_FROM = 1 if roomy else sys.maxsize
            start = time.perf_counter()
            ours(subject, prompts, new, step + 1)
            if step >= 0:
                times[roomy].append(time.perf_counter() - start)
    cache.ROOMY_FROM, subject.ends = usual, ends
    wins = [plain / roomy for plain, roomy in zip(times[False], times[True], strict=True)]
    return {"batch": batch, "max_new_tokens": new, "roomy_wins": statistics.median(wins)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tod://tiny", help="any model, or `random`")
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = Subject(options.model)
    print(f"{subject.name}, torch {torch.__version__}, one thread")
    if options.cache:
        rows = []
        for batch, new in [
            (64, 20),
            (64, 64),
            (64, 128),
            (64, 256),
            (256, 20),
            (256, 64),
            (256, 128),
        ]:
            rows.append(compare_caches(subject, batch, new, max(3, options.repeats // 3)))
            won = rows[-1]["roomy_wins"]
            print(f"B={batch:4d} new={new:4d}  time of plain / time of roomy {won:.2f}", flush=True)
    else:
        rows = [compare(subject, b, options.new, options.repeats) for b in REACH]
        print("   B  mean length   tod tok/s  generate tok/s  speed-up (range)     reach")
        for row in rows:
            low, high = row["speedup_range"]
            print(
                f"{row['batch']:4d}  {row['mean_length']:11.1f}  {row['tod']:10.0f}  "
                f"{row['generate']:14.0f}  {row['speedup']:.2f} ({low:.2f}-{high:.2f})"
                f"  {row['reach']:9.1f}"
            )
    if options.json:
        options.json.write_text(json.dumps({"model": subject.name, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
