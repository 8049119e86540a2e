"""Trains the recipes of the atlas briefly and asks all findings of each: sound runs stay silent.

    python scripts/sound_runs.py run sound.jsonl       # resumable; a line a run
    python scripts/sound_runs.py table sound.jsonl docs/results/sound_runs.md

A run is its recipe as it stands, on the embedded models, for 20 steps instead of 60 and more, with
fewer held-out prompts. What is counted is every finding that is a warning or worse.
"""

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from run_or_table import append, main, recorded

ROOT = Path(__file__).parent.parent
STEPS, CONTEXTS = 20, 64
EVALUATE = {"held_out_prompts": 16, "samples_per_prompt": 2}
BOUND = 0.02
"""Share of sound runs with a warning or worse that may not be exceeded."""


def run(config: Path, output: Path, seed: int) -> dict[str, Any]:
    """One recipe, shortened, and what its findings are."""
    from tod.base import TodError
    from tod.engine.search.job import search
    from tod.engine.settings import RunSettings
    from tod.engine.train import train

    started = time.process_time()
    row: dict[str, Any] = {"recipe": config.stem, "seed": seed, "error": None}
    try:
        settings = RunSettings.load(config, (f"output={output}",))
        data = settings.plain()
        if settings.selects:
            data["search"] = (data["search"] or {}) | {"contexts": CONTEXTS}
        else:
            data["evaluate"] = (data["evaluate"] or {}) | EVALUATE
            data["train"] = data["train"] | {"steps": STEPS, "seed": seed}
        settings = RunSettings.parse(data)
        (search if settings.selects else train)(settings, overwrite=True)
        row |= said(output)
    except TodError as error:
        row["error"] = f"{type(error).__name__}: {error}"
    return {**row, "seconds": round(time.process_time() - started, 1)}


def said(output: Path) -> dict[str, Any]:
    """Findings of a run directory, and what could not be checked."""
    from tod.cli.evidence_of_run import sorted_out
    from tod.findings import find, run_of
    from tod.formats import read

    rollouts, logs = sorted_out([str(output)], "auto", mapped=False)
    found = find(run_of(read(rollouts) if rollouts else None, logs))
    table = found.run.rollouts
    return {
        "steps": len(found.run.steps),
        "rollouts": 0 if table is None else len(table.reward),
        "faults": [[f.kind, f.severity, f.headline] for f in found.faults],
        "notes": [[f.kind, f.headline] for f in found.notes],
        "checked": len(found.clear) + len(found.all),
        "unknown": len(found.unknown),
    }


def run_all(path: Path, only: Sequence[str] | None, seed: int) -> None:
    """Run what is not in the file yet."""
    warnings.simplefilter("ignore")
    have = {(row["recipe"], row["seed"]) for row in recorded(path)}
    configs = sorted((ROOT / "configs").glob("*.yaml"))
    wanted = [c for c in configs if only is None or c.stem in only]
    todo = [c for c in wanted if (c.stem, seed) not in have and "quickstart" not in c.stem]
    with tempfile.TemporaryDirectory() as temporary:
        for _ in append(path, (run(c, Path(temporary) / c.stem, seed) for c in todo)):
            pass


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    if row["error"]:
        return f"`{row['recipe']}`", "", "", row["error"][:80], ""
    faults = "; ".join(f"**{severity}** {text}" for _, severity, text in row["faults"])
    notes = ", ".join(f"`{kind}`" for kind, _ in row["notes"])
    return f"`{row['recipe']}`", str(row["steps"]), str(row["rollouts"]), faults or "none", notes


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown."""
    ran = [row for row in rows if not row["error"]]
    loud = [row for row in ran if row["faults"]]
    share = len(loud) / max(len(ran), 1)
    lines = [
        "# What findings say of sound runs",
        "",
        "`python scripts/sound_runs.py run sound.jsonl`, then `table`. Recipes of the atlas as",
        f"they stand, {STEPS} steps on the embedded models, diagnosed from their run directories:",
        f"{len(ran)} runs, {len(loud)} with a warning or worse ({share:.1%}; bound {BOUND:.0%}).",
        "",
        "| recipe | steps | rollouts | warnings and worse | notes |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main(
        __doc__,
        lambda path, asked: run_all(path, asked.only, asked.seed),
        page,
        {"--only": {"nargs": "*"}, "--seed": {"type": int, "default": 0}},
    )
