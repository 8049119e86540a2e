"""Reading and diagnosing against the bare tools: polars for our Parquet, msgspec for JSON lines.

Run: ``python benchmarks/readers.py [--candidates 200000] [--megabytes 64] [--repeats 5]``; the full
size is ``--candidates 1000000 --megabytes 1024``. Ratios are of medians of passes taken in turn
within one process; ``POLARS_MAX_THREADS`` and ``OMP_NUM_THREADS`` are the caller's. Peak memory is
``VmHWM`` of a fresh process that reads the JSONL once. Exits 1 when a limit is missed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from alternating import alternate
from tod.diagnosis import diagnose
from tod.formats import read
from tod.logs import read_log

PARQUET_LIMIT, JSONL_LIMIT, PEAK_LIMIT = 4.0, 0.5, 1000
LOG_LIMIT = 0.1
K = 8
COLUMNS = ("step", "context", "candidate", "utility.score", "log_mu", "log_policy")


def write_parquet(path: Path, candidates: int) -> Path:
    """Ten steps of contexts of eight, with text that nobody should read."""
    rng = np.random.default_rng(0)
    contexts = candidates // K
    at = np.repeat(np.arange(contexts), K)
    mu = -20 - rng.gamma(4.0, 2.0, contexts * K)
    pl.DataFrame(
        {
            "step": at * 10 // contexts,
            "context": [f"prompt-{i}" for i in at.tolist()],
            "candidate": np.tile(np.arange(K), contexts),
            "prompt": [f"what is {i}? " * 4 for i in at.tolist()],
            "completion": [f"it is {i}. " * 4 for i in range(contexts * K)],
            "utility.score": rng.normal(size=contexts * K),
            "log_mu": mu,
            "log_policy": mu + 0.1 * rng.normal(size=contexts * K) - 0.005,
        }
    ).write_parquet(path)
    return path


def bare(path: Path) -> Any:
    """The least that any tool must do: scan the same columns, one aggregate of each by context."""
    values = pl.col("candidate", "utility.score", "log_mu", "log_policy")
    table = pl.scan_parquet(path).select(COLUMNS).group_by("step", "context")
    return table.agg(values.sum()).collect()


def write_verl(root: Path, megabytes: int, version: int) -> int:
    """Lines of 1 to 4 KB in steps of 4096; returns the bytes written."""
    root.mkdir()
    rng = np.random.default_rng(1)
    text = "".join(map(chr, rng.integers(97, 123, 8000)))
    written = step = 0
    while written < megabytes << 20:
        step += 1
        with open(root / f"{step}.jsonl", "wb") as file:
            for i in range(4096):
                start, size = rng.integers(0, 4000), int(rng.integers(800, 3600))
                row = {"input": f"question {i // K}: {text[:200]}", "output": text[start:][:size]}
                row |= {"gts": "4", "score": float(i % 3 == 0), "step": step}
                if version == 1:
                    row["uid"] = f"{step:04x}{i // K:04x}_0_{i % K}"
                else:
                    row |= {"acc": float(i % 5 == 0), "request_id": f"r-{i}"}
                written += file.write(json.dumps(row).encode() + b"\n")
    return written


class V1(msgspec.Struct):
    """The fields that a diagnosis needs."""

    score: float
    step: int
    uid: str


class V0(msgspec.Struct):
    """The same without a group: the prompt's text is needed, and the extras are utilities."""

    score: float
    step: int
    input: msgspec.Raw
    acc: float


def decode(root: Path, kind: Any) -> int:
    """Msgspec on one thread, the needed fields of every line."""
    decoder, count = msgspec.json.Decoder(kind), 0
    for path in sorted(root.glob("*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                decoder.decode(line)
                count += 1
    return count


def write_log(path: Path, steps: int) -> Path:
    """A metric log of twenty figures a step."""
    names = ["reward", "kl", "entropy", "grad_norm", "loss", "lr", "clip_fraction", "length"]
    row = {"step": 0, **{name: 0.123456789 + i for i, name in enumerate(names)}}
    row |= {f"timing/{i}": 1.5 + i for i in range(12)}
    text = json.dumps(row)[len('{"step": 0') :]
    path.write_text("".join(f'{{"step": {step}{text}\n' for step in range(steps)))
    return path


def decode_log(path: Path) -> int:
    """Msgspec on one thread, every figure of every line."""
    decoder, count = msgspec.json.Decoder(dict[str, float]), 0
    with open(path, "rb") as file:
        for line in file:
            decoder.decode(line)
            count += 1
    return count


def compare_log(path: Path, steps: int, repeats: int) -> bool:
    """Print the throughput of a metric log; whether the limit holds."""
    write_log(path, steps)
    passes = {"msgspec": lambda: decode_log(path), "read": lambda: read_log(path)}
    taken = alternate(passes, repeats)
    ratio = taken["msgspec"] / taken["read"]
    print(
        f"metric log, {steps} lines of 20 figures: msgspec {taken['msgspec']:.3f} s, read "
        f"{taken['read']:.3f} s, throughput ratio {ratio:.2f} (at least {LOG_LIMIT:g})"
    )
    return ratio >= LOG_LIMIT


def peak(root: Path) -> int:
    """Peak resident memory of a fresh process that reads a directory, MB."""
    script = (
        "import re, sys; from tod import read; read(sys.argv[1]); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", script, root]
    return int(subprocess.run(command, check=True, capture_output=True).stdout) * 1024 // 10**6


def compare_verl(root: Path, megabytes: int, repeats: int, version: int) -> bool:
    """Print throughput and peak memory of one version; whether both limits hold."""
    size = write_verl(root, megabytes, version)
    kind = V1 if version else V0
    passes = {"msgspec": lambda: decode(root, kind), "read": lambda: read(root)}
    taken = alternate(passes, repeats)
    ratio, most = taken["msgspec"] / taken["read"], peak(root)
    print(
        f"verl V{version} JSONL, {size >> 20} MB: msgspec {size / taken['msgspec'] / 1e6:.0f} "
        f"MB/s, read {size / taken['read'] / 1e6:.0f} MB/s, throughput ratio {ratio:.2f} (at least "
        f"{JSONL_LIMIT:g}); peak memory of a fresh process {most} MB (at most {PEAK_LIMIT})"
    )
    shutil.rmtree(root)
    return ratio >= JSONL_LIMIT and most <= PEAK_LIMIT


def main() -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = write_parquet(root / "rollouts.parquet", given.candidates)
        taken = alternate(
            {"polars": lambda: bare(path), "read": lambda: read(path), "both": lambda: full(path)},
            given.repeats,
        )
        parquet = taken["both"] / taken["polars"]
        print(
            f"own Parquet, {given.candidates} candidates, {pl.thread_pool_size()} polars threads: "
            f"scan and group-by {taken['polars']:.3f} s, read {taken['read']:.3f} s, read and "
            f"diagnose {taken['both']:.3f} s, ratio {parquet:.2f} (limit {PARQUET_LIMIT:g})"
        )
        held = [
            compare_verl(root / f"v{version}", given.megabytes, given.repeats, version)
            for version in (1, 0)
        ]
        held.append(compare_log(root / "metrics.jsonl", 100_000, given.repeats))
    return 0 if parquet <= PARQUET_LIMIT and all(held) else 1


def full(path: Path) -> Any:
    """What ``tod diagnose FILE --eta 1`` does, without its words."""
    return diagnose(read(path), eta=1.0)


if __name__ == "__main__":
    sys.exit(main())
