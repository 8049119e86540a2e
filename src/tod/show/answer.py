"""The answer to "is this run healthy, and if not, why?", for the terminal and the page alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tod.findings.overview import reward_falls, reward_gains_nothing, reward_sentence
from tod.findings.words import number

if TYPE_CHECKING:
    from tod.findings import Finding, Findings, Severity


@dataclass(frozen=True)
class Answer:
    """What stands first, wherever findings are shown.

    Attributes:
        headline: The first finding's headline; of a run without faults that there is none.
        severity: The worst of all faults; None of a run without faults.
        sentence: What the reward does, in a sentence; empty beside a fault and without rewards.
        notes: Notes that the headline does not say already.
    """

    headline: str
    severity: "Severity | None"
    sentence: str
    notes: tuple["Finding", ...]


def answer(findings: "Findings", data: Mapping[str, Any] | None = None) -> Answer:
    """The answer.

    Args:
        findings: What was seen.
        data: The diagnosis as plain data, for the regime; None without rollouts.
    """
    first = findings.first
    if first is not None:
        return Answer(first.headline, findings.severity, "", findings.notes)
    said = no_fault(findings) if findings.clear else "Nothing could be checked in these files."
    declared = data is not None and (data["target"] or {}).get("source") != "assumed"
    if declared and data is not None and data["regime"]["verdict"] == "operator_dominated":
        said = f"{said[:-1]}, but the regime is operator-dominated: details decide."
    notes = findings.notes
    dated = next((note for note in notes if note.onset is not None), None)
    if dated is not None:
        said += f" {dated.headline}"
        notes = tuple(note for note in notes if note is not dated)
    return Answer(said, None, reward_sentence(findings), notes)


def no_fault(findings: "Findings") -> str:
    """What is said first of a run without a finding; a fall or no gain is not passed over.

    Nor are a few steps, too few for a finding, in which no prompt gives a gradient.
    """
    share = findings.run.get("zero_variance")
    if share is not None and "learning_end" in findings.unknown and share.values.min() >= 0.9:
        return "No fault is certain, but nearly no prompt gives a gradient."
    if reward_falls(findings):
        return "No fault is certain."
    if reward_gains_nothing(findings):
        return "No fault found, but no gain is evident."
    return "No fault found."


def last_good(step: int, findings: "Findings") -> str:
    """A last good step with its reward and the checkpoint to go back to."""
    reward = findings.run.get("reward")
    text = str(step)
    if reward is not None and step in reward.steps:
        at = int((reward.steps == step).argmax())
        text += f", reward {number(float(reward.values[at]))}"
        if reward.error is not None:
            text += f" ± {float(reward.error[at]):.2f}"
    checkpoint = findings.run.checkpoint_before(step)
    if checkpoint is not None:
        text += f"; checkpoint {checkpoint[1].name}"
    return text
