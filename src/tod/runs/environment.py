"""What a run was made with: versions, hardware, threads, git state. Imports no training library."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["collect_environment"]

PACKAGES = (
    "tod-posttrain",
    "numpy",
    "polars",
    "pydantic",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "peft",
    "trl",
    "datasets",
)


def collect_environment(where: Path | None = None) -> dict[str, Any]:
    """``versions``, ``hardware``, ``threads`` and ``git`` as plain data; unknown is None.

    Nothing that identifies a person or a host is read. Accelerators and the thread count of
    torch are known only when torch is already loaded.

    Args:
        where: Directory whose git state is recorded; the current one by default.
    """
    return {
        "versions": _versions(),
        "hardware": _hardware(),
        "threads": _threads(),
        "git": _git(where or Path.cwd()),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _hardware() -> dict[str, Any]:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "cpus_usable": affinity,
        "memory_bytes": _memory(),
        "accelerators": _accelerators(),
    }


def _cpu_name() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _accelerators() -> list[str] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _threads() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {
        "torch": None if torch is None else int(torch.get_num_threads()),
        "omp": os.environ.get("OMP_NUM_THREADS"),
    }


def _git(where: Path) -> dict[str, Any] | None:
    commit = _command(where, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _command(where, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _command(where: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(where), *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
