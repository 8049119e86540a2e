"""A sweep whose ends are made up: no run behind it."""

import numpy as np

from tod.study.sweep.axis import Axis
from tod.study.sweep.compare import compare
from tod.study.sweep.document import SCHEMA, SweepAxis, SweepDocument, SweepRun
from tod.study.sweep.ends import End, Evaluation

ETA = Axis("target.eta", "eta", (1, 2, 4, 8))
OPERATOR = Axis("operator", "operator", ("grpo", "gspo", "weighted_mle_centred"))


def judged(low=0.3, value=0.4, high=0.5, verdict="transition"):
    interval = {"low": low, "value": value, "high": high}
    return {
        "regime": {"verdict": verdict, "point": {"interval": interval}, "legs": []},
        "pool": {"first": 1, "last": 9},
    }


def fake(axes=(ETA, OPERATOR), seeds=3, failed=(), waiting=(), unequal=(), spread=0.02):
    """The document and the comparison of a sweep; runs by number may have failed or wait."""
    rng = np.random.default_rng(0)
    ends, runs = [], []
    for seed in range(seeds):
        combinations = [()]
        for axis in axes:
            combinations = [(*c, value) for c in combinations for value in axis.values]
        for place, values in enumerate(combinations):
            number = len(runs)
            state = "failed" if number in failed else "waiting" if number in waiting else "done"
            name = f"run-{number}"
            done = state == "done"
            by_prompt = rng.normal(0.3 + 0.01 * place, spread, 12) if done else None
            held = [Evaluation(0, 0.2, 0.01)]
            held += [Evaluation(9, float(by_prompt.mean()), 0.01)] if done else []
            ends.append(
                End(
                    name,
                    values,
                    seed,
                    state,
                    9 if done else 0,
                    9,
                    5.0,
                    evaluations=tuple(held) if done else (),
                    by_prompt=by_prompt,
                    reward={step: 0.2 + 0.01 * step for step in range(1, 10)} if done else {},
                    tails=dict.fromkeys(range(1, 10), 0.3) if done else {},
                    judged=judged() if done else {},
                    failed="RunError: the disk is full, so nothing more is written. Make room." * 2
                    if state == "failed"
                    else "",
                )
            )
            runs.append(SweepRun(name, list(values), seed, "0", 9))
    document = SweepDocument(
        schema=SCHEMA,
        recipe="weighted_mle",
        fixed={"train.steps": 9},
        base="0",
        axes=[SweepAxis(axis.path, axis.name, list(axis.values)) for axis in axes],
        seeds=list(range(seeds)),
        reported="correct",
        runs=runs,
        answer="",
        settings=[],
        differences=[],
        unequal=list(unequal),
    )
    found = compare(axes, ends)
    return document.concluded(found), found
