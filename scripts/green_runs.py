"""Runs the recipes that are meant to be swap-stable, and their twins that are not, and tabulates.

    python scripts/green_runs.py run docs/results/green.jsonl --seeds 100 101 102
    python scripts/green_runs.py page docs/results/green.jsonl docs/results/green.md

A line a run: verdict, words of the legs, and what both are made of: the record of the run, the
counts of its pool, and how many samples of every held-out prompt passed before and after. A run
that is already in the file is not run again.
"""

import argparse
import json
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod.regimes import Regime

ROOT = Path(__file__).parent.parent
SHIPPED = "as shipped"
SAMPLES = 16
"""Samples of a held-out prompt in every recipe."""


@dataclass(frozen=True)
class Twin:
    """A recipe with another sharpness or another staleness."""

    kind: str
    overrides: tuple[str, ...]


SHARP = Twin("sharp", ("target.eta=8",))
STALE = Twin("stale", ("operator.proposal.refresh=20",))
SHORT = {
    "sharp": ("train.steps=4", "train.schedule_steps=20"),
    "stale": ("train.steps=6", "train.schedule_steps=20"),
}
"""Twins are run for a verdict alone: the first steps of the run."""
TWINS = {
    "weighted_mle_centred_soft": SHARP,
    "vargrad_soft": STALE,
    "gspo_soft": SHARP,
    "rlvr_partial_soft": SHARP,
    "proximal_residual_soft": STALE,
    "cispo_soft": SHARP,
}
"""The recipes, and what each is beside."""


def main() -> None:
    """Run what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("results", type=Path)
    runs.add_argument("--seeds", type=int, nargs="+", required=True)
    runs.add_argument("--recipes", nargs="*", default=list(TWINS))
    written = commands.add_parser("page")
    written.add_argument("results", type=Path)
    written.add_argument("page", type=Path)
    told = parser.parse_args()
    if told.command == "page":
        told.page.write_text(page(load(told.results)), encoding="utf-8")
        return
    for recipe, kind, seed in asked(told.recipes, told.seeds):
        rows = load(told.results)
        if (recipe, kind, seed) not in map(identity, rows):
            row = run(recipe, kind, seed, first=not rows)
            with told.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, separators=(",", ":")) + "\n")


def asked(recipes: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Every run: the recipes at the first seed, their twins, then the other seeds likewise."""
    for few in (seeds[:1], seeds[1:]):
        for shipped in (True, False):
            for seed, recipe in product(few, recipes):
                yield recipe, SHIPPED if shipped else TWINS[recipe].kind, seed


def load(results: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where it is not there."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def identity(row: dict[str, Any]) -> tuple[str, str, int]:
    """Which run a line is of."""
    return row["recipe"], row["kind"], row["seed"]


def run(recipe: str, kind: str, seed: int, *, first: bool) -> dict[str, Any]:
    """One run, and what is stored of it.

    Before training all runs are the same model on the same prompts with the same random numbers:
    that is evaluated in the ``first`` one alone, and of twins nothing is evaluated.
    """
    from tod.engine.settings import RunSettings
    from tod.engine.train import train

    quiet()
    twin = () if kind == SHIPPED else (*TWINS[recipe].overrides, *SHORT[kind])
    evaluated = ("evaluate=null",) if twin else (f"evaluate.start={str(first).lower()}",)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        settings = RunSettings.load(
            ROOT / "configs" / f"{recipe}.yaml",
            (*twin, *evaluated, f"train.seed={seed}", f"output={path}"),
        )
        train(settings)
        row = {"recipe": recipe, "kind": kind, "seed": seed, "overrides": list(twin)}
        return row | stored(path)


def stored(path: Path) -> dict[str, Any]:
    """The verdict of a run directory and what it is made of."""
    from tod.diagnosis.run_verdict import verdict_of_run
    from tod.runs import RunDirectory

    said = verdict_of_run(path)
    seen, regime = said.diagnosis, said.regime
    assert seen is not None and seen.pool is not None  # noqa: PT018 - its rollouts are there
    records = [dict(record) for record in RunDirectory.open(path).steps.read()]
    ends = {r["step"]: r["held_out"] for r in records if r["held_out"] is not None}
    found = regime.to_dict()
    return {
        "verdict": regime.verdict,
        "legs": found["legs"],
        "reasons": [reason["kind"] for reason in found["reasons"]],
        "pool": seen.pool.to_dict(),
        "target": seen.pool.target.to_dict(),
        "policy": None if seen.pool.policy is seen.pool.target else seen.pool.policy.to_dict(),
        "summary": replace(seen.summary, population=None).to_dict(),
        "eta": seen.sourced.eta if seen.sourced is not None else None,
        "before": passed(ends[0]) if 0 in ends else None,
        "after": passed(ends[records[-1]["step"]]) if records[-1]["step"] in ends else None,
        "findings": [fault.kind for fault in seen.findings.faults],
    }


def passed(held_out: dict[str, Any]) -> list[int]:
    """How many of the samples of every held-out prompt passed."""
    return [round(share * held_out["samples"]) for share in held_out["by_prompt"]]


def judged(row: dict[str, Any]) -> "Regime":
    """The verdict of a line, made again of the counts of its pool and of its record."""
    from tod.diagnostics import Summary
    from tod.population import LegStatistics
    from tod.regimes import Pool, classify

    first, last, policy_first = (row["pool"][name] for name in ("first", "last", "policy_first"))
    target = LegStatistics.from_dict(row["target"])
    policy = target if row["policy"] is None else LegStatistics.from_dict(row["policy"])
    pool = Pool(first, last, target, policy, policy_first)
    return classify(replace(Summary.from_dict(row["summary"]), population=pool.population()))


def gain(before: Sequence[int], after: Sequence[int]) -> tuple[float, float]:
    """Difference of pass@1 and its standard error, paired by prompt."""
    moves = [(b - a) / SAMPLES for a, b in zip(before, after, strict=True)]
    return fmean(moves), stdev(moves) / math.sqrt(len(moves))


def page(rows: list[dict[str, Any]]) -> str:
    """The table in Markdown; a row a recipe and kind, over its seeds."""
    from tod.population.certificate import range_bound

    before = next(row["before"] for row in rows if row["before"] is not None)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: (list(TWINS).index(r["recipe"]), r["kind"], r["seed"])):
        groups.setdefault((row["recipe"], row["kind"]), []).append(row)
    head = ("recipe", "run", "η", "by the range", "target/proposal", "policy/proposal", "verdict")
    head = (*head, "pass@1 after", "gain ± s.e.")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (recipe, kind), own in groups.items():
        eta = own[0]["eta"]
        bound = "none" if own[0]["target"]["width"] is None else f"{range_bound(eta):.2f}"
        said = kind if kind == SHIPPED else f"twin, {kind}"
        cells = (f"`{recipe}`", said, f"{eta:g}", bound, *read(own), *learned(before, own))
        lines.append("| " + " | ".join(cells) + " |")
    seeds = sorted({row["seed"] for row in rows})
    start = f"{sum(before) / SAMPLES / len(before):.3f}"
    shipped = sum(row["kind"] == SHIPPED for row in rows)
    return PAGE.format(
        table="\n".join(lines),
        seeds=", ".join(map(str, seeds)),
        prompts=len(before),
        start=start,
        shipped=shipped,
        twins=len(rows) - shipped,
        stale=sum(row["kind"] == "stale" for row in rows),
    )


def read(own: list[dict[str, Any]]) -> tuple[str, str, str]:
    """What was read of the legs in every seed, and the verdicts."""
    legs = [{leg["leg"]: leg for leg in row["legs"]} for row in own]
    told = [
        "; ".join(interval(found[name]) for found in legs)
        for name in ("target_proposal", "policy_proposal")
    ]
    verdicts = [row["verdict"].replace("_", "-") for row in own]
    words = {word: verdicts.count(word) for word in dict.fromkeys(verdicts)}
    return told[0], told[1], ", ".join(f"{word} {count}" for word, count in words.items())


def interval(leg: dict[str, Any]) -> str:
    """The 90 % interval of the median prompt's ESS_rel, or the word where there is none."""
    median = None if leg["ess"] is None else leg["ess"]["median"]
    if median is None:
        return str(leg["word"])
    low, high = median["low"], median["high"]
    return f"to {high:.2f}" if low is None else f"{low:.2f} to {high:.2f}"


def learned(before: Sequence[int], own: list[dict[str, Any]]) -> tuple[str, str]:
    """pass@1 after training and the paired gain, a seed each; dashes where it was not evaluated."""
    if any(row["after"] is None for row in own):
        return "–", "–"
    ends = [f"{sum(row['after']) / SAMPLES / len(before):.3f}" for row in own]
    gains = [gain(before, row["after"]) for row in own]
    return "; ".join(ends), "; ".join(f"{value:+.3f} ± {error:.3f}" for value, error in gains)


PAGE = """# Recipes whose runs read swap-stable

Six recipes of the package learn under targets that are near enough for operators to be
interchangeable, as `tod diagnose` reads their whole runs; and each stops to read so where its
target is made sharp or its proposal stale. Settings were chosen on seed 0; these are seeds {seeds}.
[Planned](green-plan.md) were 18 runs as shipped and 18 twins; {shipped} and {twins} were made, and
all that were made are here.

No run here compares two operators: that they would end alike is what the word foresees, not what
was seen. And much of the word follows from settings. Proposals are drawn anew for every batch and
read before its updates, so that policy/proposal is 1 by construction; of the three recipes at η 1.2
the reward's range alone keeps target/proposal above .7. What rollouts decide is target/proposal at
η 1.5, and that nothing else (a gate that acts, batches that tell nothing) speaks against it.

```bash
python scripts/green_runs.py run docs/results/green.jsonl --seeds 100 101 102
python scripts/green_runs.py page docs/results/green.jsonl docs/results/green.md
```

{table}

*by the range*: the least ESS_rel that a prompt can have, known from η and the range of the reward
alone; from 0.7 on it decides by itself. *target/proposal*, *policy/proposal*: 90 % interval of
the median prompt's ESS_rel, a seed each, of all steps of the run. *gain*: of pass@1 on {prompts}
held-out prompts × 16 samples ({start} before training), paired by prompt, with the same random
numbers; ± its standard error over prompts, which does not hold what another seed of training
changes. The prompts and the one evaluation before training are the same in all runs, so that gains
are not independent of each other; seed 0, on which settings were chosen, is evaluated on the same
prompts by these recipes. A twin is the recipe with `target.eta=8` (sharp, its first 4 steps) or
`operator.proposal.refresh=20` (stale, its first 6): fewer steps than the run as shipped, so that
the two differ in length too. Of a stale run target/policy is a point without an interval, which
alone keeps it from being stable: none of the {stale} stale twins could have read swap-stable, so
that they are no evidence that staleness is seen. The sharp ones could have.
"""


def quiet() -> None:
    """No warnings or bars of libraries; one thread."""
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
