"""MLflow: its own store, or the server that ``MLFLOW_TRACKING_URI`` names."""

import os
from typing import Any

from tod.base.extras import load
from tod.engine.trackers.store import Store
from tod.engine.trackers.tracked_run import PROJECT

TAG = "tod.run"
"""Tag of a run that holds its identity."""

ALWAYS = "world_size"
"""A figure of every record."""


class MLflowStore(Store):
    """A run in MLflow, which makes the ids of its runs itself: a tag tells which one goes on."""

    name = "mlflow"

    def _tracker(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read where it is imported
        from accelerate.tracking import MLflowTracker

        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        return MLflowTracker(experiment, run_id=self._earlier(experiment), run_name=self.run.name)

    def _earlier(self, experiment: str) -> str | None:
        """The id of the run that an earlier start made."""
        mlflow = load("mlflow")
        known = mlflow.get_experiment_by_name(experiment)
        if known is None:
            return None
        found = mlflow.MlflowClient().search_runs(
            [known.experiment_id], filter_string=f"tags.`{TAG}` = '{self.run.id}'", max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def _last(self) -> int:
        mlflow = load("mlflow")
        mlflow.set_tag(TAG, self.run.id)
        run = self.tracker.tracker.info.run_id
        history = mlflow.MlflowClient().get_metric_history(run, ALWAYS)
        return max((int(point.step) for point in history), default=-1)
