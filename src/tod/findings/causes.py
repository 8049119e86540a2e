"""Causes of a finding that other findings of the same run make likely or exclude.

A cause is a fact only when the evidence excludes the others; else all stay, the likely first.
"""

from collections.abc import Sequence
from dataclasses import replace

from tod.findings.finding import Cause, Finding

NEAR = 1
"""Steps within which two onsets are one event."""
CLOSE = 3
"""Steps within which the order of two onsets is not known."""
DAMAGE = {
    "mismatch": "sampler and trainer part",
    "learning_rate": "the learning rate is too high",
    "kl_blowup": "KL to the reference blows up",
    "no_gradient": "no gradient arrives",
    "gradient_spikes": "the gradient leaps",
    "entropy_collapse": "entropy collapses",
    "entropy_explosion": "entropy explodes",
    "staleness": "rollouts grow old",
    "clip": "the clip takes most tokens",
    "environment_errors": "the environment fails",
    "empty_answers": "answers are empty",
    "truncation": "answers are cut at the limit",
    "length_growth": "answers grow",
    "one_text": "all answers become one text",
    "same_answers": "answers to a prompt become alike",
    "broken_groups": "the group ids are broken",
    "mixed_groups": "groups mix prompts",
    "advantage_sign": "advantages point the wrong way",
}
"""Findings that can bring others about, in the words of a cause."""
SYMPTOMS = frozenset(
    ("reward_fall", "all_fail", "all_tie", "one_text", "same_answers", "kl_blowup",
     "entropy_collapse", "entropy_explosion", "truncation", "clip", "gradient_spikes")
)  # fmt: skip
"""Findings that others can have brought about."""
PROXY = frozenset(("reward_dominated", "selection_overoptimised"))
"""Findings that make a proxy of the reward likely."""


def explained(finding: Finding, findings: Sequence[Finding]) -> Finding:
    """The finding with the causes that the whole run leaves, and what follows from it."""
    if finding.kind == "all_fail":
        finding = replace(finding, causes=_all_fail(finding, findings))
    if finding.kind in SYMPTOMS:
        finding = replace(finding, causes=(*_earlier(finding, findings), *finding.causes))
    if finding.kind == "over_optimised" and any(f.kind in PROXY for f in findings):
        finding = replace(finding, causes=tuple(map(_as_proxy, finding.causes)))
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


def _earlier(finding: Finding, findings: Sequence[Finding]) -> tuple[Cause, ...]:
    """Faults that began before it, the first to begin first: each may have brought it about.

    Within three steps of each other the order is not known, and no more than possible.
    """
    if finding.onset is None or finding.onset.step is None:
        return ()
    begun = finding.onset.step
    known = [
        (other.onset.first, other)
        for other in findings
        if other is not finding and other.fault and other.kind in DAMAGE and other.onset is not None
    ]
    earlier = sorted(
        (pair for pair in known if pair[0] <= begun), key=lambda pair: (pair[0], pair[1].kind)
    )
    return tuple(_brought(other, begun - step) for step, other in earlier)


def _brought(other: Finding, steps: int) -> Cause:
    """Another fault as a cause, by how many steps before it began."""
    text = DAMAGE[other.kind]
    if steps <= CLOSE:
        near = "in the same step" if steps == 0 else f"within {steps} step{'s' * (steps > 1)}"
        return Cause(
            other.kind,
            f"{text} {near}: the order is not known",
            "possible",
            "log both every step from the last good checkpoint on",
        )
    if other.onset is None or other.onset.step is None:  # the run was well with it until then
        return Cause(
            other.kind,
            f"{text} from the first step on",
            "possible",
            "whether it stays away when that is mended",
        )
    return Cause(
        other.kind,
        f"{text} first, {other.onset.words}",
        "likely",
        "whether it stays away when that is mended",
    )


def _as_proxy(cause: Cause) -> Cause:
    """Another finding shows a proxy: that cause is likely."""
    return replace(cause, certainty="likely") if cause.kind == "proxy" else cause


def _all_fail(finding: Finding, findings: Sequence[Finding]) -> tuple[Cause, ...]:
    others = {other.kind: other for other in findings if together(finding, other)}
    verifier = Cause(
        "verifier_broken",
        "the grader changed or broke",
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
