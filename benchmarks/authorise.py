"""What a cheaper operator saves and costs on the embedded model: authorised against not.

Usage: python benchmarks/authorise.py [--runs runs/authorise] [--seeds 8] [--steps 60]

Two arms a seed with the same prompts, draws and held-out samples: the recipe's own operator
throughout, and the same with ``arc.authorise`` and a second operator that draws half as many
rollouts. Told per seed: operations of the ledger, held-out pass@1 of every prompt, and when the
operator changed. The difference of pass@1 is paired by prompt and seed; its 90 % interval is a
bootstrap over prompts. One process; results are written as they come, and seeds that are there are
not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from embedded import records
from tod.engine.settings import RunSettings
from tod.runs import RunDirectory

DRAWN = {"prompts": 32, "size": 16, "max_new_tokens": 24}
ACTION = {
    "kind": "policy_gradient",
    "level": "sequence_mean",
    "trust_region": {"kind": "clip", "low": 0.03, "high": 0.04},
    "advantage": "group_mean",
    "aggregation": "sequence_mean_token_mean",
    "pull": {"kind": "residual", "at": "current"},
}
RULE = {"window": 4, "windows": 3, "cooldown": 3, "cosine": 0.7}
SAVED, WITHIN = 0.15, 0.01
"""Operations that are to be saved at least, and what pass@1 may differ by."""


def settings(place: Path, seed: int, steps: int, authorised: bool) -> RunSettings:
    """One arm of one seed."""
    arc: dict[str, Any] = {"plan": "linear", "knob": "anchors", "operators": ["main", "cheap"]}
    return RunSettings.parse(
        {
            "name": "authorised" if authorised else "main",
            "target": {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"},
            "operator": {"proposal": DRAWN, "action": ACTION},
            "operators": {"cheap": {"proposal": {**DRAWN, "size": 8}, "action": ACTION}},
            "train": {
                "steps": steps,
                "updates_per_batch": 2,
                "seed": seed,
                "checkpoint_every": steps,
            },
            "evaluate": {"held_out_prompts": 400, "samples_per_prompt": 16, "start": False},
            "arc": arc | ({"authorise": RULE} if authorised else {"operators": []}),
            "record_token_ids": False,
            "output": str(place),
        }
    )


def arm(place: Path, seed: int, steps: int, authorised: bool) -> dict[str, Any]:
    """What one run cost and reached; it is trained where it is not there."""
    steps_of_run = records(settings(place, seed, steps, authorised))
    run = RunDirectory.open(place)
    actions = [(d["step"], d["action"]) for d in run.decisions.read()]
    return {
        "flops": sum(record["ledger"]["flops"] for record in steps_of_run),
        "by_prompt": steps_of_run[-1]["held_out"]["by_prompt"],
        "changes": [item for item in actions if item[1] in ("swap", "revert")],
    }


def compared(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Operations saved, and the paired difference of pass@1 with its 90 % interval."""
    rng = np.random.default_rng(0)
    gaps = np.array([np.subtract(b["by_prompt"], a["by_prompt"]) for a, b in pairs])
    draws = rng.integers(gaps.shape[1], size=(4000, gaps.shape[1]))
    means = gaps.mean(axis=0)[draws].mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95]).tolist()
    saved = 1 - sum(b["flops"] for _, b in pairs) / sum(a["flops"] for a, _ in pairs)
    return {
        "seeds": len(pairs),
        "saved": saved,
        "difference": float(gaps.mean()),
        "interval_90": [low, high],
        "reached": bool(saved >= SAVED and low >= -WITHIN and high <= WITHIN),
        "changes": [b["changes"] for _, b in pairs],
    }


def main() -> None:
    """Run what is not there, and write what is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/authorise"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    pairs = []
    for seed in range(asked.seeds):
        arms = [
            arm(asked.runs / f"{seed}-{name}", seed, asked.steps, name == "authorised")
            for name in ("main", "authorised")
        ]
        pairs.append((arms[0], arms[1]))
        found = {**compared(pairs), "steps": asked.steps, "rule": RULE}
        (asked.runs / "authorise.json").write_text(json.dumps(found, indent=1) + "\n")
        print(
            json.dumps({key: found[key] for key in ("seeds", "saved", "difference", "interval_90")})
        )


if __name__ == "__main__":
    main()
