"""Ctrl-C between steps: parameters half-way through a batch are not a state to resume from."""

import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Interrupts:
    """Asked once, the run ends after the step under way; asked twice, at once.

    Outside the main thread, where signals cannot be handled, nothing is changed.
    """

    def __init__(self, noticed: Callable[[], None]) -> None:
        self.asked = False
        self._noticed = noticed
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take over SIGINT."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Give SIGINT back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: Any) -> None:  # noqa: ARG002
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._noticed()
