"""Ray: workers of this machine's own small cluster, or of one that is there."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tod.base import ResourceError, RunError, SpecError
from tod.base.extras import load
from tod.study.executors.remote import RemoteTask

__all__ = ["OPTIONS", "RayHost"]

OPTIONS = ("address", "num_gpus")
STARTS = 3
"""How often Ray is started at most."""
STORE = 100 * 2**20
"""Bytes of Ray's store of objects: jobs are small, and what runs write goes into files."""


class RayHost:
    """Ray.

    Every call is one Ray task of ``cpus`` CPUs, which Ray itself does not try again. Processors are
    declared: Ray waits for ever for a task that is larger than all its processors.

    Args:
        at_once: Calls at a time.
        cpus: Processors of a call.
        options: ``address`` of a cluster that is there (without: one of this machine is made, of
            ``at_once`` times ``cpus`` processors), ``num_gpus`` of a call.

    Raises:
        SpecError: An option is another.
        MissingPackage: Ray is not installed.
    """

    def __init__(self, at_once: int, cpus: int, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in OPTIONS:
                raise SpecError(f"--on-option {name}: Ray takes {' and '.join(OPTIONS)}.")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._ray, self._cpus, self._at_once = load("ray"), cpus, at_once
        self._address, self._gpus = options.get("address"), options.get("num_gpus", 0)
        self.settle = 0.0 if self._address is None else 15.0

    def open(self, _folder: Path) -> None:
        """Start it, or join it.

        Raises:
            RunError: It did not start, or is not there.
            ResourceError: It has fewer processors than one call is to have.
        """
        own = {
            "num_cpus": self._at_once * self._cpus,
            "num_gpus": self._at_once * self._gpus,
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
        asked = own if self._address is None else {"address": self._address}
        self._start(asked)
        there = self._ray.cluster_resources()
        for name, wanted in (("CPU", self._cpus), ("GPU", self._gpus)):
            if there.get(name, 0) < wanted:
                raise ResourceError(
                    f"Ray has {there.get(name, 0):g} {name}s and a run is to have {wanted:g}, so "
                    "it would wait for ever. Ask for fewer, or join a larger cluster."
                )
        task = self._ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)
        self._task = task(_do)

    def _start(self, asked: Mapping[str, Any]) -> None:
        """Start or join it; where no processor is free for half a minute Ray itself gives up.

        Raises:
            RunError: It did not start in three tries.
        """
        for left in reversed(range(STARTS)):
            try:
                self._ray.init(**asked, log_to_driver=False, logging_level="ERROR")
            except Exception as error:  # Ray raises bare ones
                self._ray.shutdown()
                if left == 0:
                    why = " ".join(str(error).split())[:300]
                    raise RunError(
                        f"Ray did not start, or is not there: {why} Run the same command again."
                    ) from None
            else:
                return

    def submit(self, call: RemoteTask) -> Any:
        """A task that runs the call."""
        return self._task.remote(call)

    def gone(self, handle: Any) -> str | None:
        """Why the task has ended."""
        ready, _ = self._ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            self._ray.get(handle)
        except self._ray.exceptions.RayError as error:
            return f"Ray: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return "its task ended and said nothing"

    def cancel(self, handle: Any) -> None:
        """End the task at once."""
        self._ray.cancel(handle, force=True)

    def close(self) -> None:
        """Leave it; one that was made here ends."""
        self._ray.shutdown()


def _do(call: RemoteTask) -> None:
    call()
