"""The controller on the embedded model: one recipe without it, under a ramp, and under ARC.

Usage: python benchmarks/arc_embedded.py [--runs runs/arc_embedded] [--processes 2]

Writes docs/results/arc_embedded.md and .json. A run that is there is not trained again.

Plan, written before any reported run. Countdown, 0.33 M parameters, η* 20 on 0/1 rewards with the
untrained policy as anchor, the clipped residual of the demo, 32 prompts × 16 rollouts, refreshed
every 8 updates (staleness up to 8), 150 updates. Rates 3e-4 (that of the demo) and 1e-3. Seed 100
was run before, 3e-4 without a controller (pass@1 .292 of 200 prompts) and under the brake (.261),
1e-3 not to its end; nothing was chosen on it. Reported: seeds 2 to 9. Three arms of equal prompts
and random numbers: *off* (no controller), *ramp* (``plan: linear``), *ARC* (``plan: ramp``, the
ramp with its brake).

Outcomes at the end: held-out pass@1 of 400 prompts × 16, paired by prompt and seed; of the last
update the entropy (nats a token), the probe's damage δ (nats²) and what was lost of the reference,
E_b[log b/π] (nats), and the drift KL(π‖ref) (nats a sequence). Three differences, ARC − off, ARC −
ramp and ramp − off, at two rates: t intervals of 95 % over seeds (7 degrees of freedom). The six of
pass@1 are one family under Holm; *better* and *worse* are said of that family alone, all else is
*not apart*. Also printed: pass@1 half-way, and in how many updates ARC went slower than its plan.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from embedded import records
from tod.engine.settings import RunSettings
from tod.study.swap.estimate import Estimate, mean_over_seeds
from tod.study.swap.holm import holm

ROOT = Path(__file__).resolve().parents[1]
RATES = (3.0e-4, 1.0e-3)
ARMS: dict[str, dict[str, Any]] = {
    "off": {},
    "ramp": {"arc": {"plan": "linear"}},
    "ARC": {"arc": {"plan": "ramp"}},
}
PAIRS = (("ARC", "off"), ("ARC", "ramp"), ("ramp", "off"))
STEPS = 150
OUTCOMES = {
    "pass@1": ("held-out pass@1", 3),
    "half": ("pass@1 half-way", 3),
    "entropy": ("entropy, nats a token", 3),
    "damage": ("damage δ on the probe", 2),
    "lost": ("E_b[log b/π] on the probe, nats", 2),
    "drift": ("KL(π‖ref), nats a sequence", 2),
}
"""Key of an outcome → its name and decimals."""


def settings(place: Path, rate: float, arm: str, seed: int) -> RunSettings:
    """One run."""
    return RunSettings.parse(
        {
            "name": "arc_embedded",
            "model": "tod://tiny",
            "anchors": {"ref": "tod://tiny"},
            "target": {"kind": "verifier", "eta": 20.0, "utility": "correct"},
            "operator": {
                "proposal": {"prompts": 32, "size": 16, "max_new_tokens": 24, "refresh": 8},
                "action": {
                    "kind": "policy_gradient",
                    "level": "sequence_mean",
                    "trust_region": {"kind": "clip", "low": 0.03, "high": 0.04},
                    "advantage": "group_mean",
                    "aggregation": "sequence_mean_token_mean",
                    "pull": {"kind": "residual", "at": "current"},
                },
            },
            "train": {
                "steps": STEPS,
                "learning_rate": rate,
                "seed": seed,
                "checkpoint_every": STEPS,
            },
            "evaluate": {
                "held_out_prompts": 400,
                "samples_per_prompt": 16,
                "every": STEPS // 2,
                "start": False,
            },
            "probe": {"prompts": 32, "size": 16, "every": STEPS // 10},
            "record_token_ids": False,
            "output": str(place / f"{rate:g}-{arm}-{seed}"),
            **ARMS[arm],
        }
    )


def outcome(place: Path, rate: float, arm: str, seed: int) -> dict[str, Any]:
    """What one run reached, trained where it is not there."""
    steps = records(settings(place, rate, arm, seed))
    last = steps[-1]
    probe = [record["probe"] for record in steps if record.get("probe")][-1]
    half = next(record for record in steps if record["step"] == STEPS // 2)
    said = [record.get("decision") or {} for record in steps]
    return {
        "pass@1": last["held_out"]["by_prompt"],
        "half": half["held_out"]["by_prompt"],
        "entropy": last["entropy"],
        "damage": probe["delta"],
        "lost": probe["kl"],
        "drift": last["drift"]["ref"],
        "slowed": sum("slowed" in decision.get("why", "") for decision in said),
    }


def differences(runs: dict[tuple[float, str, int], dict[str, Any]], seeds: list[int]) -> list[Any]:
    """Every outcome of every pair at every rate, paired by seed and, for pass@1, by prompt."""
    rows = []
    for rate, (first, second), key in product(RATES, PAIRS, OUTCOMES):
        apart = [
            np.subtract(runs[rate, first, seed][key], runs[rate, second, seed][key]).mean()
            for seed in seeds
        ]
        rows.append((rate, first, second, key, mean_over_seeds(np.array(apart))))
    return rows


def written(runs: dict[tuple[float, str, int], dict[str, Any]], seeds: list[int]) -> None:
    """The page and its figures."""
    rows = differences(runs, seeds)
    family = [row for row in rows if row[3] == "pass@1"]
    adjusted = holm([row[4].p for row in family])
    lines = [
        "# The controller on the embedded model",
        "",
        f"`python benchmarks/arc_embedded.py`, seeds {', '.join(map(str, seeds))}; the plan is in",
        "its first lines. η* 20 on 0/1 rewards of countdown, candidates refreshed every 8 updates,",
        "150 updates, 0.33 M parameters. *off*: no controller; *ramp*: `plan: linear`; *ARC*:",
        "`plan: ramp` ([what it does](../arc.md)).",
        "",
        "## In short",
        "",
    ]
    for (rate, first, second, _, seen), p in zip(family, adjusted, strict=True):
        apart = p is not None and p <= 0.05
        word = ("better" if seen.value > 0 else "worse") if apart else "not apart"
        shown = "unknown" if p is None else f"{p:.3f}"
        lines.append(
            f"* Rate {rate:g}, {first} against {second}: pass@1 {said(seen, 3)}, p {shown} after "
            f"Holm over {len(family)}: **{word}**."
        )
    for rate in RATES:
        lines += ["", f"## Rate {rate:g}", "", "Mean over seeds (smallest to largest seed).", ""]
        lines += ["| | " + " | ".join(ARMS) + " |", "|---" * (1 + len(ARMS)) + "|"]
        for key, (name, places) in OUTCOMES.items():
            cells = []
            for arm in ARMS:
                values = [float(np.mean(runs[rate, arm, seed][key])) for seed in seeds]
                low, high = min(values), max(values)
                cells.append(
                    f"{np.mean(values):.{places}f} ({low:.{places}f} to {high:.{places}f})"
                )
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        slowed = [runs[rate, "ARC", seed]["slowed"] for seed in seeds]
        lines += ["", f"ARC went slower than its plan in {np.mean(slowed):.0f} of {STEPS} updates."]
        lines += ["", "Differences, 95 % intervals over seeds:", ""]
        heads = [f"{first} − {second}" for first, second in PAIRS]
        lines += ["| | " + " | ".join(heads) + " |", "|---" * (1 + len(PAIRS)) + "|"]
        for key, (name, places) in OUTCOMES.items():
            cells = [said(row[4], places) for row in rows if row[0] == rate and row[3] == key]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Not corrected for their number, but for the six of pass@1 above."]
    page = ROOT / "docs/results/arc_embedded.md"
    page.write_text("\n".join(lines) + "\n", "utf-8")
    page.with_suffix(".json").write_text(
        json.dumps(
            {
                "seeds": seeds,
                "runs": [
                    {
                        "rate": rate,
                        "arm": arm,
                        "seed": seed,
                        **{k: float(np.mean(v)) for k, v in run.items()},
                    }
                    for (rate, arm, seed), run in runs.items()
                ],
            },
            indent=1,
        )
        + "\n",
        "utf-8",
    )


def said(estimate: Estimate, places: int) -> str:
    """A difference with its interval."""
    interval = estimate.interval()
    ends = "" if interval is None else f" [{interval[0]:+.{places}f}, {interval[1]:+.{places}f}]"
    return f"{estimate.value:+.{places}f}{ends}"


def main() -> None:
    """Train what is not there, then write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/arc_embedded"))
    parser.add_argument("--seeds", default="2,3,4,5,6,7,8,9")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    seeds = [int(word) for word in asked.seeds.split(",")]
    names = [(rate, arm, seed) for seed in seeds for rate in RATES for arm in ARMS]
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(outcome, asked.runs, *name) for name in names]
        runs = {}
        for name, one in zip(names, waiting, strict=True):
            runs[name] = one.result()
            print(*name, f"{np.mean(runs[name]['pass@1']):.3f}", flush=True)
    written(runs, seeds)


if __name__ == "__main__":
    main()
