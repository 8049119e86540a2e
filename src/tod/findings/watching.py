"""The findings of a run that is still being written, look by look.

A `Watch` reads every rollout file once, and again when it changed; `Watch.look` asks all detectors
of what is there. `Alerts` tells which findings are new: one look alone may have met a file that was
being written, or a step that chance made look bad.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tod.base import DataError, SpecError, TodError
from tod.findings.finding import SEVERITIES, Finding
from tod.findings.findings import Findings, find
from tod.findings.pieces import (
    FilePiece,
    Signature,
    from_arrays,
    join,
    read_piece,
    signature,
    to_arrays,
)
from tod.findings.run import RolloutTable, TrainingRun
from tod.findings.run_of import checkpoints_near, run_of
from tod.formats.files import expand
from tod.formats.format import FileProbe
from tod.formats.registry import FORMATS
from tod.logs import Log, read_log
from tod.logs.recognise import TABLES, recognise
from tod.runs.atomic import write_atomic

SCHEMA = "tod.watch/1"
REST = 10
"""Looks at files that do not change after which the run is taken to be at rest, and what was seen
once is told."""
_OLDEST = (1980, 1, 1, 0, 0, 0)
_Files = tuple[tuple[Path, Signature], ...]


@dataclass(frozen=True)
class Look:
    """What one look saw.

    Attributes:
        findings: Of all detectors.
        changed: Whether any file changed since the look before.
        files: Rollout files and logs that were read.
        fresh: How many of them were read in this look.
        rejected: Rows of rollouts that cannot be used.
        problems: What cannot be read, a sentence each; it is tried again when it changes.
    """

    findings: Findings
    changed: bool
    files: int
    fresh: int
    rejected: int = 0
    problems: tuple[str, ...] = ()

    @property
    def step(self) -> int | None:
        """The last training step that was read; None without any."""
        run = self.findings.run
        ends = [int(run.steps[-1])] if len(run.steps) else []
        ends += [int(run.rollouts.steps[-1])] if run.rollouts is not None else []
        return max(ends, default=None)


@dataclass(frozen=True)
class _Read:
    """What some files told: a piece, why they cannot be read, or neither if they hold others."""

    piece: FilePiece | None = None
    problem: str | None = None


class Watch:
    """Rollouts and logs of one run that grows.

    Args:
        paths: Files, globs or directories, as `tod diagnose` takes them.
        format_: Format of the rollouts, or ``auto``.
        mapping: Columns by role.
        expected: What the person's configuration says of the run, by name.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        format_: str = "auto",
        mapping: Mapping[str, str] | None = None,
        expected: Mapping[str, object] | None = None,
    ) -> None:
        self.expected = dict(expected or {})
        self.paths = tuple(str(path) for path in paths)
        self.format, self.mapping = format_, dict(mapping or {})
        self._read: dict[_Files, _Read] = {}
        self._logs: dict[Path, tuple[_Files, Log]] = {}
        self._last: Look | None = None
        self._before: object = None
        self._fresh = 0

    def look(self) -> Look:
        """Read what is new, and ask all detectors; nothing new gives the same findings again.

        A DataError says that nothing there can be read (yet).
        """
        self._fresh = 0
        logs, problems, inside = self._metric_logs()
        files = tuple(self._rollout_files(inside, any_log=bool(logs)))
        state = (files, tuple(self._logs.values()))
        if self._last is not None and state == self._before:
            return replace(self._last, changed=False, fresh=0)
        self._keep(files)
        pieces = self._pieces(files)
        problems += [told.problem for told in self._read.values() if told.problem is not None]
        if not pieces and not logs:
            raise DataError(problems[0] if problems else self._nothing())
        rollouts, pieces = self._joined(pieces)
        findings = find(replace(_run(rollouts, pieces, logs), expected=self.expected))
        count = sum(len(piece.files) for piece in pieces) + sum(len(log.files) for log in logs)
        rejected = sum(piece.rejected for piece in pieces)
        self._last = Look(findings, True, count, self._fresh, rejected, tuple(problems))
        self._before = state
        return self._last

    def _metric_logs(self) -> tuple[list[Log], list[str], set[Path]]:
        """Logs, read again where they changed, why others cannot be, and the files of all."""
        logs: list[Log] = []
        problems: list[str] = []
        inside: set[Path] = set()
        if self.format != "auto":
            return logs, problems, inside
        for name in self.paths:
            path = Path(name)
            try:
                there = recognise(path)
                if there is None or (self.mapping and there.kind in TABLES):
                    continue
                inside |= {file.resolve() for file in there.files}
                now = tuple((file, signature(file)) for file in there.files)
                if path not in self._logs or self._logs[path][0] != now:
                    self._fresh += len(now)
                    self._logs[path] = now, read_log(path)
            except (TodError, OSError) as error:
                if path.exists():
                    problems.append(str(error))
            if path in self._logs:
                logs.append(self._logs[path][1])
        return logs, problems, inside

    def _rollout_files(self, but: set[Path], *, any_log: bool) -> Iterator[tuple[Path, Signature]]:
        """Files that may hold rollouts; those that vanish meanwhile are left out.

        A DataError says that there is no file at all.
        """
        try:
            there = expand(self.paths).files
        except DataError:
            if any_log:
                return
            raise
        for file in there:
            try:
                if file.resolve() not in but:
                    yield file, signature(file)
            except OSError:
                continue

    def _pieces(self, files: _Files) -> list[FilePiece]:
        """A piece a file, in order, those of other kinds left out."""
        told = [self._of((file,)) for file in files]
        return [read.piece for read in told if read.piece is not None]

    def _of(self, files: _Files) -> _Read:
        """What some files tell together, read once."""
        if files not in self._read:
            self._fresh += len(files)
            self._read[files] = self._now(files)
        return self._read[files]

    def _now(self, files: _Files) -> _Read:
        if len(files) == 1 and self.format == "auto" and not self.mapping:
            probe = FileProbe(files[0][0])
            if not any(known.recognises(probe) for known in FORMATS.values()):
                return _Read(problem=probe.damage)
        try:
            return _Read(read_piece(files, self.format, self.mapping))
        except (TodError, OSError) as error:
            return _Read(problem=str(error))

    def _joined(self, pieces: list[FilePiece]) -> tuple[RolloutTable | None, list[FilePiece]]:
        """The rollouts of all files, and the pieces that they are joined of.

        A DataError says: files that must be read together cannot be.
        """
        kinds = {piece.format for piece in pieces}
        if len(kinds) == 2 and "tod" in kinds:
            pieces = [piece for piece in pieces if piece.format == "tod"]
            kinds = {"tod"}
        if len(kinds) < 2 and not self._several_runs(pieces):
            pieces = [self._together(cluster) for cluster in clusters(pieces)]
            if all(piece.rollouts is None for piece in pieces):
                return None, pieces
            joined = join(pieces)
            if joined is not None:
                return joined, pieces
        whole = self._together(pieces)
        return (None if whole.rollouts is None else join([whole])), [whole]

    def _several_runs(self, pieces: list[FilePiece]) -> bool:
        """Whether files of different runs hold one step: then all must be read together."""
        home = FORMATS[pieces[0].format].home if pieces else None
        owner: dict[int, Path] = {}
        for piece in pieces:
            path = piece.files[0][0]
            run = path.parent if home is None else home(path)
            if any(owner.setdefault(step, run) != run for step in piece.steps):
                return True
        return False

    def _together(self, pieces: Sequence[FilePiece]) -> FilePiece:
        """Pieces read as one.

        A DataError says why they cannot be.
        """
        if len(pieces) == 1:
            return pieces[0]
        read = self._of(tuple(file for piece in pieces for file in piece.files))
        if read.piece is None:
            raise DataError(read.problem or "these files cannot be read together.")
        return read.piece

    def _keep(self, files: _Files) -> None:
        """Forget what was read of files that changed or went."""
        now = set(files)
        self._read = {key: read for key, read in self._read.items() if now.issuperset(key)}

    def _nothing(self) -> str:
        shown = ", ".join(self.paths)
        return f"{shown}: neither rollouts nor a metric log there. See `tod diagnose --help`."

    def _settings(self) -> list[object]:
        return [self.format, sorted(self.mapping.items())]

    def save(self, path: Path, alerts: "Alerts") -> None:
        """Write what was read of the rollouts, and which findings were told.

        Raises:
            OSError: The file cannot be written; it is then as it was.
        """
        pieces, arrays = to_arrays(
            read.piece for read in self._read.values() if read.piece is not None
        )
        told = {"schema": SCHEMA, "settings": self._settings(), "alerts": alerts.to_dict()}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            texts = {"watch.json": json.dumps(told), "pieces.json": pieces}
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, _OLDEST), text)
            for name, values in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _OLDEST), "w") as out:
                    np.lib.format.write_array(out, np.asarray(values), allow_pickle=False)
        write_atomic(path, buffer.getvalue(), durable=False)

    def restore(self, path: Path, alerts: "Alerts") -> None:
        """Go on from what `save` wrote; nothing where there is no such file yet.

        Raises:
            SpecError: Something else lies there, which a later `save` would replace.
        """
        if not path.exists():
            return
        try:
            with zipfile.ZipFile(path) as archive:
                told = json.loads(archive.read("watch.json"))
                if told["schema"] != SCHEMA:
                    raise ValueError(f"its schema is {told['schema']!r}")
                alerts.restore(told["alerts"])
                if told["settings"] != json.loads(json.dumps(self._settings())):
                    return
                arrays = {}
                for name in archive.namelist():
                    if name.endswith(".npy"):
                        with archive.open(name) as file:
                            arrays[name.removesuffix(".npy")] = np.lib.format.read_array(
                                file, allow_pickle=False
                            )
                pieces = from_arrays(archive.read("pieces.json").decode(), arrays)
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError, TodError) as error:
            raise SpecError(
                f"{path}: no state that `tod watch` wrote ({type(error).__name__}: {error}). Name "
                "another file with --state, or remove it to begin anew."
            ) from None
        self._read |= {piece.files: _Read(piece) for piece in pieces}


def clusters(pieces: Sequence[FilePiece]) -> list[list[FilePiece]]:
    """Pieces that share a step, together; the others each alone. In the order of the first."""
    leader = list(range(len(pieces)))

    def top(at: int) -> int:
        while leader[at] != at:
            leader[at] = leader[leader[at]]
            at = leader[at]
        return at

    owner: dict[int, int] = {}
    for at, piece in enumerate(pieces):
        for step in piece.steps:
            one, other = sorted((top(owner.setdefault(step, at)), top(at)))
            leader[other] = one
    made: dict[int, list[FilePiece]] = {}
    for at, piece in enumerate(pieces):
        made.setdefault(top(at), []).append(piece)
    return list(made.values())


def _run(
    rollouts: RolloutTable | None, pieces: Sequence[FilePiece], logs: Sequence[Log]
) -> TrainingRun:
    """As `run_of` makes it of one reading."""
    run = run_of(logs=logs)
    if not pieces:
        return run
    files = [path for piece in pieces for path, _ in piece.files]
    notes = dict.fromkeys(note for piece in pieces for note in piece.notes)
    return replace(
        run,
        rollouts=rollouts,
        gaps={step: gap for piece in pieces for step, gap in sorted(piece.gaps.items())},
        framework=pieces[0].format,
        checkpoints=run.checkpoints or checkpoints_near(files),
        names=(*(str(path) for path in files[:1]), *run.names),
        notes=(*notes, *run.notes),
    )


@dataclass
class Alerts:
    """Which findings are new: each is told once, after it was seen in consecutive looks.

    A look at files that did not change is no second look, until they have not changed for ``REST``
    looks. A finding that gets worse is new again.

    Attributes:
        looks: In how many consecutive looks a finding must be seen, 1 at least.
        seen: In how many looks each was seen up to now, by finding.
        told: The worst severity that was told of each.
        still: Looks at files that did not change, up to now.
    """

    looks: int = 2
    seen: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    still: int = 0

    def update(self, findings: Findings, *, changed: bool = True) -> list[Finding]:
        """Count one look.

        Args:
            findings: What it saw.
            changed: Whether a file changed since the look before.

        Returns:
            The findings that are new, the first cause first.
        """
        self.still = 0 if changed else self.still + 1
        named = _named(findings.all)
        if changed:
            self.seen = {key: self.seen.get(key, 0) + 1 for key in named}
        elif self.still == REST:
            self.seen = dict.fromkeys(named, self.looks)
        new = []
        for key, finding in named.items():
            known = self.told.get(key)
            worse = known is None or _rank(finding.severity) < _rank(known)
            if worse and self.seen.get(key, 0) >= self.looks:
                self.told[key] = finding.severity
                new.append(finding)
        return new

    def confirmed(self, findings: Findings) -> tuple[Finding, ...]:
        """The findings of a look that were seen often enough to be told."""
        named = _named(findings.all).items()
        return tuple(f for key, f in named if self.seen.get(key, 0) >= self.looks)

    def to_dict(self) -> dict[str, dict[str, object]]:
        """Plain data for `restore`."""
        return {"seen": dict(self.seen), "told": dict(self.told)}

    def restore(self, data: Mapping[str, Mapping[str, object]]) -> None:
        """Go on from what `to_dict` gave.

        Raises:
            ValueError: It is something else; KeyError and TypeError likewise.
        """
        self.seen = {str(key): int(str(count)) for key, count in data["seen"].items()}
        self.told = {str(key): str(severity) for key, severity in data["told"].items()}
        for severity in self.told.values():
            _rank(severity)


def _rank(severity: str) -> int:
    return [str(known) for known in SEVERITIES].index(severity)


def _named(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Findings by kind; of several of a kind the later ones with a number."""
    count: Counter[str] = Counter()
    named = {}
    for finding in findings:
        count[finding.kind] += 1
        again = f"#{count[finding.kind]}" if count[finding.kind] > 1 else ""
        named[finding.kind + again] = finding
    return named
