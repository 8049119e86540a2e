"""Locate a configuration file as a point of the atlas, and compare two of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tod.atlas.compare import ProcedureComparison, Side
from tod.atlas.compare import compare as compare_sides
from tod.atlas.entries import Recipe
from tod.base import SpecError
from tod.base.errors import InvalidSpec
from tod.configurations.also_different import also_different
from tod.configurations.by_facts import located_by_facts
from tod.configurations.by_version import choose, locate_by_version
from tod.configurations.declared import locate_declared, method_of
from tod.configurations.foreign import refuse_foreign, refuse_uncovered
from tod.configurations.framework import ANY, Computed, Facts, facts, flat
from tod.configurations.nemo_rl import locate_nemo_rl
from tod.configurations.openrlhf import locate_openrlhf
from tod.configurations.own import KEYS, locate_own
from tod.configurations.point import Located
from tod.configurations.recognise import ConfigurationFile, Framework, detect
from tod.configurations.spans import in_words
from tod.configurations.trl import class_of, locate_trl, public
from tod.configurations.verl import locate_verl
from tod.configurations.versions import VERSIONED, ever, recorded
from tod.configurations.worlds import over_worlds
from tod.procedure import Procedure

if TYPE_CHECKING:
    from tod.regimes import Regime

__all__ = ["compare", "locate", "side"]


def locate(
    path: Path | str,
    framework: str | None = None,
    method: str | None = None,
    over: Mapping[str, str] | None = None,
    version: str | None = None,
) -> Located:
    """The point of the atlas that a configuration file is.

    Reads TRL (script, JSON, YAML, command), verl (YAML, overrides, script), OpenRLHF (script),
    NeMo-RL (YAML), the frameworks that have a `reading` in their facts, and our own recipes. No
    framework is imported and nothing is executed; what a file leaves out is filled in from the
    defaults of the version that the result names, and what that rests on is said. Nothing is
    claimed that a setting, a word or a layer which was not read could change.

    Args:
        path: The file.
        framework: One of `FRAMEWORKS`; found out if None.
        method: Configuration class or subcommand, where a file does not say; the line of a command
            or a call, where there are several.
        over: Settings laid over the file's, as text; variables that a script takes from outside.
        version: Release of the framework; found out if None.

    Raises:
        SpecError: No known framework's, or a setting that its framework would refuse.
    """
    try:
        found = detect(Path(path), framework, method, over)
    except RecursionError:
        raise SpecError(f"{path}: it is nested too deeply to be read.") from None
    data = Path(path).suffix.lower() in (".yaml", ".yml", ".json", ".toml")
    if data:
        refuse_foreign(found.values, _top_level(found.framework), str(path), found.framework)
    try:
        located = reader(found, str(path), version)
    except InvalidSpec as error:
        raise SpecError(f"{path}: a setting is outside what its method allows: {error}") from None
    except ValidationError as error:
        what = "; ".join(f"{item['msg']} (got {item['input']!r})" for item in error.errors())
        raise SpecError(f"{path}: a setting is outside what its method allows: {what}.") from None
    if data and found.framework != "tod":
        today = {k: v for k, v in flat(found.values).items() if k not in ever(found.framework)}
        refuse_uncovered(today, found.framework, str(path))
    return replace(located, notes=(*located.notes, *found.notes))


def _top_level(framework: Framework) -> frozenset[str]:
    """Top-level keys of a framework's files."""
    if framework == "tod":
        return KEYS
    known = facts(framework)
    deciding = (name for table in known.defaults.values() for name in table)
    names = (*deciding, *known.neutral, *known.renamed)
    return frozenset(name.partition(".")[0] for name in names)


def reader(found: ConfigurationFile, where: str, version: str | None = None) -> Located:
    """The point of the atlas that the settings of a file are.

    Args:
        found: The settings.
        where: The file.
        version: Release of the framework; found out if None.

    Raises:
        SpecError: A setting that its framework would refuse, or a release of a framework of which
            only one is recorded.
    """
    written = {**flat(found.values), **found.of_trainer}
    return replace(_reader(found, where, version), written=written)


def _reader(found: ConfigurationFile, where: str, version: str | None) -> Located:
    if found.framework == "tod":
        return locate_own(found.values, where)
    if facts(found.framework).reading is not None:
        return located_by_facts(found, where, version)
    if found.framework in VERSIONED and "sft" not in (found.program or ""):
        return _by_version(found, where, version)
    if version is not None:
        recorded(found.framework)  # says that it has one release alone
    return over_worlds(
        found.framework,
        found.values,
        lambda values: read_settings(replace(found, values=values), where),
    )


READ = "defaults read from"
"""Begins the note of a layer of defaults that was read."""


def _by_version(found: ConfigurationFile, where: str, version: str | None) -> Located:
    """The same by the releases that the file may be of."""
    method, values = "ppo", flat(found.values)
    if found.framework == "trl":
        method, values = class_of(found.values, found.method, where), public(found.values)
    named = replace(found, method=method if found.framework == "trl" else found.method)

    def read(given: Mapping[str, Any], known: Facts) -> Located:
        return read_settings(replace(named, values=given), where, known)

    choice = choose(
        found.framework, method, values, Path(where), version, found.listing, found.folder
    )
    read_below = any(READ in note for note in found.notes)
    if read_below:  # another file than the trainer's usual one may have been named
        choice = replace(choice, own=None)
    layered = found.program is None or read_below
    if choice.strange and not layered:  # a YAML may hold keys of one's own, a command may not
        of = f"the defaults of a verl that has {choice.strange[0].rpartition('.')[2]}"
        values = {f"{ANY}{of}": Computed(of), **values}
    return locate_by_version(found.framework, method, values, read, choice)


def read_settings(found: ConfigurationFile, where: str, known: Facts | None = None) -> Located:
    """The same with the newest defaults in the place of what was not read: one reading, no other.

    Args:
        found: The settings of a framework but ours.
        where: The file.
        known: What is recorded of the framework; None: of its newest release.

    Raises:
        SpecError: A setting that its framework would refuse.
    """
    if facts(found.framework).reading is not None:
        values = flat(found.values)
        method = method_of(found.framework, values, found.method, where)
        return locate_declared(found.framework, values, method, known)
    if found.framework == "trl":
        return locate_trl(found.values, found.method, where, known)
    if found.framework == "verl":
        return locate_verl(found.values, found.program, where, known)
    if found.framework == "openrlhf":
        return locate_openrlhf(found.values, found.program, where)
    return locate_nemo_rl(found.values, found.method, where)


Comparable = str | Path | Recipe | Located | Procedure | Side


def side(what: Comparable) -> Side:
    """What is compared of a name, a file or an object; a file goes before a recipe's name.

    Raises:
        SpecError: Neither a known name nor a readable configuration.
    """
    named = ""
    if isinstance(what, str | Path):
        path = Path(what)
        if not path.is_file() and (path.suffix or len(path.parts) > 1):
            raise SpecError(
                f"{what}: no such file. Compare takes names of recipes and configuration files."
            )
        what = locate(path) if path.is_file() else str(what)
        named = f"{path.name}: " if path.is_file() else ""
    if isinstance(what, Located):
        target = None if what.procedure is None else what.procedure.tilt
        return Side(
            f"{named}{what.framework} {what.method}",
            what.law,
            None
            if any(part.startswith(("action.", "operator")) for part in what.open)
            else what.operator,
            target,
            changes=what.silent_changes,
            names=what.names,
            undetermined=what.undetermined,
            updates=what.updates,
            passes=what.passes,
            cell=what.cell,
            assumed=_assumed(f"{named}{what.framework}", what),
            framework=what.framework,
            written=what.written,
        )
    return Side.of(what)


def _assumed(name: str, located: Located) -> str:
    """The release that a law hangs on, where it is assumed."""
    row = located.by_release.get("law")
    if row is None:
        return ""
    return f"assumed: {name} is of {located.version}; law {in_words(row, located.framework)}"


def compare(a: Comparable, b: Comparable, regime: "Regime | None" = None) -> ProcedureComparison:
    """Whether two recipes, files or procedures share a target, and what differs.

    Args:
        a: Name of a recipe, a configuration file of any framework known, or a procedure.
        b: Likewise.
        regime: What data say; a pair of configurations alone licenses no swap.

    Raises:
        SpecError: Neither a known name nor a readable configuration.
    """
    left, right = side(a), side(b)
    also = also_different(left.written, right.written, (left.framework, right.framework))
    return replace(compare_sides(left, right, regime), also=also)
