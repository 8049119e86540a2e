"""submitit: jobs of Slurm, or of this machine by the same interface."""

import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.base.extras import load
from tod.study.executors.remote import RemoteTask

__all__ = ["SubmititHost"]

CLUSTERS = ("local", "slurm")
WAIT = 10.0
"""Seconds that ended jobs of this machine have to go away."""
MINUTES = 24 * 60
"""Longest job if nobody says: submitit's own few minutes would end most runs."""


class SubmititHost:
    """submitit.

    Args:
        cpus: Processors of a job.
        options: ``cluster``, local or slurm (without: slurm where its commands are here); every
            other one is a parameter of submitit's ``AutoExecutor``, such as ``timeout_min``,
            ``mem_gb``, ``slurm_partition``.

    Raises:
        SpecError: submitit knows no such cluster or parameter.
        MissingPackage: submitit is not installed.
    """

    def __init__(self, cpus: int, options: Mapping[str, Any]) -> None:
        submitit = load("submitit")
        parameters = {"timeout_min": MINUTES, "cpus_per_task": cpus, "name": "tod", **options}
        cluster = parameters.pop("cluster", None)
        if cluster not in (None, *CLUSTERS):
            raise SpecError(f"--on-option cluster={cluster}: one of {', '.join(CLUSTERS)}.")
        self._parameters, self._cluster = parameters, cluster
        self._jobs: list[Any] = []
        with tempfile.TemporaryDirectory() as unused:
            self._executor = self._made(submitit, Path(unused))
        self.settle = 0.0 if self._executor.cluster == "local" else 15.0

    def _made(self, submitit: Any, folder: Path) -> Any:
        """Its executor, which writes what jobs print into a folder."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # old names of parameters are told by warnings
                made = submitit.AutoExecutor(folder, cluster=self._cluster)
                made.update_parameters(**self._parameters)
        except (NameError, ValueError, TypeError, RuntimeError, Warning) as error:
            raise SpecError(f"--on-option: submitit says: {' '.join(str(error).split())}") from None
        return made

    def open(self, folder: Path) -> None:
        """Write what jobs print into this folder."""
        self._executor = self._made(load("submitit"), folder / "jobs")

    def submit(self, call: RemoteTask) -> Any:
        """A job that runs the call."""
        job = self._executor.submit(call)
        self._jobs.append(job)
        return job

    def gone(self, handle: Any) -> str | None:
        """Why the job has ended."""
        return ended(handle)

    def cancel(self, handle: Any) -> None:
        """End the job."""
        handle.cancel(check=False)

    def close(self) -> None:
        """Wait for the processes of jobs of this machine, which end as soon as their runs did."""
        until = time.monotonic() + WAIT
        while self.settle == 0 and not all(job.done() for job in self._jobs):
            if time.monotonic() > until:
                return
            time.sleep(0.05)


def ended(job: Any) -> str | None:
    """That a job has ended, and the last line that it printed; None while it goes on."""
    if not job.done():
        return None
    last = (job.stderr() or "").strip().splitlines()[-1:]
    said = f"said {last[0][:160]!r} last" if last else "said nothing"
    return f"job {job.job_id} ended ({job.state}) before its run did, and {said}"
