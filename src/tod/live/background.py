"""Work that must not hold a training up: one thread, one task after the other."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

Task = Callable[[], Any]


class Background:
    """A thread that no process waits for at its end: a task may hang on a disk that is away.

    Args:
        name: The thread's, for whoever looks at a stack.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[tuple[Future[None], Task]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Future[None] | None = None
        self._late = False

    def do(self, task: Task) -> None:
        """Do it after the tasks before it."""
        future: Future[None] = Future()
        self._last = future
        self._tasks.put((future, task))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def finished(self, seconds: float) -> bool:
        """Whether all is done, waiting for it; after it was late once it is only looked.

        Args:
            seconds: The longest wait.

        Raises:
            BaseException: What the last task raised; it is raised once.
        """
        last = self._last
        if last is None:
            return True
        wait([last], timeout=0.0 if self._late else seconds)
        if not last.done():
            self._late = True
            return False
        self._last = None
        last.result()
        return True

    def _work(self) -> None:
        while True:
            future, task = self._tasks.get()
            try:
                task()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
