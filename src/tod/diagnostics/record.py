"""Plain data that round-trips through JSON; unknown keys are ignored."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints


@cache
def _hints(record: type) -> dict[str, Any]:
    """Field types of a record class; resolving them is slow and they never change."""
    return get_type_hints(record)


class Record:
    """Plain data that round-trips through JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists."""
        return {name: _plain(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The record of such a dictionary; unknown keys are ignored: old files stay readable."""
        hints = _hints(cls)  # type: ignore[arg-type]
        known = {
            item.name: _revive(data[item.name], hints[item.name])
            for item in fields(cls)  # type: ignore[arg-type]
            if item.name in data
        }
        return cls(**known)


def _plain(value: Any) -> Any:
    """The same with a list for every tuple, as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _revive(value: Any, hint: Any) -> Any:
    """A JSON value as the type of its field: records from dictionaries, tuples from lists."""
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, dict):
        record = next((o for o in options if is_dataclass(o)), None)
        if record is not None:
            return record.from_dict(value)  # type: ignore[union-attr]
        of = _of_mapping(options)
        return value if of is None else {key: _revive(item, of) for key, item in value.items()}
    if isinstance(value, list) and any(get_origin(o) is tuple for o in options):
        return tuple(value)
    return value


def _of_mapping(options: tuple[Any, ...]) -> Any:
    """The record class of a mapping's values; None where they are plain."""
    for option in options:
        inside = get_args(option)
        if get_origin(option) is Mapping and is_dataclass(inside[-1]):
            return inside[-1]
    return None
