"""Runs every recipe of `configs/` once on the embedded models and tabulates what was seen.

Those of the atlas, that is: not quickstart, and not the softer ones of scripts/green_runs.py.

Usage: python scripts/gallery.py [--runs DIR] [--only NAME ...] [--again] [--processes N]
    [--on local|ray|submitit] [--on-option key=value]

Writes docs/results/gallery.json after every recipe, and at the end docs/results/gallery.md and
src/tod/atlas/measured.json, from which `tod atlas grid` places its cells. A recipe that is already
in the JSON is skipped, unless it failed or `--again` is given. With `--runs` the run directories
stay, and `tod atlas grid --runs DIR` places its cells by them instead.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results"
STEPS, CONTEXTS = 20, 64
EMPTY = {"seconds": 0.0}
"""Row of a recipe whose worker was lost, or which failed otherwise than by an error of ours."""
EVALUATE = {"held_out_prompts": 100, "samples_per_prompt": 8}
SHORT = {
    "swap_stable": "stable",
    "transition": "transition",
    "operator_dominated": "dominated",
    "undetermined": "undetermined",
}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=None)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--on", default="local", help="local, ray or submitit")
    parser.add_argument("--on-option", action="append", default=[], help="key=value")
    parser.add_argument("--processes", type=int, default=1, help="recipes at a time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run_missing(args, args.runs or Path(temporary), OUT / "gallery.json")
    rows = load(OUT / "gallery.json")
    (OUT / "gallery.md").write_text(page(rows), encoding="utf-8")
    (ROOT / "src/tod/atlas/measured.json").write_text(positions(rows), encoding="utf-8")
    failed = [name for name, row in rows.items() if row["error"]]
    print(f"{len(rows)} recipes ran; failed: {', '.join(failed) or 'none'}")


def run_missing(args: argparse.Namespace, runs: Path, path: Path) -> None:
    """Run every recipe whose row is not there; each row is written as it comes."""
    from tod.base import TodError
    from tod.cli.runs_table import runs_table
    from tod.study.executors import On, Tally, Work, carry_out

    tasks, tally, made = missing(args, runs, path), Tally(), dict[str, Any]()
    try:
        on = On.parse(args.on, args.on_option, at_once=args.processes)
        executor = on.executor(runs, here=True)
    except TodError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    with runs_table() as show:

        def ended(job: tuple[str, str, bool], failure: Any) -> None:
            name = Path(job[0]).stem
            row = made.pop(name) if failure is None else {**EMPTY, "error": failure.said}
            rows = {**load(path), name: {**placed(name), **row}}  # another process may write too
            path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            show(tally.finished, len(tasks), None, name, tally)

        carry_out(
            executor,
            Work(run_one, quiet),
            tasks,
            told=lambda job, row: made.update({Path(job[0]).stem: row}),
            ended=ended,
            again=lambda job, why: show(
                tally.finished, len(tasks), None, Path(job[0]).stem, tally, why
            ),
            tally=tally,
        )


def missing(args: argparse.Namespace, runs: Path, path: Path) -> list[Any]:
    """A task for every recipe that has no row, or one of an error, or is to run again."""
    from tod.study.executors import ExecutorTask

    files = sorted((ROOT / "configs").glob("*.yaml"))
    configs = [p for p in files if "quickstart" not in p.stem and not p.stem.endswith("_soft")]
    rows = load(path)
    well = {name for name, row in rows.items() if row["error"] is None and not args.again}
    alone = args.on == "local" and args.processes == 1
    return [
        ExecutorTask(config.stem, (str(config), str((runs / config.stem).resolve()), alone))
        for config in configs
        if config.stem not in well and (args.only is None or config.stem in args.only)
    ]


def run_one(job: tuple[str, str, bool], tell: Callable[[Any], None]) -> None:
    """What a worker does: a recipe, whose row it tells; on one thread unless it is alone."""
    if not job[2]:
        import torch

        torch.set_num_threads(1)
    tell(run(Path(job[0]), Path(job[1])))


def positions(rows: dict[str, Any]) -> str:
    """Verdict, ESS_rel and activation of every recipe that ran, for the atlas."""
    from tod.atlas import RECIPES

    kept = {
        name: {
            "verdict": row["run_verdict"],
            "ess_rel": row["ess_rel_median"],
            "activation": row["activation"],
        }
        for name, row in rows.items()
        if name in RECIPES and row["error"] is None
    }
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> dict[str, Any]:
    """The rows so far."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def run(config: Path, output: Path) -> dict[str, Any]:
    """One recipe, shortened; its row of the table. An error of ours becomes the row's `error`."""
    from tod.base import TodError
    from tod.engine.search.job import search
    from tod.engine.settings import RunSettings
    from tod.engine.train import train

    started = time.monotonic()
    row: dict[str, Any] = {"error": None, **placed(config.stem)}
    try:
        settings = RunSettings.load(config, (f"output={output}",))
        settings = RunSettings.parse(merged(settings.plain(), shortened(settings.selects)))
        (search if settings.selects else train)(settings, overwrite=True)
        row |= seen(output)
    except TodError as error:
        row["error"] = f"{type(error).__name__}: {error}"
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def shortened(selects: bool) -> dict[str, Any]:
    """What the gallery changes in a recipe."""
    if selects:
        return {"search": {"contexts": CONTEXTS}}
    return {"evaluate": EVALUATE, "train": {"steps": STEPS}}


def merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The data with some keys of some blocks changed."""
    return data | {key: (data[key] or {}) | changes[key] for key in changes}


def placed(name: str) -> dict[str, str]:
    """The row and the column of the grid that a recipe stands in."""
    from tod.atlas import RECIPES
    from tod.atlas.grid import row_of

    entry = RECIPES[name]
    return {"target": row_of(entry), "operator": entry.family}


def seen(output: Path) -> dict[str, Any]:
    """What the run directory says: gain, overlap, verdicts, drift, cost."""
    from tod.diagnosis.run_verdict import verdict_of_run
    from tod.runs import RunDirectory

    records = [dict(record) for record in RunDirectory.open(output).steps.read()]
    steps = [record for record in records if record["step"] > 0]
    regime = verdict_of_run(output).regime
    verdicts = Counter(record["regime"]["verdict"] for record in steps)
    last = steps[-1]["drift"]
    return {
        **gained(output, records),
        "steps": len(steps),
        "ess_rel_median": mean(record["ess_rel"]["median"] for record in steps),
        "ess_rel_q10": mean(record["ess_rel"]["q10"] for record in steps),
        "overlap_minimum": mean(record["overlap"]["minimum"] for record in steps),
        "activation": mean(record["activation"] for record in steps),
        "drift": {name: last[name] for name in ("ref", "old") if last[name] is not None},
        "verdicts": dict(verdicts),
        "run_verdict": regime.verdict,
        "flops": sum(record["ledger"]["flops"] or 0.0 for record in steps),
    }


def gained(output: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
    """pass@1 before and after with standard errors; of a search, all candidates and selected.

    Of a rule that refused some prompts it is the pass rate, in which they are misses.
    """
    from tod.show.search import measure

    summary = output / "search.json"
    if summary.exists():
        found = json.loads(summary.read_text(encoding="utf-8"))
        ends, by = [found["candidates"], found["selected"]], measure([found])
        return {
            "pass_at_1": [end[by] for end in ends],
            "standard_error": [end[f"{by}_se"] for end in ends],
            "accepted": found["selected"]["accepted"],
            "utility_accepted": found["selected"]["utility"],
        }
    ends = [record["held_out"] for record in records if record["held_out"] is not None]
    ends = [ends[0], ends[-1]]
    return {name: [end[name] for end in ends] for name in ("pass_at_1", "standard_error")}


def mean(values: Any) -> float | None:
    """Mean of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None


def page(rows: dict[str, Any]) -> str:
    """The table in Markdown, in the order of the grid."""
    from tod.atlas.grid import OPERATORS, TARGETS

    order = [list(OPERATORS), list(TARGETS)]
    names = sorted(
        rows,
        key=lambda n: (
            order[0].index(rows[n]["operator"]),
            order[1].index(rows[n]["target"]),
            n,
        ),
    )
    failed = sum(row["error"] is not None for row in rows.values())
    head = (
        "recipe",
        "target",
        "operator",
        "pass@1 before → after",
        "ESS_rel median / q10",
        "least overlap",
        "verdicts",
        "run",
        "activation",
        "drift",
        "s",
        "GFLOP",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cells(name, rows[name])) + " |" for name in names]
    return "\n".join([CAPTION.format(total=len(rows), failed=failed), *lines, ""])


CAPTION = f"""# Gallery: every recipe once

`python scripts/gallery.py` runs every recipe of the atlas on the embedded models:
{{total}} recipes, {{failed}} failed.

**{STEPS} steps, one seed.** This shows that each runs and what its diagnostics say, not which is
better: learning rates and schedules are those of the full configurations, budgets differ (a
distillation row draws one candidate a prompt and is meant for 900 steps), and most differences are
within the noise. pass@1 is on {EVALUATE["held_out_prompts"]} held-out prompts ×
{EVALUATE["samples_per_prompt"]} samples ± s.e. clustered by prompt, with the same random numbers
before and after; of a utility with partial credit (`kl_control`, `rlvr_partial`) it is the mean. A
search shows the mean utility of all candidates → of what was selected, on
{CONTEXTS} prompts; where a rule puts nothing out for some of them, its pass rate over all, these
being misses, and in brackets the share it puts out and the utility there.

ESS_rel, least overlap (the smallest known leg) and activation are means over steps of the batch's
number; *verdicts* counts steps, *run* is the verdict of all steps read together. Drift is the k1
estimate of KL(π‖anchor) at the last step's batch, before its update, nats a sequence; it may be
negative. Seconds include loading and evaluation and were taken on a busy machine. "–": unknown, or
without meaning there.

Read with care: no row is swap-stable; [recipes that are](green.md) are softer. The embedded model
passes one time in five, so that a target of η = 5 and more rests on few of 16 candidates, and with
two candidates on one (ESS_rel 0.5). Choices between two wrong answers are coin flips whatever the
noise; between a right and a wrong one they are right in 99 of 100 (s = 0.2, β = 0.5, η = 10). At s
= 1, β = 0.1, the same η, `dpo` fell to 0.129 in its 20 steps. The losses that push without a bound
or a reference (`hinge`, `orpo`, `simpo`, `exo`) have a third of the others' learning rate: at 3e-4
`orpo` fell to 0.071, `simpo` to 0.096, `exo` to 0.149. What DPO and IPO learn in more steps is in
[preference](preference.md).

`python scripts/gallery.py --runs runs/gallery --again`, then `tod atlas grid --runs runs/gallery`,
shows the run verdicts in the grid.
"""


def cells(name: str, row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    first = [f"`{name}`", row["target"].replace("_", " "), row["operator"].replace("_", " ")]
    if row["error"] is not None:
        return [*first, f"**failed**: {row['error']}", *["–"] * 6, f"{row['seconds']:.0f}", "–"]
    ends = zip(row["pass_at_1"], row["standard_error"], strict=True)
    drift = ", ".join(f"{anchor} {value:.3f}" for anchor, value in row["drift"].items())
    return [
        *first,
        " → ".join(f"{number(value)} ± {number(error)}" for value, error in ends) + refused(row),
        f"{number(row['ess_rel_median'])} / {number(row['ess_rel_q10'])}",
        number(row["overlap_minimum"]),
        ", ".join(f"{SHORT[key]} {n}" for key, n in sorted(row["verdicts"].items())),
        SHORT[row["run_verdict"]],
        number(row["activation"]),
        drift or "–",
        f"{row['seconds']:.0f}",
        f"{row['flops'] / 1e9:.0f}",
    ]


def refused(row: dict[str, Any]) -> str:
    """For how many prompts a search put anything out, unless for all."""
    share = row.get("accepted", 1.0)
    return f" ({share:.0%}: {number(row['utility_accepted'])})" if share < 1 else ""


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return "–" if value is None else f"{value:.3f}"


def quiet() -> None:
    """Make a process ready: no bars and warnings of libraries, the threads that are free."""
    import torch
    import transformers

    from tod.engine.distributed import default_threads

    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(default_threads())


if __name__ == "__main__":
    main()
