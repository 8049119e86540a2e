"""What workers do in tests: a module of its own, which processes of any kind import."""

import os
import signal
import time
from pathlib import Path

from tod.base import SpecError


def begin() -> None:
    """Nothing to make ready."""


def work(job, tell):
    """What the name of a job says."""
    name, folder = job
    if name == "ours":
        raise SpecError("told on purpose")
    if name == "fault":
        raise KeyError("x")
    if name == "lost":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "lost once":
        try:
            (Path(folder) / "first try").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    if name == "waits":
        try:  # Ctrl-C may come as soon as it is told
            tell(os.getpid())
            time.sleep(600)
        except KeyboardInterrupt:
            (Path(folder) / "saved").touch()
            raise
    tell(os.getpid())
    (Path(folder) / name).touch()
