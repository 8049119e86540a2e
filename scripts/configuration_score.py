"""Scores what the reader of configurations claims against what launch scripts really say.

Usage: python scripts/configuration_score.py CHECKOUTS [--facts studies/configurations/facts.jsonl]
[--output docs/results/locate_truth.md] [--false 40]

CHECKOUTS holds a checkout ``owner+name`` of each repository at the commit that its rows name; a
file whose SHA-256 is another is left out and counted. Every fact of a file is right, unknown (the
reader says that it does not know, or refuses the file) or false. A claim about a script of several
commands has to hold of each, unless the reader says which of them it means. A fact that the truth
cannot say is not scored; one that only a caller knows is false if anything is claimed.
"""

import argparse
import hashlib
import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.configurations import Located, locate

Facts = Mapping[str, Any]
OPEN = "?"
"""A fact that only the caller or the machine of a run knows."""
RIGHT, UNKNOWN, FALSE = "right", "unknown", "false"

_DEPENDS = (
    (r"adv_estimator|advantage\.estimator|advantage_estimator", "estimator advantage whitened"),
    (r"norm_adv|normalize_rewards|leave_one_out|scale_rewards|std_norm", "advantage whitened"),
    (r"kl|(^|\.)beta$", "pull_place pull_kind beta"),
    (r"clip_ratio|ratio_clip|eps_clip|epsilon|dual_clip", "clip_low clip_high dual_c region"),
    (r"loss_mode|loss_type|policy_loss|cispo", "loss region level aggregation clip_low clip_high"),
    (r"importance_sampling_level|sequence_level", "level"),
    (r"loss_agg|token_level_loss|loss_scale", "aggregation"),
    (r"rollout\.n(_agent)?$|num_generations|n_samples", "K updates"),
    (r"batch_size|ppo_epochs|max_epochs|num_iterations|accumulation|prompts_per_step", "updates"),
    (r"temperature", "temperature"),
    (r"top_p", "top_p"),
    (r"top_k", "top_k"),
    (r"entropy", "entropy"),
    (r"filter|dynamic_sampling", "filter"),
    (r"rollout_is|is_correction|importance_sampling_(corr|ratio)|tis_imp", "correction_cap"),
    (r"rollout_is$|is_correction|importance_sampling_corr|tis_imp", "correction"),
    (r"bypass", "bypass correction"),
    (r"smoothing", "loss label_smoothing"),
)
"""Settings whose value decides facts."""
_FILTERS = re.compile(r"filter_groups\.enable|use_dynamic_sampling|dynamic_filtering")


@dataclass
class Score:
    """Counts of verdicts.

    Attributes:
        files: Files that were scored.
        false_files: Of these, files with a false claim.
        refused: Files that the reader refuses.
        verdicts: Of all facts.
        by_fact: Of every fact.
    """

    files: int = 0
    false_files: int = 0
    refused: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    by_fact: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def rate(self, verdict: str) -> float:
        """Share of a verdict among all facts; NaN where there is none."""
        return self.verdicts[verdict] / self.verdicts.total() if self.verdicts else math.nan


def claims(located: Located) -> dict[str, Any]:
    """Decisive facts that a located point claims; what it does not know is left out."""
    unknown = [name for name in located.undetermined if name.startswith("**")]
    if unknown:
        return {}
    if located.read is None and not located.undetermined and not located.method.count(": "):
        return {"composed": False}
    made = _named(located) | (_operator(located) if located.read is not None else {})
    named = [*located.undetermined, *(n.split(" (= ")[0] for n in located.unknown if " (= " in n)]
    for name in named:
        for pattern, facts in _DEPENDS:
            if re.search(pattern, name):
                for fact in facts.split():
                    made.pop(fact, None)
    for part in located.not_said:
        last = part.rpartition(".")[2]
        for fact in _OF_PART.get(last, (last,)):
            made.pop(fact, None)
    if any("two pulls" in note for note in located.notes):
        made["pull_place"] = "both"
    return {name: value for name, value in made.items() if value is not None}


_OF_PART = {
    "trust_region": ("region", "clip_low", "clip_high", "dual_c"),
    "pull": ("pull_place", "pull_kind", "beta"),
    "size": ("K",),
    "advantage": ("advantage", "whitened"),
    "correction": ("correction", "correction_cap"),
}
"""Facts of a part of the operator that the reader leaves open; others are called as the part."""


def _named(located: Located) -> dict[str, Any]:
    """What the name of the method says."""
    said = located.method.partition(": ")[2]
    estimator, _, loss = said.partition(", ")
    if located.read is None:
        return {"estimator": estimator, "loss": loss or None}
    kinds = {"preference": "pairs", "weighted_regression": "sft", "auxiliary": "distillation"}
    kind = located.read.action.kind
    return {
        "method": kinds.get(kind, kind),
        "estimator": estimator or None,
        "loss": loss or None,
    }


def _operator(located: Located) -> dict[str, Any]:
    assert located.read is not None
    action, made = located.read.action, dict[str, Any]()
    if action.kind == "preference":
        loss = action.loss
        made |= {"loss": loss.kind, "label_smoothing": getattr(loss, "epsilon", None)}
        made["beta"] = getattr(located.target, "beta", None)
        return made
    if action.kind != "policy_gradient":
        return made
    pull = action.pull
    made["pull_place"] = "none" if pull is None else pull.place
    made["pull_kind"] = None if pull is None else getattr(pull, "kind", None)
    target = located.partial.target if located.partial is not None else located.target
    eta = getattr(None if located.undetermined else target, "eta", None)
    made["beta"] = 0.0 if pull is None else None if not eta else 1.0 / eta
    made |= _advantage(action.advantage) | _region(action.trust_region)
    made["level"] = action.level
    made["aggregation"] = action.aggregation.kind.replace("constant", "constant_length")
    correction = action.correction
    made["correction"] = "none" if correction is None else correction.kind
    made["correction_cap"] = getattr(correction, "cap", getattr(correction, "high", None))
    return made | _drawn(located)


def _advantage(advantage: Any) -> dict[str, Any]:
    baseline = getattr(advantage, "baseline", None)
    plain = advantage.kind != "return_to_go" or baseline is None or baseline.kind == "raw"
    kind = advantage.kind if plain else baseline.kind
    return {"advantage": kind, "whitened": getattr(advantage, "whiten", None) is not None}


def _region(region: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"region": "none" if region.kind == "unbounded" else region.kind}
    if region.kind in ("clip", "dual_clip"):
        made |= {"clip_low": region.low, "clip_high": region.high}
        made["dual_c"] = getattr(region, "cap", None)
    elif region.kind == "truncate":
        floor = region.floor
        if region.cap == floor == 1.0:
            return {"region": "none"}  # the weight is 1 whatever ρ is
        made |= {"clip_low": 1.0 - (floor or 0.0), "clip_high": region.cap - 1.0}
    return made


def _drawn(located: Located) -> dict[str, Any]:
    operator = located.read
    assert operator is not None
    proposal, entropy = operator.proposal, operator.auxiliary.entropy
    changed = [change.setting for change in located.silent_changes]
    return {
        "K": getattr(proposal, "size", None),
        "temperature": getattr(proposal, "temperature", None),
        "top_p": getattr(proposal, "top_p", None),
        "top_k": getattr(proposal, "top_k", None) or 0,
        "updates": located.updates,
        "entropy": 0.0 if entropy is None else entropy.weight,
        "filter": any(_FILTERS.search(name) for name in changed),
        "bypass": any("bypass_mode" in name for name in changed),
    }


def same(claim: Any, truth: Any) -> bool:
    """Whether a claim is what is true; numbers to six digits."""
    if isinstance(claim, bool) or isinstance(truth, bool | str):
        return type(claim) is type(truth) and bool(claim == truth)
    try:
        return math.isclose(float(claim), float(truth), rel_tol=1e-6, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def verdicts(
    truths: Sequence[Facts], claimed: Facts, refused: bool = False
) -> Iterator[tuple[str, str, Any]]:
    """Every fact of a file with its verdict and what it is.

    Args:
        truths: Facts of the commands that a claim has to hold of.
        claimed: What is claimed.
        refused: The reader refuses the file, which is right of a program outside, as is to say
            that its method has no composition.
    """
    outside = all(truth.get("method") == "outside" for truth in truths)
    if outside and "method" not in claimed:
        yield "method", RIGHT if refused or claimed else UNKNOWN, "outside"
        return
    for name in dict.fromkeys(name for truth in truths for name in truth):
        values = [truth[name] for truth in truths if name in truth]
        claim = claimed.get(name)
        if claim is None:
            yield name, UNKNOWN, values[0]
        elif OPEN in values or not all(same(claim, value) for value in values):
            yield name, FALSE, values[0] if len(set(map(str, values))) == 1 else values
        else:
            yield name, RIGHT, values[0]


def files(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Rows by repository and path, of files whose every command has facts."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        grouped[row["repository"], row["path"]].append(row)
    return {k: v for k, v in grouped.items() if all(row["facts"] is not None for row in v)}


def group(repository: str, path: str) -> str:
    """What a file is counted under: its repository, and its first folder in the two largest."""
    if repository in ("verl-project/verl", "NVIDIA-NeMo/RL"):
        return f"{repository} {path.split('/')[0]}"
    return repository


@dataclass
class Scoring:
    """All scores, and every false claim."""

    scores: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    false: list[str] = field(default_factory=list)
    changed: int = 0
    seconds: list[float] = field(default_factory=list)

    def file(
        self, key: tuple[str, str], rows: Sequence[Mapping[str, Any]], path: Path, read: "Reader"
    ) -> None:
        """Score one file."""
        if hashlib.sha256(path.read_bytes()).hexdigest() != rows[0]["sha256"]:
            self.changed += 1
            return
        began = time.perf_counter()
        claimed, line, refused = read(path)
        self.seconds.append(time.perf_counter() - began)
        meant = [row["facts"] for row in rows if line and row["line"] == line]
        truths = meant or [row["facts"] for row in rows]
        score, wrong = self.scores[group(*key)], 0
        score.files += 1
        score.refused += refused
        for name, verdict, truth in verdicts(truths, claimed, refused):
            score.verdicts[verdict] += 1
            score.by_fact[name][verdict] += 1
            if verdict == FALSE:
                wrong += 1
                self.false.append(f"{'/'.join(key)}: {name}: {claimed[name]!r}, is {truth!r}")
        score.false_files += wrong > 0


Reader = Callable[[Path], tuple[dict[str, Any], int, bool]]
"""Of a file: its claims, the line of the command that they are of (0: not said), refused."""


def read_located(path: Path) -> tuple[dict[str, Any], int, bool]:
    """What the project's reader claims of a file."""
    try:
        located = locate(path)
    except SpecError:
        return {}, 0, True
    return claims(located), int(getattr(located, "line", 0) or 0), False


def score(rows: Sequence[Mapping[str, Any]], checkouts: Path, read: Reader) -> Scoring:
    """Score a reader over all files that have facts."""
    scoring = Scoring()
    for (repository, path), of_file in files(rows).items():
        there = checkouts / repository.replace("/", "+") / path
        if there.is_file():
            scoring.file((repository, path), of_file, there, read)
        else:
            scoring.changed += 1
    return scoring


def table(scoring: Scoring) -> str:
    """The scores as Markdown: by repository, then by fact."""
    head = "| {} | files | refused | with a false claim | right | unknown | false |"
    lines = [head.format("repository"), "|---|---|---|---|---|---|---|"]
    total = Score()
    for name, one in sorted(scoring.scores.items(), key=lambda item: -item[1].files):
        lines.append(_row(name, one))
        total.files += one.files
        total.false_files += one.false_files
        total.refused += one.refused
        total.verdicts += one.verdicts
        for fact, counts in one.by_fact.items():
            total.by_fact[fact] += counts
    lines += [_row("all", total), "", "| fact | right | unknown | false |", "|---|---|---|---|"]
    for fact, counts in sorted(total.by_fact.items(), key=lambda item: -item[1][FALSE]):
        lines.append(f"| {fact} | {counts[RIGHT]} | {counts[UNKNOWN]} | {counts[FALSE]} |")
    return "\n".join(lines)


_PAGE = """# What `tod atlas locate` says of public launch scripts, and what they really say

`python scripts/configuration_score.py CHECKOUTS --facts {facts}`:
the words that really arrive when a script is run in an empty root with every program stubbed, over
its repository's own defaults at the commit that its row names (`scripts/configuration_truth`).
Every decisive fact of a file is right, unknown (the reader says that it does not know, or refuses
the file) or false; a program with a trainer of its own has one fact, which is right where the
reader refuses it or names no composition.

{held}

{first}
{table}

{false}
"""
_APART = "One repository in four is held back in `held_back.jsonl` and is not counted here."
_HELD = """These repositories were held back: nobody looked at them while the reader was made. They
were measured once, and this is what came out; the reader was not changed for it before."""


def page(scoring: Scoring, without: int, note: str, facts: Path) -> str:
    """The results as a page.

    Args:
        scoring: The scores.
        without: Files that have no truth.
        note: What else is to be said first.
        facts: The file of facts.
    """
    listed = [f"* {line}" for line in scoring.false] or ["None."]
    counts = [one.verdicts for one in scoring.scores.values()]
    right, unknown, false = (sum(c[v] for c in counts) for v in (RIGHT, UNKNOWN, FALSE))
    total, number = right + unknown + false, sum(one.files for one in scoring.scores.values())
    first = (
        f"**{false} false claims among {total} facts of {number} files; "
        f"{unknown / max(1, total):.1%} unknown.** {note}\n\n"
        f"{without} more files have a command that their repository's own loader refuses at that\n"
        "commit, or whose layers are not there, and are not counted.\n"
    )
    return _PAGE.format(
        facts=facts,
        held=_HELD if facts.stem == "held_back" else _APART,
        first=first,
        table=table(scoring),
        false="## False claims\n\n" + "\n".join(listed),
    )


def _row(name: str, one: Score) -> str:
    shares = (f"{one.verdicts[v]} ({one.rate(v):.1%})" for v in (RIGHT, UNKNOWN, FALSE))
    counts = f"{one.files} | {one.refused} | {one.false_files}"
    return f"| {name} | {counts} | {' | '.join(shares)} |"


def main() -> int:
    """Print the table and false claims; exit 1 where there is one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("--facts", type=Path, default=Path("studies/configurations/facts.jsonl"))
    parser.add_argument("--output", type=Path, help="a Markdown page for the tables")
    parser.add_argument("--note", default="", help="a sentence for the page")
    parser.add_argument("--false", type=int, default=40, help="false claims that are printed")
    told = parser.parse_args()
    rows = [json.loads(line) for line in told.facts.read_text(encoding="utf-8").splitlines()]
    scoring = score(rows, told.checkouts, read_located)
    said = table(scoring)
    print(said)
    print(f"\nlongest {max(scoring.seconds, default=0):.2f} s a file; changed {scoring.changed}")
    for line in scoring.false[: told.false]:
        print(line)
    if told.output is not None:
        without = len({(row["repository"], row["path"]) for row in rows}) - len(files(rows))
        told.output.write_text(page(scoring, without, told.note, told.facts), encoding="utf-8")
    return 1 if scoring.false else 0


if __name__ == "__main__":
    sys.exit(main())
