"""Where tasks are done, as a person says it: ``--on ray --on-option address=auto``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import SpecError, parse_yaml
from tod.study.executors.here import InProcess
from tod.study.executors.processes import Processes
from tod.study.executors.task import Executor

__all__ = ["KINDS", "On"]

KINDS = ("local", "ray", "submitit")


@dataclass(frozen=True)
class On:
    """Where tasks are done.

    Attributes:
        kind: ``local``, processes of this machine; ``ray``; ``submitit``, also Slurm.
        at_once: Tasks at a time.
        threads: Threads, and so processors, of a task.
        options: Of Ray or submitit, see there.
    """

    kind: str = "local"
    at_once: int = 1
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, kind: str, options: Mapping[str, Any], *, at_once: int = 1, threads: int = 1
    ) -> "On":
        """Of the name of a place and its options.

        Raises:
            SpecError: There is no such place, or this machine is given options.
        """
        if kind not in KINDS:
            raise SpecError(f"--on {kind[:80]}: one of {', '.join(KINDS)}.")
        if options and kind == "local":
            raise SpecError(f"--on-option {next(iter(options))}: --on local takes no options.")
        return cls(kind, at_once, threads, options)

    @classmethod
    def parse(
        cls, kind: str, words: Iterable[str] = (), *, at_once: int = 1, threads: int = 1
    ) -> "On":
        """Of ``--on`` and words ``key=value``, whose values are read as YAML.

        >>> On.parse("submitit", ["cluster=local", "timeout_min=60"], at_once=4).options
        {'cluster': 'local', 'timeout_min': 60}

        Raises:
            SpecError: There is no such place, or a word is no ``key=value``.
        """
        options: dict[str, Any] = {}
        for word in words:
            key, equals, text = word.partition("=")
            if not key or not equals or not text:
                raise SpecError(f"--on-option {word[:80]!r} is not key=value.")
            options[key] = parse_yaml(text, f"--on-option {word:.80}")
        return cls.of(kind, options, at_once=at_once, threads=threads)

    def executor(self, folder: Path, *, here: bool = False) -> Executor:
        """What does the tasks.

        Args:
            folder: Seen by all machines that take part.
            here: Whether one task at a time is done in this process, where that is on this machine.

        Raises:
            SpecError: An option is not known there.
            MissingPackage: Ray or submitit is not installed.
        """
        if self.kind == "local":
            return InProcess() if here and self.at_once == 1 else Processes(self.at_once)
        from tod.study.executors.remote import Remote

        if self.kind == "ray":
            from tod.study.executors.on_ray import RayHost

            return Remote(RayHost(self.at_once, self.threads, self.options), self.at_once, folder)
        from tod.study.executors.on_submitit import SubmititHost

        return Remote(SubmititHost(self.threads, self.options), self.at_once, folder)
