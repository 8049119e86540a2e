"""On-policy distillation at equal compute: the whole vocabulary against the sampled token.

Run `python benchmarks/distillation.py [--again]`; it writes docs/results/distillation.md and .json.
Both forms teach `tod://tiny` by `tod://tiny-teacher` as their configurations say, with steps such
that the ledgers agree. The share of the gap that a run closes is Σ_c(after − before)/Σ_c(teacher −
before) over held-out prompts c.
"""

import argparse
import json
import math
import tempfile
import time
import warnings
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results"
HELD_OUT, SIZE, EVALUATION_SEED = 400, 16, 90_001
FORMS = {"full vocabulary": "opd_full", "sampled": "opd_sampled"}
SEEDS = (0, 1, 2)
ALIKE = 0.03
"""Largest relative difference of the operations of two runs that are called equal."""


def settings_of(form: str, seed: int, output: Path) -> Any:
    """The configuration as it stands, but for its seed, its place and its own evaluations."""
    from tod.engine.settings import RunSettings

    path = ROOT / "configs" / f"{FORMS[form]}.yaml"
    words = (f"train.seed={seed}", "evaluate=null", f"output={output}")
    return RunSettings.load(path, words)


def passes(settings: Any, name: str) -> list[float]:
    """pass@1 of a model on every held-out prompt; the same random numbers for all models."""
    from tod.engine.collect import decoded, draw, read
    from tod.engine.models import load_model
    from tod.engine.session import open_session

    session = open_session(settings)
    model = load_model(name, dtype="float32")[0].eval().requires_grad_(False)
    examples = session.task.held_out(HELD_OUT)
    numbers = np.arange(len(examples))
    rollouts = draw(session, model, examples, SIZE, 0, numbers, seed=EVALUATION_SEED)
    (values,) = read(session, examples, rollouts, decoded(session, rollouts)).values()
    session.close()
    return [float(x) for x in np.asarray(values).reshape(len(examples), SIZE).mean(axis=1)]


def measure(form: str, seed: int, output: Path) -> dict[str, Any]:
    """One run: what it took, and pass@1 by prompt."""
    from tod.engine.train import train
    from tod.runs import RunDirectory

    settings = settings_of(form, seed, output)
    wall, cpu = time.monotonic(), time.process_time()
    train(settings, overwrite=True)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    ledgers = [record["ledger"] for record in RunDirectory.open(output).steps.read()]
    return {
        "form": form,
        "seed": seed,
        "steps": settings.train.steps,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        **{key: sum(x[key] or 0.0 for x in ledgers)
           for key in ("flops", "sample_flops", "score_flops", "train_flops")},
        "passes": passes(settings, str(output / "model")),
    }  # fmt: skip


def shares(rows: list[dict[str, Any]], ends: dict[str, list[float]]) -> dict[str, float]:
    """Share of the gap closed by the mean of some runs, ± s.e. by prompt and by seed."""
    from tod.reranking.means import mean_over_contexts

    before, teacher = (np.array(ends[name]) for name in ("student", "teacher"))
    gain = np.mean([row["passes"] for row in rows], axis=0) - before
    found = mean_over_contexts(gain, teacher - before)
    each = [(fmean(row["passes"]) - before.mean()) / (teacher - before).mean() for row in rows]
    by_seed = stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return {"share": found["value"], "by_prompt": found["se"], "by_seed": by_seed}


def compared(rows: list[dict[str, Any]], ends: dict[str, list[float]]) -> dict[str, float]:
    """The first form less the second: paired by prompt, and s.e. by seed of the difference."""
    from tod.reranking.means import mean_over_contexts

    one, two = ([row for row in rows if row["form"] == form] for form in FORMS)
    gap = np.array(ends["teacher"]) - np.array(ends["student"])
    off = np.mean([r["passes"] for r in one], axis=0) - np.mean([r["passes"] for r in two], axis=0)
    found = mean_over_contexts(off, gap)
    by_seed = math.hypot(shares(one, ends)["by_seed"], shares(two, ends)["by_seed"])
    return {"share": found["value"], "by_prompt": found["se"], "by_seed": by_seed}


HEADS = (
    "form",
    "seed",
    "steps",
    "pass@1 after",
    "gap closed",
    "10¹² FLOPs",
    "draw / score / train",
    "wall s",
    "CPU s",
)


def table(rows: list[dict[str, Any]], ends: dict[str, list[float]]) -> str:
    """One line a run, then the forms' means and their difference."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cells(row, ends)) + " |" for row in rows]
    lines += ["", "| mean of the seeds | gap closed | s.e. by prompt | s.e. by seed | 10¹² FLOPs |",
              "|---|---|---|---|---|"]  # fmt: skip
    for form in FORMS:
        mine = [row for row in rows if row["form"] == form]
        flops = f"{fmean(row['flops'] for row in mine) / 1e12:.2f}"
        lines.append(f"| {form} | {summed(shares(mine, ends))} | {flops} |")
    lines.append(f"| difference | {summed(compared(rows, ends))} | |")
    return "\n".join(lines)


def cells(row: dict[str, Any], ends: dict[str, list[float]]) -> list[str]:
    """One run's line."""
    found = shares([row], ends)
    parts = (row[key] / row["flops"] for key in ("sample_flops", "score_flops", "train_flops"))
    return [
        row["form"],
        str(row["seed"]),
        str(row["steps"]),
        mean_of(row["passes"]),
        f"{found['share']:.1%} ± {found['by_prompt']:.1%}",
        f"{row['flops'] / 1e12:.2f}",
        " / ".join(f"{part:.0%}" for part in parts),
        f"{row['wall_seconds']:.0f}",
        f"{row['cpu_seconds']:.0f}",
    ]


def mean_of(values: list[float]) -> str:
    """Mean ± s.e. by prompt."""
    return f"{fmean(values):.3f} ± {stdev(values) / math.sqrt(len(values)):.3f}"


def summed(found: dict[str, float]) -> str:
    """Share and both errors as cells."""
    return f"{found['share']:.1%} | {found['by_prompt']:.1%} | {found['by_seed']:.1%}"


def equal(rows: list[dict[str, Any]]) -> None:
    """Refuse a comparison at unequal compute.

    Raises:
        SystemExit: The operations of two runs differ by more than ALIKE.
    """
    flops = [row["flops"] for row in rows]
    if max(flops) > (1 + ALIKE) * min(flops):
        raise SystemExit(
            f"the runs took {min(flops):.3g} to {max(flops):.3g} FLOPs, over {ALIKE:.0%} apart: "
            "not at equal compute. Change `train.steps` in configs/opd_sampled.yaml."
        )


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="Repeat what is in the JSON.")
    args = parser.parse_args()
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    path = OUT / "distillation.json"
    known = path.exists() and not args.again
    found = json.loads(path.read_text(encoding="utf-8")) if known else {"ends": {}, "runs": []}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if not found["ends"]:
            settings = settings_of("full vocabulary", 0, place / "ends")
            names = {"student": settings.model, "teacher": settings.anchors.teacher}
            found["ends"] = {end: passes(settings, name) for end, name in names.items()}
        for seed in SEEDS:
            for form in FORMS:
                if (form, seed) in [(row["form"], row["seed"]) for row in found["runs"]]:
                    continue
                row = measure(form, seed, place / f"{FORMS[form]}-{seed}")
                print(" | ".join(cells(row, found["ends"])), flush=True)
                found["runs"].append(row)
                path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    rows = sorted(found["runs"], key=lambda row: (list(FORMS).index(row["form"]), row["seed"]))
    equal(rows)
    text = HEAD.format(**{end: mean_of(values) for end, values in found["ends"].items()})
    (OUT / "distillation.md").write_text(
        f"{text}\n{table(rows, found['ends'])}\n", encoding="utf-8"
    )
    print(table(rows, found["ends"]))


HEAD = """# On-policy distillation at equal compute

`python benchmarks/distillation.py`, one thread. `tod://tiny` (pass@1 {student}) is taught by
`tod://tiny-teacher` ({teacher}) on countdown, as the configurations say:

| form | configuration | a token's loss |
|---|---|---|
| full vocabulary | `configs/opd_full.yaml` | KL(π‖π_T) over the vocabulary at every state drawn |
| sampled | `configs/opd_sampled.yaml` | log π − log π_T of the token drawn, as its advantage |

The full form scores more, so it takes 900 steps where the sampled one takes 1080: the FLOPs of the
ledgers agree, and the benchmark refuses to compare runs that differ by more than 3 %.

* *pass@1*: 400 held-out prompts × 16 samples, the same random numbers for every model, ± s.e.
  clustered by prompt.
* *gap closed*: Σ(after − before)/Σ(teacher − before) over those prompts, ± s.e. of this ratio,
  clustered by prompt. It counts prompts only; what another seed of training changes is in the
  second table.
* *draw / score / train*: shares of the FLOPs.
* *wall, CPU*: of training and loading, without evaluation. With one thread the CPU time is what an
  idle core takes; the wall time is that of a machine of two cores with other work on it.
"""


if __name__ == "__main__":
    main()
