"""The clip of the importance ratio: it takes a large share of the tokens, or never acts."""

import numpy as np

from tod.base import Unknown
from tod.base.text import counted
from tod.findings.change import SIGMAS, end_level, window_error
from tod.findings.detector import Detector, unreadable
from tod.findings.finding import Cause, Finding, Remedy
from tod.findings.run import Series, TrainingRun
from tod.findings.settings import setting
from tod.findings.since import since
from tod.findings.words import cost_since, per_cent

SHARE = 0.25
"""Share of tokens whose gradient is clipped that is too large."""
LIMIT = 0.15
"""Its lower confidence limit must exceed this."""
IDLE = 5
"""Steps of exactly 0 from which the clip is said to be idle."""


class ClipDetector(Detector):
    """Share of tokens outside the clip bounds at the end, or 0 in all steps."""

    kind = "clip"
    kinds = ("clip", "idle_clip")
    checks = "clipped share"
    order = 40

    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """See `Detector.look`."""
        clipped = _whole(run)
        if clipped is None:
            return unreadable(
                self.kind, "no clipped share is recorded", "a log of the clip fraction"
            )
        if len(clipped) < 3:
            return unreadable(self.kind, counted(len(clipped), "step"), "3 steps", few=True)
        if not clipped.values.any():
            return (_idle(run),) if len(clipped) >= IDLE else ()
        end = end_level(clipped.values)
        error = window_error(clipped.values, clipped.error)
        if end <= SHARE or end - SIGMAS * error <= LIMIT:
            return ()
        onset = since(clipped, slow=True)
        sides = [(name, run.get(f"clip_{name}", 3)) for name in ("low", "high")]
        evidence = [("clipped", f"{per_cent(end)} of the tokens at the end")]
        evidence += [
            (f"at the {name}er bound" if name == "low" else "at the upper bound",
             per_cent(end_level(side.values)))
            for name, side in sides
            if side is not None
        ]  # fmt: skip
        decide = "the clipped share of the first update of a batch: 0 if the sampler is in step"
        return (
            Finding(
                "clip",
                "warning",
                f"{per_cent(end)} of the tokens are clipped and give no gradient, {onset.words}.",
                onset,
                tuple(evidence),
                {"share": end, "error": error},
                causes=(
                    Cause(
                        "updates",
                        "too many, or too large, updates on one batch",
                        "possible",
                        decide,
                    ),
                    Cause("stale", "the batch is old when it is trained on", "possible", decide),
                    Cause("bound", "the bound is too narrow for its level", "possible", decide),
                ),
                remedies=(
                    Remedy("learning_rate", f"lower {setting('learning_rate', run.framework)}"),
                    Remedy("clip", f"or widen {setting('clip', run.framework)}"),
                ),
                best_step=onset.before,
                cost=cost_since(run, onset),
                series=("clip_fraction", "clip_region_mean", "clip_low", "clip_high"),
            ),
        )


def _whole(run: TrainingRun) -> Series | None:
    """The clipped share, at both bounds together or as the sum of the shares at either."""
    clipped = run.get("clip_fraction") or run.get("clip_region_mean")
    if clipped is not None:
        return clipped
    low, high = run.get("clip_low"), run.get("clip_high")
    if low is None or high is None:
        return low if high is None else high
    steps, at, other = np.intersect1d(low.steps, high.steps, return_indices=True)
    return Series("clip_fraction", steps, low.values[at] + high.values[other])


def _idle(run: TrainingRun) -> Finding:
    clip = setting("clip", run.framework)
    return Finding(
        "idle_clip",
        "note",
        f"The clip never acts: not one token was outside the bounds of {clip}.",
        None,
        (("clipped", f"0 in all {counted(len(run.steps), 'step')}"),),
        {"share": 0.0},
        causes=(
            Cause(
                "one_update",
                "one update a batch: the ratio is 1 when the gradient is taken",
                "likely",
                "updates a batch",
            ),
        ),
        series=("clip_fraction", "clip_region_mean", "clip_low", "clip_high"),
    )
