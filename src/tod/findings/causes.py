"""Causes of a finding that other findings of the same run make likely or exclude.

A cause is a fact only when the evidence excludes the others; else all stay, the likely first.
"""

from collections.abc import Sequence
from dataclasses import replace

from tod.findings.finding import Cause, Finding

NEAR = 1
"""Steps within which two onsets are one event."""


def explained(finding: Finding, findings: Sequence[Finding]) -> Finding:
    """The finding with the causes that the whole run leaves, and what follows from it."""
    if finding.kind == "all_fail":
        finding = replace(finding, causes=_all_fail(finding, findings))
    after = [other.kind for other in findings if other is not finding and _follows(other, finding)]
    return replace(finding, consequences=tuple(after)) if after else finding


def together(first: Finding, second: Finding) -> bool:
    """Whether two findings began in the same step, or one step apart."""
    a, b = first.onset, second.onset
    if a is None or b is None:
        return False
    if a.step is None or b.step is None:
        return a.step is None and b.step is None
    return abs(a.step - b.step) <= NEAR


def _follows(later: Finding, earlier: Finding) -> bool:
    """Whether one fault began after another, beyond the tie of one step."""
    a, b = later.onset, earlier.onset
    if not later.fault or not earlier.fault or a is None or b is None or a.step is None:
        return False
    return b.step is None or a.step > b.step + NEAR


def _all_fail(finding: Finding, findings: Sequence[Finding]) -> tuple[Cause, ...]:
    others = {other.kind: other for other in findings if together(finding, other)}
    verifier = Cause(
        "verifier_broken",
        "the grader",
        "possible",
        "score one answer of before and one of now by hand",
    )
    if "one_text" in others or "same_answers" in others:
        sampler = Cause(
            "sampler_broken",
            "the sampler or the prompt template broke: texts and rewards changed together",
            "likely",
            "compare one rendered prompt of before and now",
        )
        return (sampler, replace(verifier, certainty="possible"))
    if "truncation" in others:
        cut = Cause(
            "truncated", "the answers are cut before they end", "likely", "raise the limit once"
        )
        return (cut, verifier)
    hard = Cause(
        "too_hard", "the prompts are too hard", "possible", "pass rate of the base model at K = 64"
    )
    if finding.onset is not None and finding.onset.step is None:
        form = Cause("format", "the answer's format is never met", "possible", "read three answers")
        return (hard, form, verifier)
    policy = Cause(
        "policy_broken",
        "the policy was damaged by an update",
        "possible",
        "sample the checkpoints before and after by hand",
    )
    return (verifier, policy)
