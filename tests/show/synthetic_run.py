"""A run directory that looks like a real one, written through the public interface."""

import sys
from pathlib import Path

import numpy as np

from tod.base import Groups
from tod.diagnostics import measure
from tod.diagnostics.summary import Drift, Mismatch
from tod.regimes import classify
from tod.runs import HeldOut, Ledger, Manifest, RunDirectory, StepRecord

CONTEXTS, POOL = 32, 48


def recipe(name, eta, steps, k):
    return {
        "name": name,
        "model": "tod://tiny",
        "anchors": {"ref": "tod://tiny", "teacher": None},
        "task": {"kind": "countdown", "split": "train"},
        "utilities": [{"name": "correct", "kind": "countdown"}],
        "target": {"kind": "two_anchor", "tau": 0.75 / eta, "beta": 0.25 / eta}
        | {"utility": "correct"},
        "operator": {
            "proposal": {"source": "old", "prompts": CONTEXTS, "size": k, "temperature": 1.0},
            "action": {
                "kind": "policy_gradient",
                "level": "sequence_mean",
                "trust_region": {"kind": "clip", "low": 3e-4, "high": 4e-4},
                "aggregation": "sequence_mean_token_mean",
            },
        },
        "train": {"steps": steps, "updates_per_batch": 4, "learning_rate": 3e-4, "seed": 0},
        "evaluate": {"held_out_prompts": 200, "samples_per_prompt": 16, "every": 20},
    }


def make_run(path, steps=60, eta=5.0, k=16, arc=False, seed=0, prompt=None, overwrite=False):
    """Write the run; ``prompt`` replaces that of the last step's most fragile context."""
    rng = np.random.default_rng(seed)
    name = Path(path).name
    manifest = Manifest.of(name, recipe(name, eta, steps, k), {"train": seed})
    run = RunDirectory.create(path, manifest, overwrite=overwrite)
    skill = rng.normal(-1.6, 1.3, POOL)
    sharp = eta
    for step in range(steps + 1):
        batch = _batch(rng, skill, step / steps, sharp, k)
        if prompt is not None and step == steps:
            worst = batch["context"][::k][int(np.argmin(_ess(batch, k)))]
            batch["prompt"] = np.where(batch["context"] == worst, prompt, batch["prompt"])
        record = _record(rng, batch, step, steps, sharp, skill, k)
        sharp = _control(run, record, sharp, eta) if arc else sharp
        run.record(record)
        _tables(run, step, batch)
    run.sync()
    return Path(path)


def _batch(rng, skill, progress, eta, k):
    chosen = rng.choice(POOL, CONTEXTS, replace=False)
    chance = 1 / (1 + np.exp(-(skill[chosen] + 2.2 * progress)))
    correct = (rng.random((CONTEXTS, k)) < chance[:, None]).astype(float)
    near = np.round(np.clip(correct * 0.7 + rng.beta(2, 3, (CONTEXTS, k)) * 0.3, 0, 1), 2)
    log_mu = -rng.gamma(9, 0.8, (CONTEXTS, k))
    gap = rng.normal(0, 0.2 + 1.1 * progress * (1.3 - progress), (CONTEXTS, k))
    log_w = 0.22 * eta * correct + gap + rng.normal(0, 0.25, (CONTEXTS, 1))
    a, b, c, d = rng.integers(1, 20, (4, CONTEXTS))
    text = [
        f"reach {x * y - z} with {x} {y} {z} {w}" for x, y, z, w in zip(a, b, c, d, strict=True)
    ]
    return {
        "context": np.repeat(chosen, k),
        "candidate": np.tile(np.arange(k), CONTEXTS),
        "prompt": np.repeat(np.array(text, dtype=object), k),
        "completion": [
            f"{rng.integers(2, 19)}*{rng.integers(2, 9)}-{rng.integers(1, 9)}"
            for _ in range(CONTEXTS * k)
        ],
        "utility.correct": correct.ravel(),
        "utility.near": near.ravel(),
        "log_mu": log_mu.ravel(),
        "log_old": log_mu.ravel(),
        "log_ref": (log_mu - 0.4 * progress + gap).ravel(),
        "log_policy": (log_mu + 0.3 * gap).ravel(),
        "log_w": log_w.ravel(),
    }


def _groups(batch, k):
    return Groups(np.full(len(batch["log_w"]) // k, k))


def _ess(batch, k):
    weights = np.exp(batch["log_w"]).reshape(-1, k)
    blind = np.ptp(batch["utility.correct"].reshape(-1, k), axis=1) == 0
    return np.where(blind, np.inf, weights.sum(1) ** 2 / (weights**2).sum(1))


def _measured(batch, k, eta=1.0):
    return measure(
        batch["log_w"],
        eta * batch["utility.correct"],
        _groups(batch, k),
        utility=batch["utility.correct"],
        log_r=batch["log_policy"] - batch["log_mu"],
    )


def _record(rng, batch, step, steps, eta, skill, k):
    progress = step / steps
    summary = _measured(batch, k, eta).summary(
        drift=Drift(ref=2.4 * progress**1.3 + rng.normal(0, 0.05), old=0.05 + 0.03 * rng.random()),
        mismatch=Mismatch(tokens=5000, mean_abs=2e-6 * (1 + rng.random())),
        activation=float(np.clip(0.08 + 0.18 * progress + rng.normal(0, 0.02), 0, 1)),
        entropy=float(1.1 - 0.4 * progress + rng.normal(0, 0.02)),
    )
    held = None
    if step % 20 == 0 or step == steps:
        passing = float(np.mean(1 / (1 + np.exp(-(skill + 2.2 * progress)))))
        held = HeldOut(passing, min(1.0, passing * 1.9), 0.013, 200, 16)
    return StepRecord(
        step=step,
        utility={"correct": batch["utility.correct"].mean(), "near": batch["utility.near"].mean()},
        summary=summary,
        regime=classify(summary, eta=eta).to_dict(),
        knobs={"eta": eta, "tau": 0.75 / eta},
        ledger=Ledger(8192, 24576, 32768, 6.1e10, 1.4e10, 1.2e10, 3.5e10),
        held_out=held,
        time=1.75e9 + 2.1 * step,
    )


def _control(run, record, sharp, eta):
    low = record.summary.ess_rel.q10
    moved = max(1.0, sharp * 0.82) if low is not None and low < 0.42 else min(eta, sharp * 1.06)
    action = "soften" if moved < sharp else "sharpen" if moved > sharp else "hold"
    run.decide(
        {
            "step": record.step,
            "action": action,
            "before": {"eta": sharp},
            "after": {"eta": moved},
            "why": f"ESS_rel q10 is {low:.2f}" if low is not None else "nothing informative",
        }
    )
    return moved


def _tables(run, step, batch):
    k = int(batch["candidate"].max()) + 1
    measured = _measured(batch, k)
    run.write_contexts(step, measured.rows() | {"context": batch["context"][::k]})
    run.write_rollouts(step, batch)


if __name__ == "__main__":
    make_run(Path(sys.argv[1]) / "quickstart", arc=True, overwrite=True)
    make_run(Path(sys.argv[1]) / "sharp", eta=9.0, seed=4, overwrite=True)
    make_run(Path(sys.argv[1]) / "wide", eta=3.0, k=32, seed=9, overwrite=True)
