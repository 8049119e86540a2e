"""What a person adds to a configuration file: whose it is, which method, what else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tod.atlas.compare import Side
from tod.base import SpecError
from tod.configurations.locate import locate, side
from tod.configurations.point import Located

SIDES = ("a", "b")
"""Beginnings, as in ``a:grpo``, of what is said of one of two files."""


@dataclass(frozen=True)
class Told:
    """What a person says of a file; what is None is found out.

    Attributes:
        framework: Whose it is.
        method: Configuration class or subcommand, or the line of a command or a call.
        settings: Settings laid over the file's, as text.
        version: Release whose defaults fill in what the file leaves out.
    """

    framework: str | None = None
    method: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None

    def locate(self, path: Path | str) -> Located:
        """The point of the atlas that a file is, read so.

        Raises:
            SpecError: As `tod.configurations.locate`.
        """
        return locate(path, self.framework, self.method, self.settings, self.version)

    def side(self, what: str) -> Side:
        """What is compared of a file, read so, or of a recipe's name.

        Raises:
            SpecError: Neither a known name nor a readable configuration, or a recipe of which
                something is said that is said of files.
        """
        path = Path(what)
        if not path.is_file():
            if self != Told():
                raise SpecError(
                    f"{what}: no file. --framework, --method, --set and --version say something "
                    "of a file; of one of two say it as in --method b:grpo, --set b:beta=0.1."
                )
            return side(what)
        found = side(self.locate(path))
        return replace(found, name=f"{path.name}: {found.name}")

    def of_two(self, a: str, b: str) -> tuple["Told", "Told"]:
        """What is said of each of two: all of it of both files, ``a:…`` and ``b:…`` of one.

        Args:
            a: A file, or a recipe's name; of one nothing is said but what begins with ``a:``.
            b: Likewise.

        Raises:
            SpecError: Neither is a file, and something is said of one.
        """
        files = [Path(what).is_file() for what in (a, b)]
        if not any(files) and self != Told():
            return self, self
        said = [self._of(place, there) for place, there in zip(SIDES, files, strict=True)]
        return said[0], said[1]

    def _of(self, place: str, is_file: bool) -> "Told":
        def one(text: str | None) -> str | None:
            items = [] if text is None else text.split(",")
            mine = [item.partition(":")[2] for item in items if item.startswith(f"{place}:")]
            both = [item for item in items if item.partition(":")[0] not in SIDES]
            return next(iter([*mine, *(both if is_file else [])]), None)

        settings = {}
        for name, value in self.settings.items():
            whose, bar, rest = name.partition(":")
            named = rest if bar and whose in SIDES else name
            if not named:
                raise SpecError(f"--set {name}={value}: of what? Write it as in --set b:beta=0.1.")
            if whose == place if named != name else is_file:
                settings[named] = value
        return Told(one(self.framework), one(self.method), settings, one(self.version))
