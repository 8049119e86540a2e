"""What the population intervals cost: of a training step, and of diagnosing a million rollouts.

For a step of 64 prompts × 8: the counts that every step adds, and a reading of the pool that some
steps make, against the diagnostics and a step of the quickstart. For 10⁶ rollouts in 20 and
in 500 steps: `diagnose` as a whole, and the part of it that reads the population.

    OMP_NUM_THREADS=1 python benchmarks/population.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tod.base import Groups
from tod.candidates import Candidates
from tod.diagnosis import diagnose
from tod.diagnosis.judged import Judged
from tod.formats import read
from tod.procedure import examine, statistics_of, steps_of
from tod.regimes.growing import EVERY
from tod.targets import Target


def median_seconds(call: Callable[[], Any], rounds: int) -> float:
    """Of so many calls, after one that fills the caches."""
    call()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def rewards(rng: np.random.Generator, kind: str, n: int) -> Any:
    """0/1 rewards of pass rate .4, or normal ones."""
    return (rng.random(n) < 0.4).astype(float) if kind == "0/1" else rng.normal(size=n)


def quickstart_step(folder: Path) -> float:
    """Median seconds of a training step of the quickstart on this machine."""
    from tod.atlas import recipe_file
    from tod.engine.settings import RunSettings
    from tod.engine.train import train
    from tod.runs import RunDirectory

    words = ("train.steps=12", "evaluate=null", f"output={folder / 'run'}")
    path = train(RunSettings.load(recipe_file("quickstart"), words))
    records = [r for r in RunDirectory.open(path).steps.read() if r.get("seconds")]
    return statistics.median(sum(r["seconds"].values()) for r in records[2:])


def of_a_step(kind: str, step: float) -> None:
    """A batch of 64 × 8 with the policy's log-probs."""
    rng, groups = np.random.default_rng(0), Groups.equal(64, 8)
    candidates = Candidates(
        contexts=groups,
        utility={"r": rewards(rng, kind, groups.total)},
        log_mu=np.full(groups.total, -20.0),
        log_anchor={"policy": -20.0 + 1e-3 * rng.normal(size=groups.total)},
    )
    target = Target.parse({"anchor": {"mu": 1.0}, "tilts": [{"utility": "r", "eta": 1.0}]})
    examined = examine(target, candidates)
    counts = statistics_of(examined)
    whole = median_seconds(lambda: examine(target, candidates), 21)
    adding = median_seconds(lambda: statistics_of(examined), 21)
    reading = median_seconds(counts.population, 21)
    each = adding + reading / EVERY
    print(
        f"{kind:7} step of 64 x 8: diagnostics {whole * 1e3:.2f} ms, counts {adding * 1e3:.2f} ms, "
        f"reading the pool {reading * 1e3:.2f} ms every {EVERY} steps: {each / step:.2%} of a "
        f"quickstart step ({step * 1e3:.0f} ms)"
    )


def of_rollouts(kind: str, steps: int, folder: Path) -> None:
    """10⁶ rollouts in so many steps of groups of 8."""
    rng = np.random.default_rng(1)
    n = 10**6 // (8 * steps) * 8 * steps
    columns = {
        "step": np.repeat(np.arange(1, steps + 1), n // steps),
        "context": np.arange(n) // 8,
        "utility.r": rewards(rng, kind, n),
        "log_mu": np.full(n, -20.0),
    }
    path = folder / f"{kind.replace('/', '')}-{steps}.parquet"
    pl.DataFrame(columns).write_parquet(path)
    start = time.perf_counter()
    reading = read(path)
    loading = time.perf_counter() - start
    found = diagnose(reading, eta=1.0, on_policy=True)
    parts = {step: found.examined.part(at) for step, at in steps_of(reading)}

    def words() -> None:
        Judged(found.examined, found.sourced, parts, found.regime.thresholds).regime(None)

    whole = median_seconds(lambda: diagnose(reading, eta=1.0, on_policy=True).to_dict(), 3)
    population = median_seconds(words, 3)
    rest = loading + whole - population
    print(
        f"{kind:7} 10^6 rollouts in {steps} steps: reading {loading:.2f} s, diagnosing {whole:.2f} "
        f"s, of which the population {population:.2f} s: {population / rest:.0%} on top of the rest"
    )


def main() -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        step = quickstart_step(folder)
        for kind in ("0/1", "graded"):
            of_a_step(kind, step)
        for kind in ("0/1", "graded"):
            for steps in (20, 500):
                of_rollouts(kind, steps, folder)


if __name__ == "__main__":
    main()
