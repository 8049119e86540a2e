"""Whether what remedies promise is what they bring, on fresh draws of the same planted world.

Run `python benchmarks/remedies.py`; it writes docs/results/remedies.md (about a minute).
"""

import argparse
from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path

import numpy as np

from tod.findings import find
from tod.findings.planted import FAULTS, HEALTHY
from tod.findings.planted.applied import APPLIED, ERRORS, Applied

OUT = Path(__file__).parent.parent / "docs" / "results" / "remedies.md"
RUNS = 50
PROMISES = {
    "group_size": "zero-variance share at the new group size, and more useful groups a sample",
    "skip_equal_groups": "samples drawn for one that is used, every group with a gradient",
    "drop_prompts": "share of a step's samples that is freed, fewer zero-variance groups left",
    "reward_weights": "half of the differences within prompts by the part that carried none",
}


def printed(kind: str, runs: int) -> list[Applied]:
    """The first runs in which a remedy is printed, in the order of their seeds."""
    results: Iterable[Applied | None] = (APPLIED[kind](seed) for seed in count())
    return list(islice((one for one in results if one is not None), runs))


def without_promise(seeds: int) -> dict[str, set[str]]:
    """Remedies that planted runs print without a figure: the findings by kind of remedy."""
    found: dict[str, set[str]] = {}
    for scenario in (*FAULTS, *HEALTHY):
        for seed in range(seeds):
            for finding in find(scenario.plant(seed).run).all:
                for remedy in finding.remedies:
                    if not remedy.promise:
                        found.setdefault(remedy.kind, set()).add(finding.kind)
    return found


def main() -> None:
    """Apply every remedy and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    lines = [
        "# What remedies promise, and what they bring",
        "",
        f"`python benchmarks/remedies.py`. {options.runs} planted runs of 40 steps in which each "
        "remedy is printed; it",
        "is applied to 40 further steps of the same world (`tod.findings.planted.applied`). *Kept*:"
        " what",
        f"the remedy is for improved, and the promise is within {ERRORS:g} standard errors, its own"
        " and those of the",
        "fresh draws. z is the difference in standard errors.",
        "",
        "| remedy | promise | runs | improved | kept | mean z | sd of z |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in APPLIED:
        results = printed(kind, options.runs)
        z = np.array([(one.after - one.promised) / one.error for one in results])
        better, kept = sum(one.better for one in results), sum(one.kept for one in results)
        cells = [f"`{kind}`", PROMISES[kind], len(results), better, kept]
        lines.append(f"| {' | '.join(map(str, cells))} | {z.mean():+.2f} | {z.std():.2f} |")
    lines += [
        "",
        "An exact promise has a z of 0: prompts that return every epoch take the same share of it.",
        "",
        "## Remedies without a promise",
        "",
        "What they bring cannot be computed from recorded rows: they change how the policy learns,"
        " or ask",
        "for a look. They name the setting and no figure.",
        "",
        "| remedy | of the findings |",
        "|---|---|",
    ]
    for kind, findings in sorted(without_promise(2).items()):
        lines.append(f"| `{kind}` | {', '.join(f'`{name}`' for name in sorted(findings))} |")
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
