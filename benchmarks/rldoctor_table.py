"""Faults named and false alarms on equal metric logs: `tod.findings` beside rldoctor 0.2.

In an environment with both (``pip install -e . rldoctor==0.2.0``) run
`python benchmarks/rldoctor_table.py`; it writes docs/results/rldoctor.md and .json (some minutes).
Every planted run becomes one file of a log in TRL's names, which either tool reads by itself.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.findings import TrainingRun, find, run_of
from tod.findings.planted import FAULTS, HEALTHY, Scenario
from tod.findings.rollout_series import series_of
from tod.findings.run import RolloutTable
from tod.logs import read_log

try:
    from rl_doctor import Severity, diagnose, run_from_records
    from rl_doctor.simulate import EXPECTED_DETECTIONS, simulate
except ImportError:  # `make bench` runs every file here, and few have a competitor installed
    print("not run: pip install -e . rldoctor==0.2.0 (in an environment of its own)")
    raise SystemExit(0) from None

OUT = Path(__file__).parent.parent / "docs" / "results"
SEEDS = 20
TRL = {
    "reward": "reward",
    "zero_variance": "frac_reward_zero_std",
    "length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "entropy": "entropy",
    "kl": "kl",
    "clip_fraction": "clip_ratio/region_mean",
    "mismatch": "sampling/sampling_logp_difference/mean",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "eval.accuracy": "eval_accuracy",
}
"""Our name of a figure and TRL's."""


@dataclass(frozen=True)
class Class:
    """One kind of fault as either tool calls it where a metric log is all there is."""

    theirs: frozenset[str]
    ours: frozenset[str]


NO_GRADIENT = Class(
    frozenset({"advantage_collapse"}),
    frozenset(
        {"all_fail", "all_pass", "all_tie", "never_solved", "shrinking_signal", "one_text"}
        | {"same_answers"}
    ),
)
FALL = Class(frozenset({"plateau"}), frozenset({"reward_fall", "all_fail"}))
LENGTH = Class(
    frozenset({"length_pathology"}), frozenset({"length_growth", "length_collapse", "truncation"})
)
CLASSES: dict[str, Class] = {
    **dict.fromkeys(NO_GRADIENT.ours, NO_GRADIENT),
    **dict.fromkeys(LENGTH.ours, LENGTH),
    "reward_fall": FALL,
    "entropy_collapse": Class(frozenset({"entropy_collapse"}), frozenset({"entropy_collapse"})),
    "kl_blowup": Class(frozenset({"kl_drift"}), frozenset({"kl_blowup", "kl_large"})),
    "learning_rate": Class(
        frozenset({"kl_drift"}), frozenset({"learning_rate", "kl_blowup", "kl_large"})
    ),
    "clip": Class(frozenset({"clip_saturation"}), frozenset({"clip"})),
    "gradient_spikes": Class(frozenset({"gradient_pathology"}), frozenset({"gradient_spikes"})),
    "over_optimised": Class(frozenset({"reward_hacking"}), frozenset({"over_optimised"})),
    "reward_dominated": Class(
        frozenset({"reward_composition"}), frozenset({"reward_dominated", "saturated_reward"})
    ),
    "plateau": Class(frozenset({"plateau"}), frozenset({"plateau"})),
    "noise": Class(frozenset(), frozenset({"noise", "verifier"})),
    "verifier": Class(frozenset(), frozenset({"noise", "verifier"})),
    "mismatch": Class(frozenset(), frozenset({"mismatch"})),
}
"""By the kind of finding that was planted."""
OF_FILES = ("broken_groups", "mixed_groups")
"""Faults of how rollouts were written: no metric log holds them."""
THEIR_SCENARIOS = {
    "advantage_collapse": NO_GRADIENT,
    "length_pathology": LENGTH,
    "plateau": CLASSES["plateau"],
    "reward_composition": CLASSES["reward_dominated"],
    **{
        name: CLASSES[kind]
        for name, kind in (
            ("entropy_collapse", "entropy_collapse"),
            ("reward_hacking", "over_optimised"),
            ("kl_drift", "kl_blowup"),
            ("clip_saturation", "clip"),
            ("gradient_pathology", "gradient_spikes"),
        )
    },
}
"""By the detector that rldoctor expects of its own scenario."""


@dataclass(frozen=True)
class Said:
    """What one tool says of one log: detectors or kinds at each level."""

    noted: frozenset[str]
    warned: frozenset[str]
    critical: frozenset[str]


def trl_rows(run: TrainingRun) -> list[dict[str, float]]:
    """The log that TRL would have written of a planted run, a row a step."""
    rollouts = recorded(run)
    series = {**run.series, **series_of(rollouts)}
    named = {key: series[name] for name, key in TRL.items() if name in series}
    named |= {
        f"rewards/{name[7:]}/mean": s for name, s in series.items() if name.startswith("reward.")
    }
    rows: dict[int, dict[str, float]] = {int(step): {} for step in rollouts.steps}
    for key, figure in named.items():
        for step, value in zip(figure.steps.tolist(), figure.values.tolist(), strict=True):
            if np.isfinite(value):
                rows[step][key] = value
    for step, value in zip(rows, reward_std(rollouts).tolist(), strict=True):
        rows[step]["reward_std"] = value
    for row in rows.values():
        row.setdefault("completions/clipped_ratio", 0.0)
    return [{"step": step, **row} for step, row in rows.items()]


def recorded(run: TrainingRun) -> RolloutTable:
    """The rollouts of a run that was planted with them."""
    if run.rollouts is None:
        raise DataError("the run was planted without rollouts.")
    return run.rollouts


def reward_std(rollouts: RolloutTable) -> np.ndarray:
    """Mean over the groups of a step of the sample deviation within a group, [T]."""
    within = np.sqrt(np.asarray(rollouts.groups.variance(rollouts.reward)))
    return np.asarray(rollouts.by_step.mean(within))


def ours(rows: Sequence[dict[str, float]], folder: Path) -> Said:
    """What `tod.findings` says of the log, read from a file."""
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    findings = find(run_of(logs=[read_log(path)]))
    return Said(
        frozenset(f.kind for f in findings.all),
        frozenset(f.kind for f in findings.faults),
        frozenset(f.kind for f in findings.faults if f.severity == "critical"),
    )


def theirs(rows: Sequence[dict[str, float]], config: dict[str, object]) -> Said:
    """What rldoctor says of the same rows with the configuration beside them."""
    problems = diagnose(run_from_records(rows, config=config)).problems

    def at(level: Severity) -> frozenset[str]:
        return frozenset(p.detector for p in problems if p.severity >= level)

    return Said(at(Severity.INFO), at(Severity.WARNING), at(Severity.CRITICAL))


@dataclass(frozen=True)
class Case:
    """One planted log: its rows, what belongs to it, and the class of its fault, or None."""

    table: str
    scenario: str
    seed: int
    rows: list[dict[str, float]]
    config: dict[str, object]
    fault: Class | None


def our_cases(seeds: int) -> Iterator[Case]:
    """Our planted runs as logs, but those whose fault is one of files."""
    for scenario in (*FAULTS, *HEALTHY):
        if set(scenario.kinds) & set(OF_FILES):
            continue
        for seed in range(seeds):
            yield _our_case(scenario, seed)


def _our_case(scenario: Scenario, seed: int) -> Case:
    run = replace(scenario, recorded=True).plant(seed).run
    config = {"algorithm": "grpo", "num_generations": int(recorded(run).groups.sizes[0])}
    fault = CLASSES[scenario.kinds[0]] if scenario.kinds else None
    return Case("ours", scenario.name, seed, trl_rows(run), config, fault)


def their_cases(seeds: int) -> Iterator[Case]:
    """The runs of rldoctor's own selftest, with other seeds."""
    for scenario, detectors in EXPECTED_DETECTIONS.items():
        for seed in range(seeds):
            rows, config = simulate(scenario, seed=seed)
            fault = THEIR_SCENARIOS[detectors[0]] if detectors else None
            yield Case("theirs", scenario, seed, rows, config, fault)


@dataclass(frozen=True)
class Verdict:
    """What both tools say of one log."""

    case: Case
    ours: Said
    theirs: Said

    def named(self, level: str) -> tuple[bool, bool]:
        """Whether we, and they, name the fault at a level or above."""
        fault = self.case.fault
        if fault is None:
            return False, False
        mine, other = getattr(self.ours, level), getattr(self.theirs, level)
        return bool(mine & fault.ours), bool(other & fault.theirs)


def judged(case: Case, folder: Path) -> Verdict:
    """What both tools say of one log."""
    return Verdict(case, ours(case.rows, folder), theirs(case.rows, case.config))


def main() -> None:
    """Judge every case and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", default="", help="part of a scenario's name")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for cases in (our_cases(options.seeds), their_cases(options.seeds)):
            said.extend(
                judged(case, Path(folder)) for case in cases if options.only in case.scenario
            )
    faults, healthy = counted(said)
    data = {"seeds": options.seeds, "faults": faults, "healthy": healthy}
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    (options.out / "rldoctor.json").write_text(text, encoding="utf-8")
    (options.out / "rldoctor.md").write_text(page(faults, healthy), encoding="utf-8")


Row = dict[str, Any]


def counted(said: Sequence[Verdict]) -> tuple[list[Row], list[Row]]:
    """Counts by scenario: of planted faults, and of healthy runs."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in said:
        groups.setdefault((verdict.case.table, verdict.case.scenario), []).append(verdict)
    faults: list[Row] = []
    healthy: list[Row] = []
    for (table, scenario), verdicts in groups.items():
        row: Row = {"table": table, "scenario": scenario, "runs": len(verdicts)}
        fault = verdicts[0].case.fault
        if fault is None:
            for tool in ("ours", "theirs"):
                each = [getattr(verdict, tool) for verdict in verdicts]
                row[tool] = {
                    "alarms": sum(bool(one.warned) for one in each),
                    "critical": sum(bool(one.critical) for one in each),
                    "which": dict(Counter(kind for one in each for kind in sorted(one.warned))),
                }
            row["shared"] = sum(bool(v.ours.warned and v.theirs.warned) for v in verdicts)
            healthy.append(row)
            continue
        noted = [verdict.named("noted") for verdict in verdicts]
        warned = [verdict.named("warned") for verdict in verdicts]
        row |= {
            "ours": {"named": sum(a for a, _ in noted), "fault": sum(a for a, _ in warned)},
            "theirs": {"named": sum(b for _, b in noted), "fault": sum(b for _, b in warned)},
            "nameable": bool(fault.theirs),
            "only_theirs": sum(b and not a for (a, _), (_, b) in zip(noted, warned, strict=True)),
        }
        faults.append(row)
    return faults, healthy


HEAD = """# Compared with rldoctor 0.2 on equal metric logs

Our detectors were mended on these same seeds, and a few merges came after the table: it shows where
the two differ, and is no confirmation.

`python benchmarks/rldoctor_table.py` in an environment with `pip install -e . rldoctor==0.2.0`
({runs} logs, {seeds} seeds a scenario). Every run is one log in TRL's names (reward, reward_std,
frac_reward_zero_std, lengths, entropy, KL, clip, gradient norm, learning rate, evaluation, parts of
the reward); both tools read the same rows, and neither sees the rollouts. rldoctor is told the
group size beside it.

*Named*: the fault's kind is said at all (a note or above here, INFO or above there). *Fault*: as a
warning or worse. Both are judged by the classes in the script, which are no finer than a log
allows: one text for all answers, for example, is a matter of rollouts, and groups without a
gradient count for it. *Only theirs*: rldoctor warns rightly and we do not even note it.
"""

NOTES = """## What is left

A slow fall of the reward with few prompts a step can stay within our 4.5 standard errors, with the
rollouts at hand as well: rldoctor's trend test is nearer, and calls healthy curricula a plateau for
it. A task that was learned, answers that lengthen while the reward rises, and a plateau are notes
here, warnings there: they are not counted as missed. One reward that drowns the task is a note
from a log, a warning with the rollouts, and needs more steps than a run of thirty has. Coins,
unstable graders and one text for most answers are seen in rollouts alone (`tod selftest`).
"""


def page(faults: Sequence[Row], healthy: Sequence[Row]) -> str:
    """The page of results."""
    runs = sum(row["runs"] for row in (*faults, *healthy))
    lines = [HEAD.format(runs=runs, seeds=max(row["runs"] for row in (*faults, *healthy)))]
    for table, title in (("ours", "Our planted faults"), ("theirs", "Its own planted faults")):
        lines += [f"## {title}", "", "| scenario | runs | ours: named | fault | rldoctor: named |"
                  " fault | only theirs |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        rows = [row for row in faults if row["table"] == table]
        for row in rows:
            mine, other = row["ours"], row["theirs"]
            there = [other["named"], other["fault"]] if row["nameable"] else ["no check", ""]
            cells = [row["scenario"], row["runs"], mine["named"], mine["fault"], *there]
            lines.append(f"| {' | '.join(map(str, (*cells, row['only_theirs'])))} |")
        cells = ["**all**", sum(row["runs"] for row in rows)]
        cells += [sum(row[tool][key] for row in rows) for tool in ("ours", "theirs")
                  for key in ("named", "fault")]  # fmt: skip
        cells.append(sum(row["only_theirs"] for row in rows))
        lines += [f"| {' | '.join(map(str, cells))} |", ""]
    lines += ["## Healthy runs", "", "Runs that are called faulty (a warning or worse).", "",
              "| family | runs | ours | critical | rldoctor | critical | which of its checks |"
              " called by both |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in healthy:
        mine, other = row["ours"], row["theirs"]
        which = ", ".join(f"{kind} {count}" for kind, count in sorted(other["which"].items()))
        name = row["scenario"] if row["table"] == "ours" else f"its own: {row['scenario']}"
        cells = [name, row["runs"], mine["alarms"], mine["critical"], other["alarms"]]
        cells += [other["critical"], which, row["shared"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    cells = ["**all**", sum(row["runs"] for row in healthy)]
    cells += [sum(row[tool][key] for row in healthy) for tool in ("ours", "theirs")
              for key in ("alarms", "critical")]  # fmt: skip
    cells += ["", sum(row["shared"] for row in healthy)]
    lines += [f"| {' | '.join(map(str, cells))} |", ""]
    return "\n".join([*lines, NOTES])


if __name__ == "__main__":
    main()
