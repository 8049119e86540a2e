"""How many threads the machine really has free."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """Threads to give to torch: the processors this process may use and that nobody else does.

    The smallest of the processor affinity, the control group's quota and the processors left by
    the last minute's load; at least 1. Two threads on two busy processors are slower than one.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return free_threads(_affinity(), cgroup_quota(_CGROUP), os.cpu_count() or 1, load)


def free_threads(affinity: int, quota: float | None, processors: int, load: float) -> int:
    """min(affinity, quota, processors − load), the last rounded to the nearest; at least 1.

    Args:
        affinity: Processors this process may run on.
        quota: Processors' worth of time the control group allows; None: no limit.
        processors: Processors of the machine, which ``load`` is counted on.
        load: Mean number of runnable threads.
    """
    free = math.floor(processors - load + 0.5)
    allowed = affinity if quota is None else min(affinity, math.floor(quota))
    return max(1, min(allowed, free))


def cgroup_quota(root: Path) -> float | None:
    """Processors' worth of time allowed by the control group at ``root``; None when unlimited."""
    try:
        limit, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        return _quota_v1(root / "cpu")
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return limit / period if limit > 0 and period > 0 else None


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
