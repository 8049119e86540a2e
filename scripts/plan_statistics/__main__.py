"""Pilots of every world through `feasible_eta` and the needed K; the table of docs/results/plan.md.

PYTHONPATH=src:scripts python -m plan_statistics --output docs/results/plan.md

`--purpose choose` draws other pilots: what is looked at while something is changed.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np

from plan_statistics.worlds import WORLDS, World
from tod.base import Groups
from tod.population import feasible_eta, leg_statistics
from tod.population.needed import needed_k
from tod.regimes.feasible import eta_for_ess

GOAL, COUNT = 0.5, 8.0
SEEDS = {"choose": 10_000_019, "report": 30_000_001}
FORCES = (0.8, 0.65, 0.5)
"""True ESS_rel at the sharpness in force, of which the needed K is read."""


def one(world: World, pilot: int, seed: int, prompts: int, k: int) -> dict[str, float]:
    """What a pilot says, over what is true."""
    rng = np.random.default_rng([seed, pilot])
    u = world.draw(rng, prompts, k).ravel()
    groups = Groups.equal(prompts, k)
    force = FORCES[pilot % len(FORCES)]
    eta = world.eta_at(force, k)
    statistics = leg_statistics(groups, log_w=u, anchored=True, eta=eta)
    found, best = feasible_eta(statistics, GOAL), world.eta_at(GOAL, k)
    some, rows = groups.take(np.flatnonzero(groups.variance(u) > 0))
    at_k = float(np.median(eta_for_ess(u[rows], some, GOAL)))
    needed = needed_k(statistics.population(eta)["target_proposal"].median, COUNT)
    true = COUNT / world.ess(eta, k)
    limit = math.nan
    if found.limit is not None:
        limit = float(found.limit.low <= world.ess(60.0, k) <= found.limit.high)
    return {
        "eta": math.nan if found.eta is None else found.eta / best,
        "ess": math.nan if found.eta is None else world.ess(min(found.eta, 60.0), k),
        "safe": math.nan if found.safe is None else found.safe / best,
        "safe_ess": math.nan if found.safe is None else world.ess(min(found.safe, 60.0), k),
        "at_k": at_k / best,
        "k": math.nan if needed is None or needed.value is None else needed.value / true,
        "least": math.nan if needed is None or needed.low is None else needed.low / true,
        "covers": math.nan
        if needed is None or needed.value is None
        else float(needed.low <= math.ceil(true) and (needed.high or math.inf) >= math.floor(true)),
        "limit": limit,
    }


def row(kind: str, world: World, pilots: int, seed: int, prompts: int, k: int) -> str:
    """A line of the table."""
    found = [one(world, i, seed, prompts, k) for i in range(pilots)]
    x = {name: np.array([item[name] for item in found]) for name in found[0]}
    open_end = np.isnan(x["k"]) & ~np.isnan(x["least"])
    eta = np.where(np.isnan(x["eta"]), 0.0, x["eta"])
    ends = np.quantile(eta, (0.1, 0.5, 0.9), method="inverted_cdf")
    error = np.abs(x["k"][~np.isnan(x["k"])] - 1)
    cells = [
        kind,
        world.name,
        f"{_n(ends[1])} ({_n(ends[0])} to {_n(ends[2])})",
        _n(np.nanmedian(x["ess"])),
        _n(np.median(x["at_k"])),
        _n(np.nanmedian(x["safe"])),
        _n((x["safe_ess"] >= 0.45).mean()),
        "–" if not error.size else f"{np.median(error):.0%} ({np.quantile(error, 0.9):.0%})",
        "–" if not error.size else _n(np.nanmean(x["covers"])),
        _n(open_end.mean()),
        "–"
        if not open_end.any()
        else f"{(x['least'][open_end] <= 1.0).mean():.2f}, {np.median(x['least'][open_end]):.2f}",
        "–" if np.isnan(x["limit"]).all() else _n(np.nanmean(x["limit"])),
    ]
    return f"| {' | '.join(cells)} |"


def _n(value: float) -> str:
    return "∞" if value == math.inf else f"{value:.2f}"


HEAD = """\
# How good the figures of `tod plan` are

{pilots} pilots a world, each of {prompts} new prompts with K = {k}; goal: the median ESS_rel of the
population at {goal:g}; K for {count:g} effective rollouts at a sharpness whose true median ESS_rel
is .8, .65 and .5 in turn. Made by

```bash
PYTHONPATH=src:scripts python -m plan_statistics --output docs/results/plan.md
```

with pilots that nothing was chosen on (`--purpose choose` draws the others).

*Needed K* is compared where a pilot gives a point; "at least" is the share of pilots that give none
(the tail leaves ESS_rel no lower end), how many of those bounds are true, and their median over the
truth. A bound is a 95 % one of all pilots, not of those alone. *Limit covered*: whether the
interval of the median pass rate holds it; with beta(1, 1) it is at the goal, and a largest η is
found or not by chance. What to take is the safe η.

| class | world | η found ÷ true: median (10 % to 90 %) | true ESS_rel at it | \
η at your K ÷ true | safe η ÷ true | true ESS_rel at safe η ≥ .45 | \
needed K: median error (90 %) | interval covers | "at least" | of these: true, ÷ truth | \
limit covered |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Write the table, line by line."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--output", type=Path, required=True)
    asked.add_argument("--purpose", choices=SEEDS, default="report")
    asked.add_argument("--pilots", type=int, default=200)
    asked.add_argument("--prompts", type=int, default=64)
    asked.add_argument("--k", type=int, default=8)
    asked.add_argument("--classes", nargs="*", default=list(WORLDS))
    said = asked.parse_args()
    head = HEAD.format(pilots=said.pilots, prompts=said.prompts, k=said.k, goal=GOAL, count=COUNT)
    said.output.write_text(head)
    for kind in said.classes:
        for world in WORLDS[kind]:
            start = time.monotonic()
            line = row(kind, world, said.pilots, SEEDS[said.purpose], said.prompts, said.k)
            with said.output.open("a") as out:
                out.write(line + "\n")
            print(f"{time.monotonic() - start:5.1f} s {line}", flush=True)


if __name__ == "__main__":
    main()
