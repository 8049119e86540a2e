"""W&B: folders of its own under ``wandb``, and its server only where ``WANDB_MODE`` says so."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tod.base.extras import load
from tod.engine.trackers.last_step import last_step
from tod.engine.trackers.store import Store
from tod.engine.trackers.tracked_run import PROJECT


class WandbStore(Store):
    """A run in W&B. Offline each start of it has a folder, all with one id."""

    name = "wandb"

    def _tracker(self) -> Any:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode != "online":  # read where it is imported: it reports on itself offline too
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = load("wandb")
        from accelerate.tracking import WandBTracker

        return WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.run.id,
            name=self.run.name,
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(silent=True, console="off"),
        )

    def _last(self) -> int:
        run = self.tracker.tracker
        if run.offline:
            return self._last_on_disk(Path(run.dir).parent)
        return int(run.step) - 1

    def _last_on_disk(self, ours: Path) -> int:
        """The last step of the folders that earlier starts left next to this one."""
        files = ours.parent.glob(f"offline-run-*-{self.run.id}/run-{self.run.id}.wandb")
        return last_step(file for file in files if file.parent != ours)

    def _send(self, step: int, figures: Mapping[str, float]) -> None:
        # with a step given, W&B holds a row back until the next one comes
        self.tracker.log(dict(figures), step=step, commit=True)
