"""Which format the files are of, and what is wrong with files of none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from tod.base import DataError, SpecError
from tod.base.text import counted, visible
from tod.formats.columns import LOGGED
from tod.formats.files import COMPRESSED, Found, open_binary
from tod.formats.format import FileProbe, Format
from tod.formats.jsonl import why_no_object
from tod.formats.nested import is_nested, suggestion
from tod.formats.registry import FORMATS
from tod.formats.roles import LOGS, NEAR, ROLES

_BINARY = {
    ".pkl": "skyrl",
    ".pt": "slime",
    ".dp": "verl",
    ".db": "tinker",
    ".sqlite": "tinker",
    ".sqlite3": "tinker",
}


_TEXTS = (".log", ".txt", ".out", ".err", ".stdout")
"""What the output of a training is called."""
_END = 1 << 14
"""Bytes at the end of a text in which its last line is looked for."""


@dataclass(frozen=True)
class Chosen:
    """The files of one format, how it was recognised, and what was left out."""

    files: list[Path]
    format: Format
    why: str
    notes: tuple[str, ...] = ()


def choose(found: Found, name: str, mapping: Mapping[str, str]) -> Chosen:
    """The format that the person named, or the one that recognises the files.

    Raises:
        SpecError: An unknown format or role.
        DataError: The files are of none, or of several.
    """
    check_roles(mapping)
    csv = [path for path in found.files if _is_csv(path)]
    if len(csv) == len(found.files):
        _refuse_csv(csv[0])
    probes = [FileProbe(path) for path in found.files]
    named = any(role == "utility" or role.startswith("utility.") for role in mapping)
    if name == "auto" and named and (is_nested(mapping) or mapping.keys() & {"context", "prompt"}):
        if csv:
            _refuse_csv(csv[0])
        return Chosen(list(found.files), FORMATS["mapping"], "columns named by --map")
    chosen = _recognised(probes, mapping) if name == "auto" else _told(found, probes, name)
    _refuse_unused(chosen.format, mapping)
    return chosen


def _is_csv(path: Path) -> bool:
    base = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return base.suffix.lower() in (".csv", ".tsv")


def _refuse_csv(path: Path) -> NoReturn:
    tabs = ", separator='\\t'" if ".tsv" in path.name.lower() else ""
    out = f"{path.name.split('.')[0]}.parquet"
    raise DataError(
        f"{path}: CSV is not read, because it keeps no types. Convert it to Parquet or JSON lines, "
        f"in Python for instance: import polars; polars.read_csv({str(path)!r}{tabs})"
        f".write_parquet({out!r})"
    )


def check_roles(mapping: Mapping[str, str]) -> None:
    """Refuse what no format and no column could be called.

    Raises:
        SpecError: With the nearest role.
    """
    settings = [name for known in FORMATS.values() for name in known.settings or ()]
    tokens = [f"{name}_tokens" for name in LOGS]
    nested = ("tokens", *LOGGED) if is_nested(mapping) else ()
    roles = list(dict.fromkeys(["utility", *ROLES, *LOGS, *tokens, *nested, *settings]))
    for role, column in mapping.items():
        if role in roles or (role.startswith("utility.") and role != "utility."):
            continue
        close = [NEAR[role]] if role in NEAR else get_close_matches(role, roles, 1, cutoff=0.5)
        hint = f" Did you mean {close[0]}={column}?" if close else ""
        raise SpecError(
            f"--map {role}={column}: no role {role!r}.{hint} Roles: utility, utility.NAME, "
            f"{', '.join(roles[1:])}."
        )


def _refuse_unused(chosen: Format, mapping: Mapping[str, str]) -> None:
    """A role that the format would not look at is no role."""
    if chosen.settings is None:
        return
    unused = [role for role in mapping if role not in ("utility", *chosen.settings)]
    if unused:
        raise SpecError(
            f"--map {unused[0]}={mapping[unused[0]]}: {chosen.title} has no such setting. It has "
            f"{', '.join(('utility', *chosen.settings))}. To name columns yourself add --format "
            "mapping."
        )


def _told(found: Found, probes: Sequence[FileProbe], name: str) -> Chosen:
    if name not in FORMATS:
        close = get_close_matches(name, FORMATS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"no format {name!r}.{hint} Known: auto, {', '.join(FORMATS)}.")
    chosen = FORMATS[name]
    reasons = [chosen.recognises(probe) for probe in probes]
    kept = [p.path for p, reason in zip(probes, reasons, strict=True) if reason]
    kept += [p for p in found.files if p in found.named and p not in kept]
    if not kept:
        raise DataError(
            f"none of {counted(len(probes), 'file')} looks like {chosen.title}. Leave out --format "
            "to see what they look like, or name the file itself."
        )
    return Chosen(kept, chosen, "as told by --format")


def _recognised(probes: Sequence[FileProbe], mapping: Mapping[str, str]) -> Chosen:
    seen: dict[str, list[Path]] = {}
    why: dict[str, Counter[str]] = {}
    other: list[FileProbe] = []
    for probe in probes:
        reasons = ((name, known.recognises(probe)) for name, known in FORMATS.items())
        kind, reason = next(((n, r) for n, r in reasons if r), ("", None))
        if reason is None:
            other.append(probe)
            continue
        seen.setdefault(kind, []).append(probe.path)
        why.setdefault(kind, Counter())[reason] += 1
    damaged = tuple(f"left out: {p.damage}" for p in other if p.damage)[:10]
    if not seen:  # its reader says what is wrong, a forbidden name in a pickle for instance
        for probe in other:
            kind = _BINARY.get(probe.suffix, "")
            if kind and (probe.head or probe.damage) and probe.path.stat().st_size:
                seen.setdefault(kind, []).append(probe.path)
                why.setdefault(kind, Counter())[f"the suffix {probe.suffix}"] += 1
        damaged = ()
    if not seen:
        raise DataError(_unknown(probes, mapping))
    shown = ", ".join(f"{len(files)} of {kind}" for kind, files in seen.items())
    if len(seen) > 1 and not (len(seen) == 2 and "tod" in seen):
        raise DataError(
            f"the files are of several formats ({shown}). Read them one at a time: --format NAME."
        )
    kind = "tod" if "tod" in seen else next(iter(seen))
    notes = (f"files of two formats ({shown}): those of tod are read",) if len(seen) > 1 else ()
    return Chosen(seen[kind], FORMATS[kind], why[kind].most_common(1)[0][0], notes + damaged)


def _bare(path: Path) -> str:
    """The file's name in small letters, without the suffix of a compression."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def _no_figures(path: Path) -> str:
    """That the output of a training holds no step, and how it ends: often it stopped before."""
    with open_binary(path) as file:
        end = b""
        while data := file.read(1 << 20):
            end = (end + data)[-_END:]
    last = end.rstrip().rpartition(b"\n")[2].rpartition(b"\r")[2].decode(errors="replace")
    return (
        f"{path}: no line of it holds figures of a step, such as `step:3 - actor/loss:0.1`, "
        "`{'loss': 0.1, 'epoch': 0.5}` or `Step 3/30 | loss=0.1 | reward=0.5`. Its last line is: "
        f"{visible(last.strip())[:200]}"
    )


def _unknown(probes: Sequence[FileProbe], mapping: Mapping[str, str]) -> str:
    """What is wrong with the first file, as far as it can be told."""
    first = next((probe for probe in probes if probe.keys), probes[0])
    if first.path.stat().st_size == 0:
        return f"{first.path}: empty file. Its writer was stopped before it wrote anything."
    if first.damage:
        return first.damage
    if not first.keys and first.suffix in (".jsonl", ".json", ".ndjson"):
        return why_no_object(first.path)
    if not first.keys and _bare(first.path).endswith(_TEXTS):
        return _no_figures(first.path)
    keys = ", ".join(list(first.keys)[:12]) or "nothing that can be read"
    nested = suggestion(first.path)
    way = "Name its columns, for instance --map utility=reward,context=prompt_id,step=step."
    if nested:
        way = f"A line seems to hold several rollouts: add {nested}"
    if mapping:
        lacks = "context=COLUMN" if "utility" in mapping else "utility=COLUMN"
        way = f"--map names {', '.join(mapping)}: add {lacks}."
    return (
        f"{first.path}: the format is not known (it holds {keys}). Known: {', '.join(FORMATS)}. "
        f"{way}"
    )
