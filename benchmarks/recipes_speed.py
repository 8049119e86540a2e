"""What a recipe costs beside GRPO on the same prompts, candidates and completions.

Every training recipe of configs/ gets one and the same draw and does everything after it: scores
utilities and anchors, makes its updates (as many as GRPO's recipe), and diagnoses. Pairs of a
GRPO step and a recipe's step alternate in one process with one thread; a ratio is the median over
the pairs. A group-based recipe may take 1.15 times GRPO's step. A recipe that needs more forward
passes by its definition (a reference scored for pairs, z₀, a teacher, a critic) may take 1.15
times what its floating-point operations say, and these are stated beside it. The ratio of whole
steps adds the draw, the same for all.

    python benchmarks/recipes_speed.py [--rounds 7] [--only dpo gkd] [--no-write]
"""

import argparse
import json
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "results"
SLACK = 1.15
SHARED = ("size", "prompts", "max_new_tokens", "temperature")


@dataclass
class Runner:
    """One recipe with its session, and the seconds of its steps after the draw."""

    name: str
    row: str
    session: Any
    procedure: Any
    flops: float = 0.0
    passes: str = ""

    def step(self, drawn: Any) -> float:
        """Seconds of scoring, updating and diagnosing one draw."""
        from tod.engine.collect import scored_evidence
        from tod.engine.record import diagnose, ledger
        from tod.engine.update import update

        start = time.perf_counter()
        evidence = scored_evidence(self.session, *drawn)
        update_rule = self.procedure.operator.update
        updated = update(self.session, evidence, self.procedure.tilt, update_rule, 1)
        diagnose(self.procedure, evidence, updated)
        seconds = time.perf_counter() - start
        entry = ledger(self.session, evidence, updated)
        self.flops = entry.score_flops + entry.train_flops
        self.passes = passes(self.session, evidence, updated)
        return seconds


def passes(session: Any, evidence: Any, updated: Any) -> str:
    """How often every model ran over the completions: the policy's updates, then scoring."""
    updates = session.settings.train.updates_per_batch
    once = updated.work.states / updates
    found = [f"{updates} updates"]
    if updated.critic_work.states:
        found.append(f"{updated.critic_work.states / once:.0f} of the critic")
    scored: dict[str, float] = {}
    for name, work in [*evidence.work.items(), *updated.scored.items()]:
        scored[name] = scored.get(name, 0.0) + work.states / once
    return ", ".join([*found, *(f"{name} x{n:.0f}" for name, n in scored.items() if n)])


def row_of(settings: Any) -> str:
    """Which bound a recipe has."""
    from tod.operators import Preference

    auxiliary = settings.operator.auxiliary
    if auxiliary.critic is not None:
        return "critic"
    if auxiliary.distillation is not None:
        return "full vocabulary"
    if isinstance(settings.operator.action, Preference):
        return "pairwise"
    return "sampled teacher" if "teacher" in settings.target.target.names else "group"


def runner(path: Path, reference: dict[str, Any]) -> Runner | None:
    """A recipe on GRPO's draw and number of updates; None for one that does not train."""
    import yaml

    from tod.engine.session import open_session
    from tod.engine.settings import RunSettings

    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "search" in data or "source" not in data["operator"]["proposal"]:
        return None
    data["train"] = {**reference["train"], "learning_rate": 1e-12, "schedule": "constant"}
    data.pop("arc", None)
    data["evaluate"] = None
    shared = {name: reference["operator"]["proposal"][name] for name in SHARED}
    # what only says which completions are drawn has no say here: they are given
    data["operator"]["proposal"] = {"source": "old", "refresh": 1, **shared}
    if data["target"].get("semantics") == "fixed":
        data["target"]["semantics"] = "sampled"
    settings = RunSettings.parse(data)
    session = open_session(settings)
    return Runner(path.stem, row_of(settings), session, settings.procedure)


def draw_once(session: Any) -> tuple[Any, float]:
    """Prompts, candidates and texts of GRPO's first step, and the seconds they took."""
    from tod.engine.collect import draw

    proposal = session.operator.proposal
    examples = session.task.batch(0, proposal.prompts)
    numbers = session.world.share(len(examples))
    start = time.perf_counter()
    rollouts = draw(session, session.sampler, examples, proposal.size, 1, numbers, seed=0)
    return (examples, rollouts), time.perf_counter() - start


def measure(
    path: Path, reference: dict[str, Any], grpo: Runner, args: Any
) -> dict[str, Any] | None:
    """The ratio of a recipe to GRPO on the same draw, and its bound."""
    other = runner(path, reference)
    if other is None:
        return None
    drawn, _ = draw_once(grpo.session)
    other.step(drawn)
    pairs, draws = [], []
    for _ in range(args.rounds):
        draws.append(draw_once(grpo.session)[1])
        pairs.append((grpo.step(drawn), other.step(drawn)))
    other.session.close()
    sample = statistics.median(draws)
    work = other.flops / grpo.flops
    bound = SLACK if other.row == "group" else SLACK * max(1.0, work)
    ratio = statistics.median(b / a for a, b in pairs)
    return {
        "recipe": other.name,
        "row": other.row,
        "grpo_ms": round(1e3 * statistics.median(a for a, _ in pairs), 1),
        "recipe_ms": round(1e3 * statistics.median(b for _, b in pairs), 1),
        "after_draw": round(ratio, 3),
        "step": round(statistics.median((sample + b) / (sample + a) for a, b in pairs), 3),
        "work": round(work, 3),
        "bound": round(bound, 3),
        "passes": other.passes,
        "within": bool(ratio <= bound),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown, by kind and name."""
    names = (
        "recipe",
        "row",
        "step / GRPO's",
        "after the draw",
        "FLOPs / GRPO's",
        "bound",
        "passes",
    )
    lines = ["| " + " | ".join(names) + " |", "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: (r["row"] != "group", r["row"], r["recipe"])):
        over = "" if row["within"] else " **over**"
        lines.append(
            f"| {row['recipe']} | {row['row']} | {row['step']:.2f} | {row['after_draw']:.2f}{over} "
            f"| {row['work']:.2f} | {row['bound']:.2f} | {row['passes']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every recipe, print the table, write it."""
    import yaml

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path = ROOT / "configs" / "grpo.yaml"
    reference = yaml.safe_load(path.read_text(encoding="utf-8"))
    reference["operator"]["proposal"] |= {"prompts": args.prompts, "size": args.size}
    grpo = runner(path, reference)
    assert grpo is not None  # noqa: S101 - its own recipe trains
    grpo.step(draw_once(grpo.session)[0])
    rows = []
    for config in sorted((ROOT / "configs").glob("*.yaml")):
        if args.only is None or config.stem in args.only:
            row = measure(config, reference, grpo, args)
            if row is not None:
                rows.append(row)
                print(json.dumps(row), flush=True)
    print(table(rows))
    over = [row["recipe"] for row in rows if not row["within"]]
    print(
        f"{len(rows)} recipes, {len(rows) - len(over)} within their bound; over: {over or 'none'}"
    )
    if not args.no_write:
        write(rows, args)


def write(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """docs/results/recipes_speed.md and .json."""
    head = (
        "# What a recipe costs beside GRPO\n\n"
        f"`python benchmarks/recipes_speed.py --rounds {args.rounds}`: {args.prompts} prompts, "
        f"{args.size} candidates, the same completions for all, GRPO's number of updates, "
        "`tod://tiny`, one thread. Ratios are medians over alternating pairs; what a proposal "
        "draws beyond that (refill, a data set, a mixture) is not in them. A group-based "
        f"recipe may take {SLACK} of GRPO's step; every other row {SLACK} of what its "
        "floating-point operations say (scoring and training, as the ledger counts them).\n\n"
    )
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "recipes_speed.json"
    if args.only is not None and path.exists():  # the others keep their rows
        known = {row["recipe"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
        known |= {row["recipe"]: row for row in rows}
        rows = [known[name] for name in sorted(known)]
    (OUT / "recipes_speed.md").write_text(head + table(rows) + "\n", encoding="utf-8")
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
