"""10⁹ simulated rollouts on one machine: shards that are measured, told in a few megabytes, added.

Prompts of 8 rollouts, 0/1 rewards whose pass rate varies over prompts (Beta(1, 2)), a target
exp(η·reward)·μ at η = 1, and a policy .1 nats from the proposal. What is checked: the sum of the
shards against the same prompts measured at once (on as many as fit, --whole), how much the sum
keeps, the peak of memory, and the time a rollout costs.

    OMP_NUM_THREADS=1 python benchmarks/shards.py --rollouts 1e9 --output shards.json
"""

import argparse
import json
import pickle
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import ShardDiagnostics, measure, sum_of_shards
from tod.diagnostics.summary import Diagnostics
from tod.population import LegStatistics, leg_statistics
from tod.regimes import classify

K = 8
ETA = 1.0
GAP = 0.1


def rewards_and_gap(seed: int, prompts: int) -> tuple[Any, Any]:
    """0/1 rewards and log π − log μ of the rollouts of a shard, the second of mean ρ 1."""
    rng = np.random.default_rng(seed)
    rate = np.repeat(rng.beta(1, 2, size=prompts), K)
    return (rng.random(prompts * K) < rate).astype(float), rng.normal(
        -GAP * GAP / 2, GAP, prompts * K
    )


def measured(reward: Any, log_r: Any) -> tuple[Diagnostics, Any, Groups]:
    """Diagnostics of some prompts, with what they were measured from."""
    groups = Groups.equal(len(reward) // K, K)
    log_w = ETA * reward
    return measure(log_w, reward, groups, utility=reward, log_r=log_r), log_w, groups


def told(seen: Diagnostics, log_w: Any, groups: Groups, log_r: Any) -> tuple[Any, LegStatistics]:
    """What a shard keeps: of the summary, and of the verdict."""
    leg = seen.target_policy
    assert leg is not None  # noqa: S101 - log_r was measured
    known = leg[seen.informative & ~np.isnan(leg)]
    legs = leg_statistics(
        groups,
        log_w=log_w / ETA,
        anchored=True,
        eta=ETA,
        width=1.0,
        log_r=log_r,
        target_policy=known,
    )
    return ShardDiagnostics.of(seen, log_w, groups), legs


def simulated(rollouts: int, shard: int) -> dict[str, Any]:
    """All shards in a row, added as they come; what the sum says and what it cost."""
    total: ShardDiagnostics | None = None
    legs: LegStatistics | None = None
    seconds = {"simulate": 0.0, "measure": 0.0, "tell": 0.0, "add": 0.0}
    start, count = time.process_time(), 0
    while count < rollouts:
        size = min(shard, rollouts - count)
        marks = [time.process_time()]
        reward, log_r = rewards_and_gap(count // shard, size // K)
        marks.append(time.process_time())
        seen, log_w, groups = measured(reward, log_r)
        marks.append(time.process_time())
        one, its_legs = told(seen, log_w, groups, log_r)
        marks.append(time.process_time())
        total = one if total is None else total + one
        legs = its_legs if legs is None else legs + its_legs
        marks.append(time.process_time())
        for name, spent in zip(seconds, np.diff(marks), strict=True):
            seconds[name] += float(spent)
        count += size
        print(f"\r{count:.3g} of {rollouts:.3g} rollouts", end="", file=sys.stderr)
    assert total is not None and legs is not None  # noqa: S101, PT018 - there is a shard
    population = legs.population()
    summary = replace(total.summary(), population=population)
    return {
        "rollouts": count,
        "shards": -(-rollouts // shard),
        "cpu_seconds": time.process_time() - start,
        "nanoseconds_per_rollout": {n: 1e9 * s / count for n, s in seconds.items()},
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "sum_bytes": len(pickle.dumps(total)),
        "legs_bytes": len(json.dumps(legs.to_dict())),
        "summary": summary.to_dict(),
        "verdict": classify(summary).verdict,
    }


def against_whole(rollouts: int, shard: int) -> dict[str, float]:
    """Largest relative difference from the same prompts at once: exact numbers and quantiles."""
    made = [rewards_and_gap(seed, shard // K) for seed in range(rollouts // shard)]
    shards = []
    for reward, log_r in made:
        seen, log_w, groups = measured(reward, log_r)
        shards.append(ShardDiagnostics.of(seen, log_w, groups))
    added = sum_of_shards(shards).summary()
    whole = measured(*map(np.concatenate, zip(*made, strict=True)))[0].summary()
    exact = {
        "mean_rho": (added.coverage.mean_rho, whole.coverage.mean_rho),
        "pass_at_k": (added.coverage.pass_at_k, whole.coverage.pass_at_k),
        "ess_rel.mean": (added.ess_rel.mean, whole.ess_rel.mean),
    }
    ranked = {
        "ess_rel.q10": (added.ess_rel.q10, whole.ess_rel.q10),
        "target_policy": (added.overlap.target_policy, whole.overlap.target_policy),
        "policy_proposal": (added.overlap.policy_proposal, whole.overlap.policy_proposal),
        "log_w_variance": (added.tails.log_w_variance_median, whole.tails.log_w_variance_median),
    }
    z = (added.coverage.mean_rho_z or 0.0, whole.coverage.mean_rho_z or 0.0)
    return {
        "rollouts": len(made) * shard,
        "counts_differ": float(added.contexts != whole.contexts),
        "exact": max(abs(a / b - 1) for a, b in exact.values() if a and b),
        "z_of_mean_rho_apart": abs(z[0] - z[1]),
        "quantiles": max(abs(a / b - 1) for a, b in ranked.values() if a and b),
    }


def main() -> None:
    """Simulate, compare, and write what was seen."""
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--rollouts", type=float, default=1e7)
    parse.add_argument("--shard", type=float, default=2**20, help="rollouts of one shard")
    parse.add_argument("--whole", type=float, default=2**22, help="rollouts measured at once too")
    parse.add_argument("--output", type=Path)
    asked = parse.parse_args()
    shard = int(asked.shard) // K * K
    found = {"simulated": simulated(int(asked.rollouts) // K * K, shard)}
    found["against_whole"] = against_whole(int(asked.whole), shard)
    text = json.dumps(found, indent=1)
    print("\n" + text)
    if asked.output:
        asked.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
