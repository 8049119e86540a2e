"""How often `tod watch` alarms on a healthy run that grows: 25 looks at each of many runs.

    python scripts/watched_runs.py run watched.jsonl        # resumable; a line a run
    python scripts/watched_runs.py table watched.jsonl docs/results/watch.md

A look sees the first steps of a planted healthy run, from the fourth part of it to all of it, and
all detectors are asked as in `tod.findings.watching`. An alarm is a finding that is a warning or
worse and was seen in two consecutive looks, which is what the command tells and acts on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from run_or_table import append, main, recorded
from tod.findings import RolloutTable, TrainingRun, find
from tod.findings.planted import HEALTHY, Scenario
from tod.findings.watching import Alerts

LOOKS = 25
CONSECUTIVE = (1, 2, 3)
RUNS = 12
"""Runs of a healthy family."""
FIRST = 700_000
BOUND = 0.05
"""Share of runs that ever alarm, at most."""


def until(run: TrainingRun, step: int) -> TrainingRun:
    """What was there of a run when it had come to a step."""
    series = {name: s.part(s.steps <= step) for name, s in run.series.items()}
    series = {name: s for name, s in series.items() if len(s)}
    rollouts = None if run.rollouts is None else rows_until(run.rollouts, step)
    return replace(run, series=series, rollouts=rollouts)


def rows_until(table: RolloutTable, step: int) -> RolloutTable:
    """The rollouts of the steps up to one."""
    groups, rows = table.groups.take(np.flatnonzero(table.step <= step))
    columns = {
        name: None if values is None else values[rows]
        for name in ("input", "text", "length", "truncated", "advantage", "lag", "error")
        for values in (getattr(table, name),)
    }
    return replace(
        table,
        groups=groups,
        step=table.step[: len(groups)],
        reward=table.reward[rows],
        rewards={name: values[rows] for name, values in table.rewards.items()},
        prompt=None if table.prompt is None else table.prompt[: len(groups)],
        **columns,
    )


def steps_of_looks(steps: np.ndarray) -> list[int]:
    """The last step that every look sees, evenly from a fourth of the run on, each once."""
    at = np.unique(np.rint(np.linspace(len(steps) / 4, len(steps), LOOKS)).astype(int))
    return [int(steps[place - 1]) for place in at if place]


def watched(scenario: Scenario, seed: int) -> dict[str, Any]:
    """What was told of a run, by how many consecutive looks a finding needs."""
    run = scenario.plant(seed).run
    table = run.rollouts
    steps = run.steps if table is None else table.steps
    alerts = {looks: Alerts(looks) for looks in CONSECUTIVE}
    told: dict[int, list[list[Any]]] = {looks: [] for looks in CONSECUTIVE}
    places = steps_of_looks(steps)
    for step in places:
        findings = find(until(run, step))
        for looks, memory in alerts.items():
            new = [f for f in memory.update(findings) if f.fault]
            told[looks] += [[f.kind, f.severity, step] for f in new]
    return {
        "scenario": scenario.name,
        "seed": seed,
        "steps": len(steps),
        "looks": len(places),
        "told": {str(looks): items for looks, items in told.items()},
    }


def planned(runs: int, first: int) -> Iterator[tuple[Scenario, int]]:
    """Families and seeds, seed by seed, so that a stopped run is a smaller one."""
    for seed in range(first, first + runs):
        for scenario in HEALTHY:
            yield scenario, seed


def run_all(path: Path, runs: int, first: int) -> None:
    """Watch what is not in the file yet."""
    have = {(row["scenario"], row["seed"]) for row in recorded(path)}
    todo = [(what, seed) for what, seed in planned(runs, first) if (what.name, seed) not in have]
    for _ in append(path, (watched(scenario, seed) for scenario, seed in todo)):
        pass


def alarmed(rows: Sequence[Mapping[str, Any]], looks: int) -> int:
    """Runs of which something was told."""
    return sum(bool(row["told"][str(looks)]) for row in rows)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The counts as Markdown."""
    runs = max(len(rows), 1)
    kinds = Counter(
        kind for row in rows for kind in {item[0] for item in row["told"]["2"]}
    ).most_common()
    which = ", ".join(f"`{kind}` {count}" for kind, count in kinds) or "none"
    looks = float(np.mean([row["looks"] for row in rows])) if rows else 0.0
    families = Counter(row["scenario"] for row in rows)
    per_family = max(families.values(), default=0)
    lines = [
        "# Healthy runs under `tod watch`",
        "",
        f"`python scripts/watched_runs.py run watched.jsonl --runs {per_family}`, then `table`.",
        f"{len(rows)} planted healthy runs of {len(families)} families grow; {LOOKS} looks at each",
        f"({looks:.1f} on average: a run of few steps has fewer), from a fourth of it on.",
        f"Bound: {BOUND:.0%} ever alarmed. Seeds {FIRST:,} and more, used for nothing else.",
        "",
        "| consecutive looks that a finding needs | runs with an alarm | share |",
        "|---|---|---|",
    ]
    for looks_needed in CONSECUTIVE:
        count = alarmed(rows, looks_needed)
        note = " (the command's own)" if looks_needed == 2 else ""
        lines.append(f"| {looks_needed}{note} | {count} of {len(rows)} | {count / runs:.1%} |")
    lines += [
        "",
        f"Told after two looks: {which}.",
        "",
        "| family | runs | alarmed |",
        "|---|---|---|",
    ]
    for scenario in HEALTHY:
        mine = [row for row in rows if row["scenario"] == scenario.name]
        lines.append(f"| {scenario.name} | {len(mine)} | {alarmed(mine, 2)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main(
        __doc__,
        lambda path, asked: run_all(path, asked.runs, asked.first_seed),
        page,
        {
            "--runs": {"type": int, "default": RUNS},
            "--first-seed": {"type": int, "default": FIRST},
        },
    )
