"""Trains the two embedded character models from scratch: ``make tiny``.

Usage: python scripts/make_tiny.py [tiny] [tiny-teacher] [--output DIR] [--steps N]

Both are Llama models of 0.33 M parameters, trained on solved countdown problems with the loss on
the answer alone. They differ in the number of steps: `tiny` has room to learn, the teacher knows
more. Prints pass@1 on held-out problems (200 prompts, 16 samples each, temperature 1).
"""

import argparse
import math
import sys
import time
from pathlib import Path
from types import ModuleType

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tod.engine.tasks import countdown

STEPS = {"tiny": 270, "tiny-teacher": 1300}
BATCH = 128
PEAK_LEARNING_RATE = 4e-3
WARMUP = 30
SEED = 2026  # its own stream, so that a run with seed 0 does not begin with memorised problems
ALPHABET = "0123456789+-*()=: "
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
MAX_NEW_TOKENS = 20


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; no beginning-of-text token; ``</s>`` ends an answer."""
    vocabulary = {token: i for i, token in enumerate([PAD, END, UNKNOWN, *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of 96 units, 3 layers and 3 heads with tied embeddings."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def batch_of(
    tokenizer: PreTrainedTokenizerFast, step: int, task: ModuleType = countdown
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids of one batch, and labels that are −100 outside the answer."""
    rows, starts = [], []
    for index in range(step * BATCH, (step + 1) * BATCH):
        problem = task.problem("train", index, seed=SEED)
        prompt = tokenizer.convert_tokens_to_ids(list(problem.prompt))
        answer = tokenizer.convert_tokens_to_ids([*problem.solution, END])
        rows.append(torch.tensor(prompt + answer))
        starts.append(len(prompt))
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    position = torch.arange(ids.shape[1])
    labels = ids.masked_fill(position < torch.tensor(starts)[:, None], -100)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, labels.masked_fill(position >= lengths[:, None], -100)


def train(
    tokenizer: PreTrainedTokenizerFast, steps: int, task: ModuleType = countdown
) -> LlamaForCausalLM:
    """AdamW with linear warm-up and a cosine to zero; seeded, so that a rebuild is the same."""
    torch.manual_seed(0)
    model = build_model(tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
    )
    started = time.monotonic()
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARMUP)
        rate = PEAK_LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, labels = batch_of(tokenizer, step, task)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 30 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.3f} {time.monotonic() - started:.0f} s",
                  flush=True)  # fmt: skip
    return model


@torch.no_grad()
def sample(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], seed: int
) -> list[str]:
    """One completion per prompt, temperature 1, the whole distribution."""
    generator = torch.Generator().manual_seed(seed)
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    mask, cache, next_ids = encoded["attention_mask"], None, encoded["input_ids"]
    drawn = []
    for _ in range(MAX_NEW_TOKENS):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -next_ids.shape[1] :]
        output = model(
            input_ids=next_ids, attention_mask=mask, position_ids=positions,
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        cache = output.past_key_values
        chances = output.logits[:, -1].float().softmax(-1)
        next_ids = torch.multinomial(chances, 1, generator=generator)
        drawn.append(next_ids)
        mask = torch.cat([mask, torch.ones_like(next_ids)], dim=1)
    return [
        "".join(tokenizer.convert_ids_to_tokens(row)).split(END)[0]
        for row in torch.cat(drawn, dim=1).tolist()
    ]


def pass_at_1(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, split: countdown.Split = "held_out"
) -> tuple[float, float]:
    """Mean success over 200 prompts × 16 samples, and its standard error over prompts."""
    problems = countdown.prompts(split, 200, seed=1)
    rows = [problem for problem in problems for _ in range(16)]
    texts = sample(model.eval(), tokenizer, [str(row["prompt"]) for row in rows], seed=0)
    right = torch.tensor(
        [countdown.check(t, r["numbers"], r["target"]) for t, r in zip(texts, rows, strict=True)]
    ).reshape(200, 16)
    means = right.mean(1)
    return means.mean().item(), (means.std() / math.sqrt(200)).item()


def main() -> int:
    """Trains, reports and saves the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(STEPS), metavar="NAME")
    default = Path(__file__).parents[1] / "src" / "tod" / "engine" / "tiny"
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--steps", type=int, help="other than the model's own number of steps")
    options = parser.parse_args()
    if unknown := set(options.names) - set(STEPS):
        parser.error(f"no model named {sorted(unknown)}; known: {', '.join(STEPS)}")
    torch.set_num_threads(1)  # bit-for-bit rebuilds, and no slower on busy shared cores
    tokenizer = build_tokenizer()
    for name in options.names:
        model = train(tokenizer, options.steps or STEPS[name]).to(torch.bfloat16)
        target = options.output / name.replace("-", "_")
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        for split in ("train", "held_out"):
            mean, error = pass_at_1(model.float(), tokenizer, split)
            print(f"{name}: {split} pass@1 {mean:.3f} ± {error:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
