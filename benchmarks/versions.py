"""Two checkouts of TOD against each other: readers, kernel, sampler and training step.

Run: ``python benchmarks/versions.py OTHER [--only WORD ...] [--rounds 7] [--rows 8000]``, where
OTHER is a checkout of another version. Each version is a child process that stays; both run the
same pass on the same files in turn, the order changing every round. A ratio is this version's
seconds over the other's in one round, below 1 where this one is faster; printed are the median and
the range over the rounds. Seconds are of processor time on one thread, which other programs disturb
less. ``--peak MEGABYTES`` compares the peak memory of fresh processes that read that much of verl's
JSONL instead. Exits 1 when a median is above ``--limit``.
"""

import argparse
import gc
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
K, STEPS = 8, 4
KERNEL = 2_000_000
SAMPLED = 256
READERS = {
    "verl V1": ("write_verl", {"version": 1}),
    "verl V0": ("write_verl", {"version": 0}),
    "areal": ("write_areal", {}),
    "open-instruct": ("write_open_instruct", {}),
    "tinker": ("write_tinker", {"capture": False}),
    "tinker with capture": ("write_tinker", {}),
    "nemo-rl": ("write_nemo", {}),
    "ms-swift": ("write_swift", {}),
    "prime-rl": ("write_prime", {"exports": False}),
    "prime-rl with exports": ("write_prime", {}),
    "slime": ("write_slime", {}),
    "skyrl": ("write_skyrl", {}),
    "skyrl evaluations": ("write_skyrl_evals", {}),
    "trl": ("write_trl", {}),
    "own Parquet": ("write_tod", {}),
    "own Parquet with tokens": ("write_tod", {"tokens": True}),
    "own JSONL": ("write_tod", {"kind": "jsonl"}),
    "own JSONL with tokens": ("write_tod", {"kind": "jsonl", "tokens": True}),
}
"""By name: the writer of the tests that makes the files, and what it is told."""
MAPPED = {"utility": "score", "context": "uid", "step": "step"}
OTHERS = ("mapping", "kernel equal", "kernel ragged", "sampler", "step")


def write(name: str, root: Path, rows: int) -> None:
    """The files of a reader: groups of eight in four steps, some 60 tokens a row."""
    sys.path.insert(0, str(HERE / "tests" / "formats"))
    import writers

    rng = np.random.default_rng(0)
    world = writers.make_world(steps=STEPS, groups=max(rows // (K * STEPS), 2), k=K)
    for r in world.rollouts:
        size = int(rng.integers(20, 100))
        r.ids = rng.integers(100, 999, size).tolist()
        r.mu = np.round(-rng.gamma(0.7, 0.6, size), 6).tolist()
        r.old = np.round(np.minimum(r.mu + 0.1 * rng.normal(size=size), 0.0), 6).tolist()
        r.ref = np.round(np.minimum(r.mu - 0.2 * rng.random(size), 0.0), 6).tolist()
        r.completion = f"answer {r.place} " + "because it is so " * (size // 2)
    writer, told = READERS[name]
    getattr(writers, writer)(world, root, **told)


def passes(root: Path) -> dict[str, Callable[[], float]]:
    """Every pass of the version that this process imports: it runs once and says its seconds."""

    def timed(run: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            gc.collect()
            start = time.process_time()
            run()
            return time.process_time() - start

        return once

    def reader(name: str, **told: Any) -> Callable[[], float]:
        from tod import read

        return timed(lambda: read(root / name, **told))

    def kernel(shape: str) -> Callable[[], float]:
        from tod.base import Groups
        from tod.diagnostics import weight_statistics

        rng = np.random.default_rng(0)
        log_w = rng.normal(size=KERNEL)
        sizes = np.full(KERNEL // K, K) if shape == "equal" else rng.integers(1, 2 * K, KERNEL // K)
        groups = Groups(sizes)
        log_w = np.resize(log_w, int(sizes.sum()))
        return timed(lambda: weight_statistics(log_w, groups))

    def sampler() -> Callable[[], float]:
        import torch

        from sampler import CANDIDATES, Subject, ours

        torch.set_num_threads(1)
        subject = Subject("tod://tiny")
        prompts = subject.prompts[: SAMPLED // CANDIDATES]
        return timed(lambda: ours(subject, prompts, 20, 0))

    def step() -> Callable[[], float]:
        import torch

        from step_vs_trl import settings

        torch.set_num_threads(1)
        told = argparse.Namespace(prompts=32, size=8, steps=4)
        return lambda: _seconds_of_step(settings, told)

    made: dict[str, Callable[[], Callable[[], float]]] = {
        name: lambda name=name: reader(name) for name in READERS
    }
    made["mapping"] = lambda: reader("verl V1", mapping=MAPPED)
    made["kernel equal"] = lambda: kernel("equal")
    made["kernel ragged"] = lambda: kernel("ragged")
    made |= {"sampler": sampler, "step": step}
    ready: dict[str, Callable[[], float]] = {}

    def run(name: str) -> float:
        if name not in ready:
            ready[name] = made[name]()
            ready[name]()  # the first pass warms
        return ready[name]()

    return {name: lambda name=name: run(name) for name in made}


def _seconds_of_step(settings: Any, told: argparse.Namespace) -> float:
    """Median seconds of the steps after the first of a fresh run of GRPO."""
    from tod.engine.train import Events, train

    marks: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        events = Events(record=lambda _: marks.append(time.process_time()))
        train(settings(told, Path(place) / "run"), events=events)
    return statistics.median(np.diff(marks).tolist())


def serve(root: Path) -> None:
    """Run the passes that are named on standard input; seconds of each on standard output."""
    known = passes(root)
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            print(known[line.strip()](), file=out, flush=True)
        except Exception as error:  # the other version may lack what this one has
            print(f"{type(error).__name__}: {error}".replace("\n", " "), file=out, flush=True)


class Version:
    """A checkout, and the process that runs it."""

    def __init__(self, checkout: Path, root: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(root)]
        self.child = subprocess.Popen(
            command,
            env=environment(checkout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, name: str) -> float:
        """One pass.

        Raises:
            RuntimeError: This version cannot do it, and why.
        """
        assert self.child.stdin is not None and self.child.stdout is not None  # noqa: S101, PT018
        self.child.stdin.write(f"{name}\n")
        self.child.stdin.flush()
        told = self.child.stdout.readline().strip()
        if not re.fullmatch(r"[\d.e-]+", told):
            raise RuntimeError(told or "the process ended")
        return float(told)

    def close(self) -> None:
        """End the process."""
        if self.child.stdin is not None:
            self.child.stdin.close()
        self.child.wait()


def environment(checkout: Path) -> dict[str, str]:
    """The caller's, with the package of a checkout and one thread."""
    one = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    return os.environ | one | {"PYTHONPATH": str(checkout / "src")}


def compare(name: str, versions: tuple[Version, Version], rounds: int) -> float:
    """Run both in turn and print; the median ratio, NaN where one of them cannot."""
    seconds: list[list[float]] = [[], []]
    try:
        for at in range(rounds):
            for side in (0, 1) if at % 2 else (1, 0):
                seconds[side].append(versions[side].seconds(name))
    except RuntimeError as error:
        print(f"{name:26} not compared: {str(error)[:90]}", flush=True)
        return float("nan")
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    middle = statistics.median(ratios)
    mine, theirs = map(statistics.median, seconds)
    print(
        f"{name:26} {mine:9.4f} s {theirs:9.4f} s   {middle:5.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    return middle


def peak(checkout: Path, root: Path) -> float:
    """Peak resident memory of a fresh process that reads a directory, MB."""
    script = (
        "import re, sys; from tod import read; read(sys.argv[1]); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", script, str(root)]
    done = subprocess.run(command, env=environment(checkout), check=True, capture_output=True)
    return int(done.stdout) * 1024 / 1e6


def compare_peaks(other: Path, root: Path, megabytes: int) -> float:
    """Print peak memory on verl's JSONL of both kinds; the larger ratio."""
    from readers import write_verl

    worst = 0.0
    for version in (1, 0):
        folder = root / f"peak{version}"
        write_verl(folder, megabytes, version)
        mine, theirs = peak(HERE, folder), peak(other, folder)
        print(f"verl V{version}, {megabytes} MB: peak {mine:.0f} MB, the other {theirs:.0f} MB")
        worst = max(worst, mine / theirs)
    return worst


def main() -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout of another version")
    parser.add_argument("--only", nargs="*", help="passes whose names hold one of these words")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--limit", type=float, default=1.03)
    parser.add_argument("--peak", type=int, metavar="MEGABYTES")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve is not None:
        serve(told.serve)
        return 0
    if told.other is None:
        print("no checkout of another version was named: nothing to compare")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if told.peak:
            return int(compare_peaks(told.other, root, told.peak) > told.limit)
        names = [n for n in (*READERS, *OTHERS) if not told.only or any(w in n for w in told.only)]
        for name in {"verl V1" if name == "mapping" else name for name in names} & READERS.keys():
            write(name, root / name, told.rows)
        versions = (Version(HERE, root), Version(told.other, root))
        print(f"{'':26} {'this':>11} {'other':>11}   ratio (range of {told.rounds} rounds)")
        ratios = [compare(name, versions, told.rounds) for name in names]
        for version in versions:
            version.close()
    return int(any(ratio > told.limit for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
