"""Whole training steps against TRL's GRPOTrainer: steps per second, peak memory, distance to GEMM.

Same model, prompts, candidates per prompt, token limit, precision and reward; one thread; blocks
of steps alternate in one process, both starting from the same weights. Peak memory is that of a
whole process each, started for the purpose. Ours records diagnostics and tables as in any run.

    python benchmarks/step_vs_trl.py [--prompts 32] [--size 8] [--rounds 5] [--steps 6]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

MODEL = "tod://tiny"
MAX_NEW_TOKENS = 20
LEARNING_RATE = 1e-4


def settings(args: argparse.Namespace, output: Path) -> Any:
    """GRPO without a KL term, one update a batch: TRL's own default."""
    from tod.engine.settings import RunSettings

    return RunSettings.parse(
        {
            "name": "benchmark",
            "model": args.model,
            "target": {"kind": "two_anchor", "tau": 0.2, "beta": 0.0, "utility": "correct"},
            "operator": {
                "proposal": {
                    "prompts": args.prompts,
                    "size": args.size,
                    "max_new_tokens": args.new,
                },
                "action": {
                    "kind": "policy_gradient",
                    "advantage": "group_zscore",
                    "aggregation": "sequence_mean_token_mean",
                },
            },
            "train": {
                "steps": args.steps,
                "learning_rate": LEARNING_RATE,
                "schedule": "constant",
                "checkpoint_every": 10_000,
                "dtype": args.dtype,
            },
            "evaluate": None,
            "output": str(output),
        }
    )


def ours(args: argparse.Namespace) -> list[float]:
    """Seconds of every step of a fresh run, and its last ledger, through the public engine."""
    from tod.engine.train import Events, train

    marks: list[float] = []
    records: list[Any] = []

    def mark(record: Any) -> None:
        marks.append(time.perf_counter())
        records.append(record)

    with tempfile.TemporaryDirectory() as place:
        train(settings(args, Path(place) / "run"), events=Events(record=mark))
    ours.records = records  # type: ignore[attr-defined]
    return [b - a for a, b in pairwise(marks)]


def theirs(args: argparse.Namespace) -> list[float]:
    """Seconds of every step of a fresh GRPOTrainer."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from tod.engine.data.load import load_task
    from tod.engine.data.task_specs import CountdownTask
    from tod.engine.models import load_model
    from tod.engine.tasks import countdown

    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    def reward(
        completions: list[str], numbers: list[Any], target: list[Any], **_: Any
    ) -> list[float]:
        rows = zip(completions, numbers, target, strict=True)
        return [float(countdown.check(text, n, t)) for text, n, t in rows]

    model, tokenizer = load_model(args.model)
    model.train()
    task = load_task(CountdownTask(), 0)
    examples = [e for step in range(args.steps) for e in task.batch(step, args.prompts)]
    rows = [
        {"prompt": e.prompt, "numbers": e.columns["numbers"], "target": e.columns["target"]}
        for e in examples
    ]
    with tempfile.TemporaryDirectory() as place:
        config = GRPOConfig(
            output_dir=place,
            per_device_train_batch_size=args.prompts * args.size,
            num_generations=args.size,
            max_completion_length=args.new,
            max_steps=args.steps,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            beta=0.0,
            loss_type="grpo",
            bf16=args.dtype == "bfloat16",
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            shuffle_dataset=False,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        quiet(trainer)
        trainer.train()
    return [b - a for a, b in pairwise(marks)]


def quiet(trainer: Any) -> None:
    """Stop the trainer from printing a line a step."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def gemm_rate(n: int = 1024, dtype: str = "float32", device: str = "cpu") -> float:
    """Floating-point operations per second of one n × n matrix product, best of ten."""
    a, b = (torch.randn(n, n, dtype=getattr(torch, dtype), device=device) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


def peak_memory(which: str, args: argparse.Namespace) -> float:
    """Peak MiB of a process that does nothing but these steps."""
    command = [sys.executable, __file__, "--memory", which, "--steps", "4"]
    command += ["--prompts", str(args.prompts), "--size", str(args.size)]
    command += ["--model", args.model, "--new", str(args.new), "--dtype", args.dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["mib"])


def high_water() -> float:
    """Peak resident MiB of this process (getrusage would begin with the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def report(args: argparse.Namespace, mine: list[float], other: list[float]) -> None:
    """Print the table and one line of JSON."""
    ratio = statistics.median(other) / statistics.median(mine)
    memory = {which: peak_memory(which, args) for which in ("tod", "trl")}
    rate = gemm_rate()
    last = ours.records[-1]  # type: ignore[attr-defined]
    step = statistics.median(mine)
    bound = last.ledger.flops / rate
    print(f"{args.prompts} prompts x {args.size} candidates, {len(mine)} steps each, 1 thread")
    slower = statistics.median(other)
    print(f"step, median      tod {step * 1e3:7.1f} ms   trl {slower * 1e3:7.1f} ms")
    print(f"steps per second  {ratio:.2f} x TRL's")
    print(f"peak memory       tod {memory['tod']:.0f} MiB   trl {memory['trl']:.0f} MiB")
    print(f"                  {memory['tod'] / memory['trl']:.2f} x TRL's")
    needed = last.ledger.flops / 1e9
    print(f"GEMM bound        {rate / 1e9:.1f} GFLOP/s, step needs {needed:.2f} GFLOP")
    print(f"                  {bound / step:.0%} of the step's time would do at that rate")
    for phase, seconds in (last.seconds or {}).items():
        flops = {"sample": last.ledger.sample_flops, "train": last.ledger.train_flops}.get(phase)
        share = f", GEMM bound {flops / rate / seconds:.0%} of it" if flops else ""
        print(f"  {phase:<9} {seconds * 1e3:7.1f} ms{share}")
    print(
        json.dumps(
            {
                "speed": round(ratio, 3),
                "memory": round(memory["tod"] / memory["trl"], 3),
                "gemm_share": round(bound / step, 4),
            }
        )
    )


def main() -> None:
    """Alternate blocks of both, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--new", type=int, default=MAX_NEW_TOKENS, help="tokens of an answer")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--memory", choices=["tod", "trl"], default=None)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    run = {"tod": ours, "trl": theirs}
    if args.memory is not None:
        run[args.memory](args)
        print(json.dumps({"mib": high_water()}))
        return
    mine: list[float] = []
    other: list[float] = []
    for _ in range(args.rounds):
        mine += ours(args)[1:]
        other += theirs(args)[1:]
    report(args, mine, other)


if __name__ == "__main__":
    main()
