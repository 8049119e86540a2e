"""What keeps our work inside somebody's training from ever stopping it."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Self, TypeVar

from tod.base import TodError

logger = logging.getLogger("tod.live")
Method = TypeVar("Method", bound=Callable[..., Any])


class Guard:
    """Catches every error of what is done under it, says each cause once, and lets training go on.

    Used as ``with guard("reading the batch") as block: …``, after which ``block.failed`` says
    whether it failed. ``KeyboardInterrupt`` and ``SystemExit`` pass.

    Args:
        strict: Catch nothing: for tests, and for whoever prefers to be stopped.

    Attributes:
        failures: How often something failed, by what was being done.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.failures: dict[str, int] = {}
        self._said: set[tuple[str, str]] = set()

    def __call__(self, doing: str) -> "GuardedBlock":
        """The guard of one block.

        Args:
            doing: What the block does, for the message.
        """
        return GuardedBlock(self, doing)

    def caught(self, doing: str, error: Exception) -> None:
        """Count an error, and say it the first time."""
        self.failures[doing] = self.failures.get(doing, 0) + 1
        key = (doing, type(error).__name__)
        if key in self._said:
            return
        self._said.add(key)
        logger.warning(
            "tod: %s failed, and training goes on without it (%s: %s). %s",
            doing,
            type(error).__name__,
            _text(error),
            _way_out(error),
        )
        logger.debug("tod: where %s failed", doing, exc_info=error)


class GuardedBlock:
    """One block under a guard.

    Attributes:
        failed: Whether an error was caught in it.
    """

    def __init__(self, guard: Guard, doing: str) -> None:
        self.failed = False
        self._guard, self._doing = guard, doing

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Whether an error was caught."""
        if self._guard.strict or not isinstance(error, Exception):
            return False
        self.failed = True
        with suppress(Exception):  # a logger may be anybody's too
            self._guard.caught(self._doing, error)
        return True


def harmless(doing: str) -> Callable[[Method], Method]:
    """A method of an object with a ``guard``, which returns None where its body fails.

    Args:
        doing: What it does, for the message.
    """

    def of(method: Method) -> Method:
        @wraps(method)
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self.guard(doing):
                return method(self, *args, **kwargs)
            return None  # type: ignore[unreachable]

        guarded.doing = doing  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return of


def _text(error: Exception) -> str:
    """Its message; an error that cannot even be printed has none."""
    try:
        return str(error) or "no message"
    except Exception:
        return "no message"


def _way_out(error: Exception) -> str:
    if isinstance(error, TodError):
        return "It is said once; the records lack what depends on it."
    if isinstance(error, OSError):
        return "Free some space or name another place; the records lack what depends on it."
    return (
        "This is a fault of tod: please report it with the traceback, which "
        "logging.getLogger('tod.live').setLevel('DEBUG') shows."
    )
