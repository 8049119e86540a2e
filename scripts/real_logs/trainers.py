"""A few steps of TRL's trainers on the embedded model: their ``trainer_state.json``."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

Written = tuple[str, list[dict[str, Any]]]


def grpo(folder: Path) -> Written:
    """GRPO with two rewards, evaluated every two steps, its state in every checkpoint."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def digits(completions: list[str], **_: Any) -> list[float]:
        return [float(sum(c.isdigit() for c in text)) for text in completions]

    def short(completions: list[str], **_: Any) -> list[float]:
        return [float(len(text) < 12) for text in completions]

    def run(out: str, model: Any, tokenizer: Any) -> Any:
        prompts = [f"{a} {a + 1} {a + 3} = {2 * a + 4}: " for a in range(1, 13)]
        settings = GRPOConfig(
            output_dir=out,
            max_steps=4,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=16,
            beta=0.04,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=2,
            **_common(),
        )
        return GRPOTrainer(
            model=model,
            reward_funcs=[digits, short],
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            eval_dataset=Dataset.from_dict({"prompt": [f"{a} + 1 = " for a in range(4)]}),
            processing_class=tokenizer,
        )

    return _states(folder, run)


def dpo(folder: Path) -> Written:
    """DPO on a few pairs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    def run(out: str, model: Any, tokenizer: Any) -> Any:
        pairs = {
            "prompt": [f"{a} + 1 = " for a in range(8)],
            "chosen": [f"{a + 1}" for a in range(8)],
            "rejected": [f"{a + 2}" for a in range(8)],
        }
        settings = DPOConfig(
            output_dir=out, max_steps=3, per_device_train_batch_size=2, save_steps=3, **_common()
        )
        return DPOTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_dict(pairs),
            processing_class=tokenizer,
        )

    return _states(folder, run)


def _common() -> dict[str, Any]:
    return {
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "seed": 0,
        "disable_tqdm": True,
    }


def _states(folder: Path, make: Callable[[str, Any, Any], Any]) -> Written:
    """Train, and keep of every checkpoint its state alone."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = str(files("tod.engine").joinpath("tiny/tiny"))
    tokenizer = AutoTokenizer.from_pretrained(path)
    with tempfile.TemporaryDirectory() as out:
        model = AutoModelForCausalLM.from_pretrained(path)
        make(out, model, tokenizer).train()
        for checkpoint in sorted(Path(out).glob("checkpoint-*")):
            target = folder / checkpoint.name
            target.mkdir()
            state = json.loads((checkpoint / "trainer_state.json").read_text())
            shutil.copy(checkpoint / "trainer_state.json", target)
            assert state["log_history"]
    return f"trl {version('trl')}, transformers {version('transformers')}", []
