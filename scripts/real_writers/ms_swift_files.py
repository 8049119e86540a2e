"""ms-swift: completions.jsonl, through its trainer's own logs and ``log``."""

import importlib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from given import Rollout, by_step
from stand_ins import leave_out


def write(given: list[Rollout], out: Path) -> str:
    """One file: an empty log before the first rollout, both steps, and the second twice more.

    Its batch is logged at step 9 too, where nothing new was generated; and again at step 8, as a
    resumed run does.
    """
    leave_out("wandb", "swanlab", "vllm", "deepspeed")
    module = importlib.import_module("swift.rlhf_trainers.grpo_trainer")
    # what lies below ms-swift's own trainer prints and counts, and has no part in the file
    for parent in module.GRPOTrainer.__mro__[1:-1]:
        if "log" in vars(parent):
            parent.log = lambda *_, **__: None
    self = _trainer(module, out)
    steps = dict(by_step(given))
    self.log({})
    for step, seen in ((7, 7), (8, 8), (9, None), (8, 8)):
        self.state.global_step = step
        if seen is not None:
            _fill(self, steps[seen])
        self.log({})
    return f"ms-swift {version('ms-swift')} on trl {version('trl')}"


def _trainer(module: Any, out: Path) -> Any:
    self = object.__new__(module.GRPOTrainer)
    self.args = SimpleNamespace(
        output_dir=str(out), generation_batch_size=12, log_completions=True,
        wandb_log_unique_prompts=False, num_completions_to_print=0, log_entropy=False,
        report_to=[],
    )  # fmt: skip
    self.top_entropy_quantile = 1.0
    self.model = SimpleNamespace(training=True)
    self.state = SimpleNamespace(global_step=0)
    self.accelerator = SimpleNamespace(is_main_process=True)
    self._prepare_metrics()
    return self


def _fill(self: Any, rows: list[Rollout]) -> None:
    """The logs of one generation: text, two rewards, advantages, and the turns of each."""
    text = [" ".join(f"w{t}" for t in r.prompt) for r in rows]
    samples = [
        SimpleNamespace(
            messages=[
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": " ".join(f"w{t}" for t in r.ids)},
            ],
            extra={"solution": "4"},
            rollout_infos={"num_turns": 1 + r.on.count(0)},
        )
        for prompt, r in zip(text, rows, strict=True)
    ]
    self._gather_and_flatten = lambda values, **_: values
    self._apply_chat_template_to_messages_list = lambda messages: [
        m[0]["content"] for m in messages
    ]
    type(self)._log_rollout(self, samples)
    for name, scale in (("MathAccuracy", 0.75), ("Format", 0.25)):
        self._logs["rewards"][name].extend([scale * r.reward for r in rows])
    self._logs["advantages"].extend([r.advantage for r in rows])
