"""The tree of errors; each child also is the built-in it refines.

TodError
├── SpecError        (ValueError)   something a person wrote cannot mean anything
│   └── InvalidSpec                 said by a constructor, in Python
├── DataError        (ValueError)   rows, files or arrays that cannot be used
│   └── MissingLogProbs (LookupError) a log-probability is needed and was not recorded
├── ModelError       (OSError)      a model that cannot be found, loaded or run
├── MissingPackage   (ImportError)  a library that this use needs is not installed
├── UtilityError     (RuntimeError) a utility that failed or returned nonsense
├── RunError         (RuntimeError) a run directory that cannot be used as asked
│   └── BeingWritten                another process writes to it
└── ResourceError    (RuntimeError) not enough memory for what was asked

Every message has three parts: the fact with its values, the reason, the way out.
"""


class TodError(Exception):
    """Root of everything this package raises on purpose."""


class SpecError(TodError, ValueError):
    """Something a person wrote cannot mean anything."""


class InvalidSpec(SpecError):
    """What a specification was built from cannot mean anything; said by its constructor."""


class DataError(TodError, ValueError):
    """Rows, files or arrays that cannot be used."""


class MissingLogProbs(DataError, LookupError):
    """A log-probability is needed and was not recorded."""

    def __init__(self, name: str, purpose: str, available: tuple[str, ...]) -> None:
        """Name the missing policy, what needs it, and what there is instead."""
        self.name = name
        known = ", ".join(available) if available else "none"
        super().__init__(
            f"{purpose} needs log-probs of {name!r} and they were not recorded (there: {known}). "
            f"Record log_{name}, or choose an anchor that does not name {name!r}."
        )


class ModelError(TodError, OSError):
    """A model that cannot be found, loaded or run."""


class MissingPackage(TodError, ImportError):
    """A library that this use needs is not installed."""


class UtilityError(TodError, RuntimeError):
    """A utility that failed or returned nonsense."""


class RunError(TodError, RuntimeError):
    """A run directory that cannot be used as asked."""


class BeingWritten(RunError):
    """A directory that another process writes to."""


class ResourceError(TodError, RuntimeError):
    """Not enough memory for what was asked."""
