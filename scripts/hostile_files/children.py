"""Cases in child processes with limits of time and memory: a crash or a hang is an outcome, too."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEMORY = 2 << 30
"""Bytes that a child may add to what it holds when it starts."""
SECONDS = 20
"""Seconds of the processor that one case may take."""
_START = 30
"""The same for importing what it needs."""


@dataclass
class Outcome:
    """What came of many cases.

    Attributes:
        counts: Cases by outcome.
        faults: Seed and what happened, of cases that were neither answered nor refused.
        longest: Seconds of the longest case, and its seed.
        peak: Largest resident memory of a child, bytes.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    longest: tuple[float, int] = (0.0, 0)
    peak: int = 0


def run(kind: str, first: int, count: int, seconds: float = SECONDS) -> Outcome:
    """All cases of a kind from seed ``first`` on; a child that dies is followed by another."""
    told, start = Outcome(), first
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "mark"
        while start < first + count and len(told.faults) < 20:
            mark.write_text(f"{start - 1} {{}}")
            words = [sys.executable, "-c", _CHILD, kind, str(start), str(first + count), str(mark)]
            child = subprocess.Popen(
                words, stderr=subprocess.PIPE, env={**os.environ, "POLARS_MAX_THREADS": "1"}
            )
            why = _watch(child, mark, seconds)
            at, rest = mark.read_text().split(" ", 1)
            _add(told, json.loads(rest))
            if why:
                told.faults[int(at) + 1] = why
            start = int(at) + (2 if why else 1)
    return told


def _watch(child: "subprocess.Popen[bytes]", mark: Path, seconds: float) -> str:
    """Wait for a child; why it did not end by itself, or an empty text.

    A case that computes is known by its processor time, which a busy machine does not stretch.
    """
    last, spent, since = "", 0.0, time.monotonic()
    while child.poll() is None:
        time.sleep(0.1)
        now, used = mark.read_text().split(" ")[0], _processor_seconds(child.pid)
        if now != last:
            last, spent, since = now, used + (0 if last else _START), time.monotonic()
        if used - spent > seconds or time.monotonic() - since > 20 * seconds + _START:
            child.kill()
            child.communicate()
            return f"hangs for more than {seconds:g} s"
    words = child.communicate()[1].decode(errors="replace")
    return "" if child.returncode == 0 else f"ended with {child.returncode}: {words[-600:]}"


def _processor_seconds(process: int) -> float:
    """Processor time of a process so far; 0 when it has just ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _add(told: Outcome, said: dict[str, Any]) -> None:
    """Add what a child said with its last mark."""
    told.counts.update(said.get("counts", {}))
    told.faults |= {int(seed): why for seed, why in said.get("faults", {}).items()}
    told.longest = max(told.longest, tuple(said.get("longest", (0.0, 0))))
    told.peak = max(told.peak, said.get("peak", 0))


_CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from hostile_files.children import child
child()
"""


def child() -> None:
    """The cases of one child: the mark says the last seed that was done, and what came so far."""
    kind, first, end, mark = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    from hostile_files.cases import attempt

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, end):
            begin = time.process_time()
            try:
                told.counts[attempt(kind, seed, Path(folder))] += 1
            except Exception:
                told.faults[seed] = traceback.format_exc()[-1500:]
            told.longest = max(told.longest, (time.process_time() - begin, seed))
            told.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            said = {"counts": told.counts, "faults": told.faults}
            said |= {"longest": told.longest, "peak": told.peak}
            new = mark.with_suffix(".new")
            new.write_text(f"{seed} {json.dumps(said)}")
            new.replace(mark)
            if len(told.faults) >= 20:
                sys.exit(0)
