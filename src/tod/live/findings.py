"""Findings while a trainer runs: its own steps, the detectors every few of them, one warning each.

A look is paid for by the steps since the one before: on average it takes 2 ms of a step, or a
thousandth of it where steps are long. Numbers and digests are kept of rollouts, no text.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import GapProfile
from tod.findings import Finding, Findings, RolloutTable, find, run_of
from tod.findings.pieces import FilePiece, join
from tod.findings.rollouts_of import text_digest
from tod.findings.watching import Alerts
from tod.live.export import LiveBatch
from tod.logs.build import build
from tod.logs.rows import LogRows

logger = logging.getLogger(__name__)
EVERY = 5
"""Steps between two looks at least."""
BUDGET, SHARE = 0.002, 0.001
"""Seconds of a step that looking may take on average, or as a share of it; the larger counts."""


class LiveFindings:
    """What the detectors say of the steps of a trainer up to now.

    Args:
        looks: Consecutive looks in which a finding must be seen before it is told.
        clock: Seconds, for the pace of looking.
        framework: Whose trainer it is, for the names of its metrics and settings.

    Attributes:
        last: What the last look saw; None before the first.
        spent: Seconds that keeping steps and looking took.
    """

    def __init__(
        self,
        looks: int = 2,
        clock: Callable[[], float] = time.perf_counter,
        framework: str = "trl",
    ) -> None:
        self.framework = framework
        self.last: Findings | None = None
        self.spent = 0.0
        self._alerts = Alerts(looks)
        self._pieces: list[FilePiece] = []
        self._clock = clock
        self._next = EVERY
        self._steps = 0
        self._began = clock()
        find(
            run_of(logs=[logged([{"step": 1, "loss": 0.0}], framework)])
        )  # imports what looks need

    def step(self, step: int, batch: LiveBatch, history: list[dict[str, Any]]) -> list[Finding]:
        """Keep what a step generated, and look where it is time.

        Args:
            step: The training step.
            batch: What it generated.
            history: What the trainer logged up to now, as in ``state.log_history``.

        Returns:
            The findings that are new.
        """
        began = self._clock()
        try:
            piece = piece_of(step, batch, self.framework)
            if piece is not None:
                self._pieces.append(piece)
            self._steps += 1
            return self._look(history) if self._steps >= self._next else []
        finally:
            self.spent += self._clock() - began

    def standing(self) -> dict[str, float]:
        """1 for every kind that was told and that the last look saw, 0 for one that went."""
        if self.last is None:
            return {}
        seen = {finding.kind for finding in self._alerts.confirmed(self.last)}
        told = dict.fromkeys(key.partition("#")[0] for key in self._alerts.told)
        return {f"tod/finding/{kind}": float(kind in seen) for kind in told}

    def _look(self, history: list[dict[str, Any]]) -> list[Finding]:
        began = self._clock()
        try:
            return self._asked(history)
        finally:  # a look that fails is paid for too
            now = self._clock()
            of_step = max(BUDGET, SHARE * (now - self._began) / self._steps)
            self._next = self._steps + max(EVERY, math.ceil((now - began) / of_step))

    def _asked(self, history: list[dict[str, Any]]) -> list[Finding]:
        rollouts = join(self._pieces) if self._pieces else None
        run = run_of(logs=[logged(history, self.framework)] if history else [])
        gaps = {step: gap for piece in self._pieces for step, gap in piece.gaps.items()}
        self.last = find(replace(run, rollouts=rollouts, gaps=gaps, framework=self.framework))
        new = self._alerts.update(self.last)
        for finding in new:
            since = "" if finding.onset is None else f", {finding.onset.words}"
            logger.warning("tod: %s (%s%s)", finding.headline, finding.severity, since)
        return new


def logged(history: list[dict[str, Any]], framework: str = "trl") -> Any:
    """The trainer's own metrics as a log, those of ours left out."""
    rows = LogRows()
    for place, row in enumerate(history, start=1):
        rows.add(place, {key: x for key, x in row.items() if not key.startswith("tod/")})
    return build("trainer_state", rows, framework=framework)


def piece_of(step: int, batch: LiveBatch, framework: str = "trl") -> FilePiece | None:
    """A step's rollouts; those without a reward are left out, None where none has one."""
    reward = next(iter(batch.utility.values()), None)
    if reward is None:
        return None
    known = np.isfinite(reward)
    sizes = np.asarray(batch.contexts.sum(known))
    if not known.any():
        return None
    prompts = np.array([text_digest(text) for text in batch.prompt])
    texts = np.array([text_digest(text) for text in batch.completion])
    tokens = batch.sequences
    length = np.array([len(t) for t in batch.completion]) if tokens is None else tokens.sizes
    parts = {name: _finite(x)[known] for name, x in list(batch.utility.items())[1:]}
    asked = np.repeat(prompts[sizes > 0], sizes[sizes > 0])
    rollouts = RolloutTable(
        groups=Groups(sizes[sizes > 0]),
        step=np.full(int((sizes > 0).sum()), step),
        reward=reward[known],
        rewards=parts,
        prompt=prompts[sizes > 0],
        input=asked,
        text=texts[known],
        length=length[known],
        length_unit="characters" if tokens is None else "tokens",
    )
    gap = gap_of(batch)
    gaps = {} if gap is None else {step: gap}
    return FilePiece((), framework, rollouts, gaps, utilities=tuple(batch.utility))


def _finite(values: np.ndarray) -> np.ndarray:
    """A part that does not apply counts as its smallest value, as where records are read."""
    there = np.isfinite(values)
    return (
        values if there.all() or not there.any() else np.where(there, values, values[there].min())
    )


def gap_of(batch: LiveBatch) -> GapProfile | None:
    """Shape of log π_old − log μ over the tokens that have both; None without any."""
    sums = batch.sums()
    if batch.sequences is None or not {"old", "mu"} <= set(sums):
        return None
    rows = np.flatnonzero(np.isfinite(sums["old"] + sums["mu"]) & (batch.sequences.sizes > 0))
    if not len(rows):
        return None
    sequences, tokens = batch.sequences.take(rows)
    profile = GapProfile()
    profile.add(batch.log["old"][tokens], batch.log["mu"][tokens], sequences)
    return profile
