"""Whether a run of every shipped recipe reaches a verdict, and what keeps it from one.

    python scripts/verdicts_reached.py run docs/results/verdicts.jsonl
    python scripts/verdicts_reached.py page docs/results/verdicts.jsonl docs/results/verdicts.md

Recipes that share target and proposal draw the same first batches, so one of them is run, for
four steps; a search is run whole. A line a run, and none is run again.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from green_runs import load, quiet

ROOT = Path(__file__).parent.parent
STEPS = 4


def main() -> None:
    """Run what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["run", "page"])
    parser.add_argument("results", type=Path)
    parser.add_argument("page", type=Path, nargs="?")
    told = parser.parse_args()
    if told.command == "page":
        told.page.write_text(page(load(told.results)), encoding="utf-8")
        return
    done = {row["recipes"][0] for row in load(told.results)}
    for names in alike():
        if names[0] not in done:
            row = {"recipes": names, **run(names[0])}
            with told.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def alike() -> list[list[str]]:
    """The shipped recipes, those with one target and one proposal together."""
    from tod.base import read_yaml

    groups: dict[str, list[str]] = {}
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        data = read_yaml(file)
        drawn = [data["target"], data["operator"]["proposal"], data["utilities"]]
        groups.setdefault(json.dumps(drawn, sort_keys=True), []).append(file.stem)
    return list(groups.values())


def run(name: str) -> dict[str, Any]:
    """One short run, or one search, and what is said of it."""
    from tod.diagnosis.run_verdict import verdict_of_run
    from tod.engine.conduct import conduct
    from tod.engine.distributed import World
    from tod.engine.settings import RunSettings

    quiet()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        file, output = ROOT / "configs" / f"{name}.yaml", f"output={path}"
        settings = RunSettings.load(file, (output,))
        if not settings.selects:
            settings = RunSettings.load(file, (output, f"train.steps={STEPS}", "evaluate=null"))
        conduct(settings, World.join())
        regime = verdict_of_run(path).regime.to_dict()
    return {
        "verdict": regime["verdict"],
        "words": {leg["leg"]: leg["word"] for leg in regime["legs"]},
        "median": next(
            (leg["ess"]["median"] for leg in regime["legs"] if leg["ess"] is not None), None
        ),
        "why": [[reason["kind"], reason["why"]] for reason in regime["reasons"]],
    }


def page(rows: list[dict[str, Any]]) -> str:
    """A table of the groups; those without a verdict with what keeps them from one."""
    lines = ["| recipes | verdict | target/proposal | what it rests on |", "|---|---|---|---|"]
    order = ("swap_stable", "transition", "operator_dominated", "undetermined")
    for row in sorted(rows, key=lambda r: (order.index(r["verdict"]), r["recipes"])):
        names = " ".join(f"`{name}`" for name in row["recipes"])
        reason = row["why"][0][1] if row["why"] else "every leg is stable"
        cells = (names, row["verdict"].replace("_", "-"), between(row["median"]), reason)
        lines.append("| " + " | ".join(cells) + " |")
    silent = [name for row in rows for name in row["recipes"] if row["verdict"] == order[-1]]
    total = sum(len(row["recipes"]) for row in rows)
    return PAGE.format(
        table="\n".join(lines), total=total, silent=len(silent), steps=STEPS, runs=len(rows)
    )


def between(median: dict[str, Any] | None) -> str:
    """The interval of the median prompt's ESS_rel."""
    if median is None:
        return "–"
    high = 1.0 if median["high"] is None else median["high"]
    return f"to {high:.2f}" if not median["low"] else f"{median['low']:.2f} to {high:.2f}"


PAGE = """# Which recipes reach a verdict

`tod diagnose` of a run of every shipped recipe on the embedded models: {total} recipes in {runs}
runs of {steps} steps (a search: whole), for recipes of one target and one proposal draw the same
first batches. {silent} of them reach none.

```bash
python scripts/verdicts_reached.py run docs/results/verdicts.jsonl
python scripts/verdicts_reached.py page docs/results/verdicts.jsonl docs/results/verdicts.md
```

{table}

*target/proposal*: 90 % interval of the median prompt's ESS_rel, of these few steps.
"""


if __name__ == "__main__":
    main()
