"""A few steps of TRL's own GRPOTrainer on the tiny model, logging completions.

``trl_run.py OUT``, or ``trl_run.py OUT evaluate`` with an evaluation before and every two steps.
"""

import os
import sys
from importlib.resources import files
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer


def digits(completions: list[str], **_: Any) -> list[float]:
    return [float(sum(c.isdigit() for c in text)) for text in completions]


def short(completions: list[str], **_: Any) -> list[float]:
    return [float(len(text) < 12) for text in completions]


def main(out: str, evaluate: str = "") -> None:
    path = str(files("tod.engine").joinpath("tiny/tiny"))
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompts = [f"{a} {a + 1} {a + 3} = {2 * a + 4}: " for a in range(1, 13)]
    sums = [f"{a} + 1 = " for a in range(5)]
    evaluation: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}
    settings = GRPOConfig(
        **(evaluation if evaluate else {}),
        output_dir=out,
        max_steps=5 if evaluate else 3,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=16,
        logging_steps=1,
        log_completions=True,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        seed=0,
        disable_tqdm=True,
    )
    GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(path),
        reward_funcs=[digits, short],
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        eval_dataset=Dataset.from_dict({"prompt": sums}) if evaluate else None,
        processing_class=tokenizer,
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
