"""How often findings name planted faults, date them, and alarm on healthy runs: many seeds.

    python scripts/findings_statistics.py run outcomes.jsonl     # resumable; a line a run
    python scripts/findings_statistics.py table outcomes.jsonl docs/results/findings.md

Bounds were tuned on seeds 0 to 999; the seeds here are 500 000 and more, of which 500 000 to
500 099 and 600 000 to 600 014 are used up. What is counted, and what must be reached, was written
down before they were drawn: docs/results/findings-plan.md.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from run_or_table import append, main, recorded
from tod.findings.planted import (
    FAULTS,
    HEALTHY,
    OutcomeSummary,
    PlantedOutcome,
    Scenario,
    outcome,
    summary,
)
from tod.findings.planted.outcomes import HEALTHY_CRITICAL, HEALTHY_FAULTS, ScenarioTally

FIRST = 500_000
RUNS = 100
"""Runs of a fault."""
HEALTHY_RUNS = 100
"""Runs of a healthy family."""
FEW = 10
"""Runs below which no share is judged."""


def planned(first: int, runs: int, healthy: int) -> Iterator[tuple[Scenario, int]]:
    """Scenarios and seeds, seed by seed, so that a stopped run is a smaller one."""
    for seed in range(max(runs, healthy)):
        for scenario in FAULTS + HEALTHY:
            if seed < (runs if scenario.kinds else healthy):
                yield scenario, first + seed


def run(path: Path, first: int, runs: int, healthy: int) -> None:
    """Plant what is not in the file yet, a line a run."""
    have = {(row["scenario"], row["seed"]) for row in recorded(path)}
    todo = [pair for pair in planned(first, runs, healthy) if (pair[0].name, pair[1]) not in have]
    started = time.process_time()
    rows = append(path, (outcome(scenario, seed).to_dict() for scenario, seed in todo))
    for place, _ in enumerate(rows):
        if place % 200 == 199:
            print(f"{place + 1} of {len(todo)} runs, {time.process_time() - started:.0f} s")


def share(count: int, runs: int) -> str:
    """``48/50``, or nothing of nothing."""
    return f"{count}/{runs}" if runs else ""


def reached(tally: ScenarioTally) -> str:
    """The bounds of a fault that its shares do not reach, in words; ``yes`` if there are none."""
    bounds = tally.scenario.bounds
    shares = (
        ("named", tally.named, tally.runs, bounds.named),
        ("onset", tally.datable_within, tally.datable, bounds.onset),
        ("interval", tally.covered, tally.dated, bounds.covered),
    )
    short = [
        f"{word} {count / runs:.0%} < {bound:.0%}"
        for word, count, runs, bound in shares
        if bound and runs >= FEW and count / runs < bound
    ]
    return "; ".join(short) or "yes"


def fault_rows(said: OutcomeSummary) -> list[str]:
    """A row of the table for every fault."""
    rows = [
        "| planted fault | named as | runs | named | named first | onset | datable | interval "
        "| bounds reached |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for t in said.faults:
        within = f"±{t.scenario.bounds.within}: {share(t.within, t.dated)}" if t.dated else ""
        cells = (
            t.scenario.name,
            ", ".join(f"`{kind}`" for kind in t.scenario.kinds),
            str(t.runs),
            str(t.named),
            str(t.first),
            within,
            share(t.datable_within, t.datable) if t.scenario.shape == "ramp" else "",
            share(t.covered, t.dated),
            reached(t),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def below_bounds(said: OutcomeSummary) -> list[str]:
    """How many faults have a share below a bound, and which counts contradict theirs."""
    runs = [t.runs for t in said.faults]
    short = sum(reached(t) != "yes" for t in said.faults)
    named, planted = sum(t.named for t in said.faults), sum(runs)
    against = "; ".join(said.missed) or "none"
    return [
        f"Faults named: {named} of {planted}. Of {len(runs)} faults, planted {min(runs)} times and "
        f"more each, {short} have a share below a bound of theirs; counts as bad as these have a "
        f"probability below 1/1000 if the bound holds: {against}.",
    ]


def healthy_rows(said: OutcomeSummary) -> list[str]:
    """A row of the table for every healthy family."""
    rows = ["| healthy family | runs | with a fault | critical |", "|---|---|---|---|"]
    rows += [f"| {t.scenario.name} | {t.runs} | {t.faults} | {t.critical} |" for t in said.healthy]
    runs = said.healthy_runs
    rows.append(f"| all | {runs} | {said.false_faults} | {said.false_critical} |")
    return rows


def page(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    outcomes = [PlantedOutcome.of(row) for row in rows]
    said = summary(FAULTS + HEALTHY, outcomes)
    seeds = [item.seed for item in outcomes]
    runs = said.healthy_runs
    which = ", ".join(f"`{kind}` {count}" for kind, count in sorted(said.false.items())) or "none"
    return "\n".join(
        (
            "# How often findings are right",
            "",
            "Planted runs whose truth is known, seeds "
            f"{min(seeds)} to {max(seeds)}; bounds were tuned on seeds 0 to 999. What is counted "
            "is in [findings-plan.md](findings-plan.md), which was written first.",
            "",
            "```bash",
            f"python scripts/findings_statistics.py run outcomes.jsonl --first-seed {min(seeds)} "
            f"--runs {max(t.runs for t in said.faults)} "
            f"--healthy-runs {max(t.runs for t in said.healthy)}",
            "python scripts/findings_statistics.py table outcomes.jsonl PAGE",
            "```",
            "",
            f"Healthy runs with a warning or worse: {said.false_faults} of {runs} "
            f"({said.false_faults / max(runs, 1):.2%}; bound {HEALTHY_FAULTS:.0%}), critical: "
            f"{said.false_critical} ({said.false_critical / max(runs, 1):.2%}; bound "
            f"{HEALTHY_CRITICAL:.1%}). Kinds: {which}.",
            "",
            *below_bounds(said),
            "",
            *fault_rows(said),
            "",
            "*named* counts warnings and critical findings. *datable*: of the ramps whose onset "
            "noise leaves uncertain by at most one step.",
            "",
            *healthy_rows(said),
            "",
        )
    )


if __name__ == "__main__":
    main(
        __doc__,
        lambda path, asked: run(path, asked.first_seed, asked.runs, asked.healthy_runs),
        page,
        {
            "--first-seed": {"type": int, "default": FIRST},
            "--runs": {"type": int, "default": RUNS},
            "--healthy-runs": {"type": int, "default": HEALTHY_RUNS},
        },
    )
