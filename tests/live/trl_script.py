"""Runs of a TRL trainer on the embedded model, instrumented; started by the tests, and torchrun.

Takes a JSON list of scenarios: output, kind, options (of the trainer), instrument (or null).
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from datasets import Dataset
from faults import planted
from transformers import set_seed
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tod.engine.models import load_model
from tod.live import findings
from tod.live.trl import instrument

findings.BUDGET = 60.0  # looks are paced by the clock, which a busy machine stretches

PROMPTS = ["24 from 4 6 8 =", "10 from 2 5 1 =", "7 from 1 2 3 =", "12 from 3 4 9 ="]
DEFAULTS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "max_steps": 2,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "shuffle_dataset": False,
    "seed": 3,
}


def length(completions, **_):
    return [len(text) / 10 for text in completions]


def digits(completions, **_):
    return [float(sum(c.isdigit() for c in text)) / 5 for text in completions]


def patchy(completions, **_):
    return [None if "1" in text else 1.0 for text in completions]


def broken(completions, calls=[0], **_):  # noqa: B006 - counts the steps of one run
    """A grader that fails every answer from the ninth step on."""
    calls[0] += 1
    return [float(i % 2 == 0 and calls[0] <= 8) for i, _ in enumerate(completions)]


def run(
    output, kind="grpo", options=None, instrument_with=None, rewards=None, resume=None, fault=None
):
    set_seed(3)
    model, tokenizer = load_model("tod://tiny")
    config, trainer_of = (GRPOConfig, GRPOTrainer) if kind == "grpo" else (RLOOConfig, RLOOTrainer)
    rows = Dataset.from_dict({"prompt": PROMPTS * 8})
    trainer = trainer_of(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[globals()[name] for name in rewards or ["length", "digits"]],
        train_dataset=rows,
        eval_dataset=rows.select(range(4)),
        args=config(output_dir=output, **{**DEFAULTS, **(options or {})}),
    )
    Path(output).mkdir(parents=True, exist_ok=True)
    try:
        if instrument_with is not None:
            instrument(trainer, **instrument_with)
        with planted(*fault) if fault else nullcontext([]) as calls:
            trainer.train(resume_from_checkpoint=resume)
    except (ValueError, KeyboardInterrupt) as error:
        Path(output, "error.txt").write_text(f"{type(error).__name__}: {error}")
        return
    if trainer.accelerator.is_main_process:
        weights = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
        found = {
            "history": trainer.state.log_history,
            "beta": trainer.beta,
            "calls": len(calls),
            "world": trainer.accelerator.num_processes,
            "weights": [weights.sum().item(), weights.square().sum().item()],
        }
        Path(output, "found.json").write_text(json.dumps(found, default=str))


for scenario in json.loads(sys.argv[1]):
    run(**scenario)
