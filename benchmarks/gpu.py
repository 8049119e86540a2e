"""The whole check on a CUDA machine, in at most eight minutes: what `make gpu` runs.

1. Equality: log-probs, gradients and a whole training step on the GPU against the CPU, in float32.
2. Throughput: training steps against TRL's, the sampler against ``generate()``, at 135 M in
   bfloat16.
3. MFU of the training phase, at 135 M and at 1.5 B parameters (random weights) in bfloat16: the
   operations that the ledger counts, over seconds and the rate of a large matrix product here, and
   over the vendor's dense peak where that is known.
4. Peak memory of these runs against the forecast.

What was measured is written as it comes, OUTPUT/gpu.json and OUTPUT/gpu.md (docs/results). A stage
has three minutes, or what is left of the eight if that is less; one that fails or is not done by
then is named with the reason, and the others go on. Exit code 1 if there was one.

    python benchmarks/gpu.py [--output docs/results]
    python benchmarks/gpu.py --pretend --output DIR

``--pretend`` walks the same code on the CPU at toy size: that it runs, and nothing else. It is
marked in what is written, and not written into docs/results. Without a GPU and without it: exit
code 2.
"""

import argparse
import faulthandler
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
MINUTES = 8.0
STAGE_MINUTES = 3.0
GRACE = 20.0
"""Seconds after the last minute at which a process that answers to nothing is ended."""
PEAKS = {"B200": 2.25e15, "H200": 9.89e14, "H100": 9.89e14, "A100": 3.12e14, "L40S": 3.62e14}
"""Dense bfloat16 operations a second, by a part of the device's name: its makers' data sheets."""


@dataclass(frozen=True)
class Size:
    """A Llama of random weights.

    Attributes:
        hidden: Width.
        inner: Width of the feed-forward layers.
        layers: Layers.
        heads: Heads.
        key_heads: Heads of keys and values.
        vocabulary: Tokens.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        models: By the name that the page has for it.
        prompts: Prompts of a step.
        size: Candidates of a prompt.
        new: Tokens of an answer.
        steps: Steps of a run, of which the first warms up.
        rounds: Runs of each side against TRL.
        repeats: Draws of each side against ``generate()``.
        matrix: Rows of the matrix product.
    """

    models: dict[str, Size]
    prompts: int
    size: int
    new: int
    steps: int
    rounds: int
    repeats: int
    matrix: int


REAL = Scale(
    {
        "135 M": Size(576, 1536, 30, 9, 3, 49152),  # the shape of SmolLM2-135M
        "1.5 B": Size(1536, 8960, 28, 12, 2, 151936),  # that of Qwen2.5-1.5B
    },
    prompts=16, size=16, new=256, steps=3, rounds=2, repeats=3, matrix=8192,
)  # fmt: skip
TOY = Scale(
    {"a": Size(32, 64, 2, 2, 1, 64), "b": Size(48, 96, 2, 2, 1, 64)},
    prompts=2, size=4, new=6, steps=2, rounds=1, repeats=1, matrix=64,
)  # fmt: skip


@dataclass
class Check:
    """What was measured, and on what.

    Attributes:
        pretend: Whether this is the CPU at toy size.
        device: Name of the device.
        torch: Its version.
        stages: By name: what came of it.
        seconds: By stage.
        failed: Why a stage has no result, by its name.
        left_out: Stages for which there was no time.
    """

    pretend: bool
    device: str
    torch: str
    stages: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def main() -> None:
    """Measure, and write as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretend", action="store_true", help="the CPU at toy size")
    parser.add_argument("--output", type=Path, default=None, help="folder; default docs/results")
    parser.add_argument("--step", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step is not None:
        one_step(args.step)
        return
    output = refused_or(args)
    if args.pretend:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    quiet()
    faulthandler.dump_traceback_later(60 * MINUTES + GRACE, exit=True)
    made = check(args.pretend, output)
    faulthandler.cancel_dump_traceback_later()
    raise SystemExit(1 if made.failed else 0)


def refused_or(args: argparse.Namespace) -> Path:
    """Where results go; ends the process where they cannot be had or would be false."""
    import torch

    if not args.pretend and not torch.cuda.is_available():
        sys.stderr.write(
            "no CUDA device here, so nothing was measured. `--pretend` walks the same code on the "
            "CPU at toy size.\n"
        )
        raise SystemExit(2)
    if args.pretend and (args.output is None or args.output.resolve() == RESULTS):
        sys.stderr.write("--pretend needs --output, another folder than docs/results.\n")
        raise SystemExit(2)
    return args.output or RESULTS


def quiet() -> None:
    """No bars and warnings of libraries; products of float32 in float32."""
    import warnings

    import torch
    import transformers

    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def check(pretend: bool, output: Path) -> Check:
    """Every stage that there is time for."""
    import torch

    device = "cpu" if pretend else "cuda"
    scale = TOY if pretend else REAL
    name = "CPU, pretending" if pretend else torch.cuda.get_device_name()
    made = Check(pretend, name, torch.__version__)
    output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        models = {name: Path(place) / f"model-{i}" for i, name in enumerate(scale.models)}
        for stage, measure in stages(scale, models, device):
            left = 60 * MINUTES - (time.monotonic() - began)
            if left > 0:
                attempt(made, stage, measure, min(left, 60 * STAGE_MINUTES))
            else:
                made.left_out.append(stage)
            write(made, output)
    print(f"{time.monotonic() - began:.0f} s in all, written into {output}")
    return made


def attempt(made: Check, stage: str, measure: Callable[[], Any], seconds: float) -> None:
    """One stage within its seconds; what came of it, or why nothing did."""
    start = time.monotonic()
    try:
        with within(seconds):
            made.stages[stage] = measure()
    except Late:
        made.failed[stage] = f"not done after {seconds:.0f} s"
    except Exception as error:  # whatever it is, the next stage may do
        made.failed[stage] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    made.seconds[stage] = round(time.monotonic() - start, 1)
    came = made.failed.get(stage) or json.dumps(made.stages[stage])
    print(f"{stage}: {made.seconds[stage]:.0f} s, {came}", flush=True)
    if stage in made.failed:
        gc.collect()  # what a traceback held of the device
        reset_memory("cpu" if made.pretend else "cuda")


class Late(BaseException):
    """The time of a stage is over; nothing that is measured catches it for an error of its own."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """End what is done here after some seconds, as soon as the interpreter has a say.

    Raises:
        Late: They are over.
    """

    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write(made: Check, output: Path) -> None:
    """Write what there is so far."""
    text = json.dumps(asdict(made), indent=1) + "\n"
    (output / "gpu.json").write_text(text, encoding="utf-8")
    (output / "gpu.md").write_text(page(made), encoding="utf-8")


def stages(
    scale: Scale, models: dict[str, Path], device: str
) -> list[tuple[str, Callable[[], Any]]]:
    """What is measured, what matters most first; models are made by the stage that needs one."""
    first, second = models

    def trained(name: str) -> Any:
        random_model(scale.models[name], models[name])
        return training(scale, models[name], device)

    return [
        ("equality of log-probs", lambda: log_probs_equal(scale, device)),
        ("equality of a step", step_equal),
        (f"training, {first}", lambda: trained(first)),
        (f"step against TRL, {first}", lambda: against_trl(scale, models[first])),
        (f"sampler against generate(), {first}", lambda: sampling(scale, models[first], device)),
        (f"training, {second}", lambda: trained(second)),
    ]


def log_probs_equal(scale: Scale, device: str) -> dict[str, float]:
    """Largest differences between the device and the CPU: log-probs of its own draws, gradients.

    The draws are the sampler's on the device; its recorded log μ is held against a forward on the
    CPU. ``tokens_alike`` is the share of tokens that the CPU draws too, from the same uniforms.
    """
    import numpy as np

    import forward
    import sampler
    from tod.engine.forward.log_probs import scored_log_probs

    here, there = sampler.Subject("tod://tiny"), sampler.Subject("tod://tiny", device)
    on_cpu, rollouts = draw(scale, here), draw(scale, there)
    own = scored_log_probs(there.model, rollouts)[0]
    other = scored_log_probs(here.model, rollouts)[0]
    gradients = []
    for subject in (here, there):
        forward.step(subject.model, rollouts, "auto")
        flat = [p.grad.detach().cpu().numpy().ravel() for p in subject.model.parameters()]
        gradients.append(np.concatenate(flat))
    shorter = min(len(on_cpu.ids), len(rollouts.ids))
    alike = on_cpu.ids[:shorter] == rollouts.ids[:shorter]
    return {
        "log_mu_less_cpu": float(np.abs(rollouts.log_mu - other).max()),
        "log_pi_less_cpu": float(np.abs(own - other).max()),
        "gradient_relative": float(
            np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max()
        ),
        "tokens": len(rollouts.ids),
        "tokens_alike": float(alike.mean()),
    }


def draw(scale: Scale, subject: Any) -> Any:
    """Candidates of a few prompts, with their log μ."""
    from tod.engine.sampling.params import SamplingParams
    from tod.engine.sampling.sampler import sample

    return sample(
        subject.model,
        subject.prompts[: scale.prompts],
        scale.size,
        params=SamplingParams(max_new_tokens=20),
        pad_id=subject.pad,
        eos_ids=subject.ends,
        seed=0,
        step=0,
        path="native",
    )


def step_equal() -> dict[str, float]:
    """A whole training step in a process on the CPU and one on the device: weights afterwards."""
    import numpy as np
    from safetensors.numpy import load_file

    weights = []
    with tempfile.TemporaryDirectory() as place:
        for side, hidden in (("here", {"CUDA_VISIBLE_DEVICES": ""}), ("there", {})):
            out, env = Path(place) / side, {**os.environ, **hidden}
            command = [sys.executable, __file__, "--step", str(out)]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            weights.append(load_file(out / "model" / "model.safetensors"))
    here, there = weights
    moved = max(float(np.abs(here[k] - there[k]).max()) for k in here)
    return {"weights_difference": moved, "learning_rate": learning_rate()}


def learning_rate() -> float:
    """What Adam's first step moves a weight by at most."""
    import step_vs_trl

    return step_vs_trl.LEARNING_RATE


def one_step(output: Path) -> None:
    """One training step of the embedded model, in this process."""
    import step_vs_trl
    from tod.engine.train import train

    quiet()
    asked = argparse.Namespace(
        model="tod://tiny", prompts=8, size=8, new=20, steps=1, dtype="float32"
    )
    train(step_vs_trl.settings(asked, output))


def random_model(size: Size, path: Path) -> None:
    """Write a Llama of random weights, with the tokenizer of the embedded model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tod.engine.models import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer("tod://tiny")
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)


def asked_of(scale: Scale, model: Path) -> argparse.Namespace:
    """What both sides of the benchmark of steps are called with."""
    return argparse.Namespace(
        model=str(model),
        prompts=scale.prompts,
        size=scale.size,
        new=scale.new,
        steps=scale.steps,
        dtype="bfloat16",
    )


def training(scale: Scale, model: Path, device: str) -> dict[str, Any]:
    """MFU of the training phase, and peak memory against the forecast."""
    import torch

    import step_vs_trl
    from tod.engine.data.load import load_task
    from tod.engine.forecast import forecast

    asked = asked_of(scale, model)
    settings = step_vs_trl.settings(asked, model / "unused")
    told = forecast(settings, load_task(settings.task, settings.prompt_seed)).memory.total
    reset_memory(device)
    step_vs_trl.ours(asked)
    used = peak_memory(device)
    steps = step_vs_trl.ours.records[-(scale.steps - 1) :]  # type: ignore[attr-defined]
    flops = sum(record.ledger.train_flops for record in steps)
    seconds = sum(record.seconds["train"] for record in steps)
    gemm = step_vs_trl.gemm_rate(scale.matrix, "bfloat16", device)
    peak = next((p for name, p in PEAKS.items() if name in device_name(device)), None)
    if device == "cuda":
        torch.cuda.empty_cache()
    return {
        "train_seconds": seconds / len(steps),
        "train_flops": flops / len(steps),
        "gemm_flops_per_second": gemm,
        "mfu_of_gemm": flops / seconds / gemm,
        "mfu_of_peak": None if peak is None else flops / seconds / peak,
        "memory_bytes": used,
        "forecast_bytes": told,
        "memory_of_forecast": None if used is None else used / told,
    }


def device_name(device: str) -> str:
    """What the device calls itself; nothing on the CPU."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else ""


def reset_memory(device: str) -> None:
    """Begin a new peak of the device's allocator."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> int | None:
    """Peak bytes of the device's allocator; unknown on the CPU, which counts the whole process."""
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def against_trl(scale: Scale, model: Path) -> dict[str, float]:
    """Median seconds of a step, ours and TRL's, in turns; the first of each run warms up."""
    import statistics

    import step_vs_trl

    asked = asked_of(scale, model)
    seconds: dict[str, list[float]] = {"tod": [], "trl": []}
    for _ in range(scale.rounds):
        seconds["tod"] += step_vs_trl.ours(asked)
        seconds["trl"] += step_vs_trl.theirs(asked)
    mine, other = (statistics.median(seconds[side]) for side in ("tod", "trl"))
    return {"tod_seconds": mine, "trl_seconds": other, "speed": other / mine}


def sampling(scale: Scale, model: Path, device: str) -> dict[str, Any]:
    """Useful tokens a second of both samplers, at the batch of a step."""
    import sampler

    subject = sampler.Subject(str(model), device, "bfloat16")
    batch = max(sampler.CANDIDATES, scale.prompts * scale.size)
    return dict(sampler.compare(subject, batch, scale.new, scale.repeats))


def page(made: Check) -> str:
    """The results as a page."""
    toy = ": pretended, on a CPU at toy size; no figure means anything" if made.pretend else ""
    took = f"{sum(made.seconds.values()):.0f} s"
    lines = [
        f"# On a GPU{toy}",
        "",
        f"`make gpu` on {made.device}, torch {made.torch}, {took}.",
        "",
    ]
    for stage, found in made.stages.items():
        lines += [f"## {stage[0].upper()}{stage[1:]}", "", "| | |", "|---|---|"]
        lines += [f"| {name.replace('_', ' ')} | {shown(value)} |" for name, value in found.items()]
        lines.append("")
    lines += [f"Failed: {name}: `{why.replace('`', '')}`." for name, why in made.failed.items()]
    lines += [f"Left out, for {MINUTES:g} minutes were over: {name}." for name in made.left_out]
    return "\n".join(lines).rstrip() + "\n"


def shown(value: Any) -> str:
    """A figure in four digits; unknown where there is none."""
    if value is None:
        return "unknown"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
