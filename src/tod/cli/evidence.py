"""What data say about a swap: the regime of a run or of a dump, for two procedures' target."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tod.atlas.compare import Side
from tod.atlas.measured import Position
from tod.base import RunError
from tod.regimes import Regime


def regime_on(
    path: Path, left: Side, right: Side, mapping: dict[str, str] | None = None
) -> tuple[Regime | None, str]:
    """The regime at ``path`` for the target that both sides share, and a remark.

    A run directory was diagnosed under its own target: it tells only of sides that aim there. A
    dump is diagnosed under the first side's target, its columns found by ``mapping``.

    Raises:
        TodError: Neither a run nor readable rollouts.
    """
    if (path / "manifest.json").exists():
        return _of_run(path, left, right)
    return _of_dump(path, left if left.target is not None else right, mapping)


def _of_run(path: Path, left: Side, right: Side) -> tuple[Regime | None, str]:
    from tod.atlas.law import law_of
    from tod.configurations.own import triple_of
    from tod.diagnosis import verdict_of_run
    from tod.runs import RunDirectory

    run = RunDirectory.open(path)
    procedure = triple_of(run.manifest.recipe, str(path / "manifest.json"))
    steps = sum(1 for _ in run.steps.read())
    if not steps:
        raise RunError(f"{path}: no step is recorded, so it licenses nothing. Run it first.")
    law = law_of(procedure)
    if not any(law.same(one.law) or procedure.tilt == one.target for one in (left, right)):
        return None, f"{path} aimed at {law.letters}, which is the target of neither"
    return verdict_of_run(path).regime, f"{steps} steps of {path}"


def _of_dump(path: Path, one: Side, mapping: dict[str, str] | None) -> tuple[Regime | None, str]:
    from tod.configurations.implied_target import implied, rule_of
    from tod.diagnosis import diagnose
    from tod.formats import read

    if one.target is None:
        return None, "neither side has a finite target to weigh the data by"
    found = implied(one.target, rule_of(one.law), read([str(path)], mapping=mapping))
    same: Any = found.candidates
    diagnosis = diagnose(same, found.target, target_source="located")
    return diagnosis.regime, f"{path}, weighed by the target of {one.name}"


def positions(runs: Path) -> dict[str, Position]:
    """Phase position of every recipe's newest run under a directory, by the nearest recipe.

    Raises:
        RunError: There is no run there, or one is damaged.
    """
    from tod.configurations.own import locate_own
    from tod.runs import RunDirectory

    manifests = sorted(runs.glob("**/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise RunError(f"{runs}: no run directory in it. Name the directory that holds runs.")
    newest: dict[str, Path] = {}
    for manifest in manifests:
        run = RunDirectory.open(manifest.parent)
        name = locate_own(dict(run.manifest.recipe), str(manifest)).recipe
        if name is not None and any(True for _ in run.steps.read()):
            newest[name] = manifest.parent
    return {name: _position(path) for name, path in newest.items()}


def _position(path: Path) -> Position:
    """Where a run lies: its verdict, and means over its steps."""
    from tod.diagnosis import verdict_of_run
    from tod.diagnostics import Summary
    from tod.runs import RunDirectory

    summaries = [Summary.from_dict(record) for record in RunDirectory.open(path).steps.read()]
    return Position(
        verdict_of_run(path).regime.verdict,
        _mean(summary.ess_rel.median for summary in summaries),
        _mean(summary.activation for summary in summaries),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
