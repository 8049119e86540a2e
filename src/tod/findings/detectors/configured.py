"""What a run's configuration says of its rollouts against the rollouts themselves."""

from collections.abc import Iterator

import numpy as np

from tod.base import Unknown
from tod.findings.detector import Detector, of_other_runs, unreadable
from tod.findings.finding import Cause, Finding, Remedy
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.words import number, per_cent, thousands

MOST = 0.95
"""Share of the prompts that must have one number of rollouts for it to be the run's."""
ENDED = 1
"""Tokens by which an answer may pass its cap: some count the end of the text, some do not."""
ROUNDED = 1e-4
"""Share of its width by which a reward may pass a range: files round, and halve the precision."""
PENALTIES = ("overlong_reward", "overlong_penalty")
"""Columns of a penalty of length, as verl's reward managers write them."""

BY_NAME = ("trl", "ms-swift")
"""Formats that hold every reward of a list in a column of its own."""


class ConfiguredDetector(Detector):
    """K, rewards and lengths of the rollouts against those that the configuration states."""

    kind = "configured"
    kinds = (
        "configured_samples",
        "configured_length",
        "configured_rewards",
        "configured_range",
        "configured_penalty",
    )
    checks = "the configuration"
    order = 9

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        stated = {"samples_per_prompt", "longest_answer", "reward_names", "reward_range"}
        if not {*stated, "length_penalty"} & set(run.expected):
            return of_other_runs(self.kind, "no configuration of the run", "--config FILE")
        rollouts = run.rollouts
        if rollouts is None or not len(rollouts.reward):
            return unreadable(self.kind, "no rollouts", "rollouts, which a log does not hold")
        return (
            *_samples(run, rollouts),
            *_length(run, rollouts),
            *_rewards(run, rollouts),
            *_range(run, rollouts),
            *_penalty(run, rollouts),
        )


def samples_of(rollouts: RolloutTable) -> tuple[int, float] | None:
    """Rollouts of a prompt and the share of prompts that have so many; None where none is usual."""
    if not rollouts.grouped:
        return None
    sizes, counts = np.unique(rollouts.groups.sizes, return_counts=True)
    share = float(counts.max() / counts.sum())
    return (int(sizes[counts.argmax()]), share) if share >= MOST else None


def _samples(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    """Another K; a multiple of it is a prompt that was drawn again."""
    stated, there = run.expected.get("samples_per_prompt"), samples_of(rollouts)
    if type(stated) is not int or there is None or there[0] == stated:
        return
    usual, share = there
    if (stated > 1 and usual % stated == 0) or usual == 1:
        return  # drawn again, or ids of single rollouts: told where groups are looked at
    yield _disagreement(
        "configured_samples",
        f"The rollouts have K = {usual}, the configuration {stated}.",
        (
            ("rollouts of a prompt", f"{usual} in {per_cent(share)} of {_prompts(rollouts)}"),
            ("configured", str(stated)),
        ),
        {"rows": float(usual), "file": float(stated), "share": share},
    )


def beyond_cap(rollouts: RolloutTable, cap: int) -> tuple[float, int] | None:
    """Share of answers that are longer than a cap, and the longest; None without tokens.

    Of several turns each has the cap for itself: an answer of more than one is not looked at.
    """
    if rollouts.length is None or rollouts.length_unit != "tokens":
        return None
    length = rollouts.length
    if rollouts.turns is not None:
        length = length[rollouts.turns == 1]
    if not len(length):
        return None
    return float((length > cap + ENDED).mean()), int(length.max())


def _length(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    cap = run.expected.get("longest_answer")
    seen = beyond_cap(rollouts, cap) if type(cap) is int else None
    if seen is None or not seen[0] or type(cap) is not int:
        return
    share, longest = seen
    yield _disagreement(
        "configured_length",
        f"{per_cent(share)} of the answers are longer than the configured {thousands(cap)} tokens.",
        (("longest answer", f"{thousands(longest)} tokens"), ("configured", thousands(cap))),
        {"share": share, "rows": float(longest), "file": float(cap)},
        Cause(
            "turns",
            "the cap is of one turn, and these answers have several",
            "possible",
            "the number of turns of an answer",
        ),
    )


def _rewards(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    """Fewer rewards than are listed; more may be columns of the data set."""
    listed, held = run.expected.get("reward_names"), len(rollouts.rewards)
    if run.framework not in BY_NAME or not isinstance(listed, tuple) or not 0 < held < len(listed):
        return
    names = ", ".join(rollouts.rewards)
    yield _disagreement(
        "configured_rewards",
        f"The rollouts hold {held} of the {len(listed)} rewards that the configuration lists.",
        (("the rollouts hold", names), ("configured", ", ".join(listed))),
        {"rows": float(held), "file": float(len(listed))},
    )


def _range(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    stated = run.expected.get("reward_range")
    if run.framework != "nemo-rl" or not isinstance(stated, tuple):
        return
    low, high = map(float, stated)
    slack = ROUNDED * max(high - low, abs(low), abs(high))
    out = (rollouts.reward < low - slack) | (rollouts.reward > high + slack)
    if not bool(out.any()):
        return
    least, most = rollouts.range
    yield _disagreement(
        "configured_range",
        f"{per_cent(float(out.mean()))} of the rewards are outside of the configured range.",
        (
            ("rewards", f"{number(least)} to {number(most)}"),
            ("configured", f"{number(low)} to {number(high)}"),
        ),
        {"share": float(out.mean()), "least": least, "most": most},
    )


def _penalty(run: TrainingRun, rollouts: RolloutTable) -> Iterator[Finding]:
    """A penalty of length where the file has none; one that is never paid says nothing."""
    if run.expected.get("length_penalty") is not False:
        return
    for name in PENALTIES:
        paid = rollouts.rewards.get(name)
        if paid is None or not bool((paid != 0).any()):
            continue
        share = float((paid != 0).mean())
        yield _disagreement(
            "configured_penalty",
            f"{per_cent(share)} of the answers pay a length penalty; the configuration has none.",
            ((name, f"{number(float(paid.min()))} at worst"), ("configured", "no penalty")),
            {"share": share, "least": float(paid.min())},
        )


def _disagreement(
    kind: str,
    headline: str,
    evidence: tuple[tuple[str, str], ...],
    numbers: dict[str, float | None],
    *causes: Cause,
) -> Finding:
    return Finding(
        kind,
        "warning",
        headline,
        None,
        evidence,
        numbers,
        causes=(
            Cause(
                "other_file",
                "the file is not the one that this run was started with",
                "possible",
                "the configuration that the trainer prints at its start",
            ),
            Cause("setting_unused", "another setting, or a later one, overrules it", "possible"),
            *causes,
        ),
        remedies=(Remedy("print_settings", "compare with what the trainer prints at its start"),),
    )


def _prompts(rollouts: RolloutTable) -> str:
    return f"{thousands(len(rollouts.groups))} prompts"
