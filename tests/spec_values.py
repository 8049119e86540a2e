"""Valid values of any spec, made from the fields that it declares: what laws over unions run on.

A law that walks a union needs instances of members it has never heard of. `instances` draws them:
every field is its default or a random valid value, nested specs and unions included; what the
spec's own validators refuse is drawn again.
"""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tod.base import Spec

TEXTS = ("reward", "style")
"""Values of strings: names of utilities that a law's world has."""


def members(union: Any) -> tuple[type[Spec], ...]:
    """The specs that a union of this project is made of, however it is annotated."""
    if isinstance(union, type):
        return (union,) if issubclass(union, Spec) else ()
    return tuple(dict.fromkeys(m for arg in get_args(union) for m in members(arg)))


def kind_of(member: type[Spec]) -> str:
    """How a test names a member."""
    field = member.model_fields.get("kind")
    kinds = get_args(field.annotation) if field is not None else ()
    return str(kinds[0]) if len(kinds) == 1 else member.__name__


def instances(member: type[Spec], *, texts: tuple[str, ...] = TEXTS) -> st.SearchStrategy[Any]:
    """Instances of a spec."""
    fields = {
        name: _field(field, texts)
        for name, field in member.model_fields.items()
        if not (name == "kind" and len(get_args(field.annotation)) == 1)
    }
    return st.fixed_dictionaries(fields).map(lambda data: _made(member, data)).filter(bool)


def _made(member: type[Spec], data: dict[str, Any]) -> Any:
    given = {name: value for name, value in data.items() if value is not _DEFAULT}
    try:
        return member.model_validate(given)
    except ValidationError:
        return None


_DEFAULT = object()


def _field(field: FieldInfo, texts: tuple[str, ...]) -> st.SearchStrategy[Any]:
    value = _value(field.annotation, tuple(field.metadata), texts)
    return value if field.is_required() else st.one_of(st.just(_DEFAULT), value)


def _value(kind: Any, bounds: tuple[Any, ...], texts: tuple[str, ...]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        more = tuple(b for item in arguments[1:] for b in _flat(item))
        return _value(arguments[0], (*bounds, *more), texts)
    if origin in (Union, types.UnionType):
        return st.one_of([_value(item, bounds, texts) for item in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        least = _bound(bounds, annotated_types.MinLen, "min_length") or 0
        return st.lists(_value(arguments[0], (), texts), min_size=least, max_size=least + 1).map(
            tuple
        )
    if origin is dict:
        keys, values = (_value(item, (), texts) for item in arguments)
        least = _bound(bounds, annotated_types.MinLen, "min_length") or 0
        return st.dictionaries(keys, values, min_size=least, max_size=3)
    if kind is type(None):
        return st.none()
    if kind is bool:
        return st.booleans()
    if kind is str:
        return st.sampled_from(texts)
    if kind in (int, float):
        return _number(kind, bounds)
    if isinstance(kind, type) and issubclass(kind, Spec):
        return instances(kind, texts=texts)
    raise TypeError(f"no values for {kind!r}: teach `spec_values` how to make them")


def _flat(item: Any) -> tuple[Any, ...]:
    return tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)


def _bound(bounds: tuple[Any, ...], kind: type, name: str) -> Any:
    return next((getattr(b, name) for b in bounds if isinstance(b, kind)), None)


def _number(kind: type, bounds: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Numbers of moderate size inside the declared bounds; away from open ends by a twentieth."""
    ge, gt = _bound(bounds, annotated_types.Ge, "ge"), _bound(bounds, annotated_types.Gt, "gt")
    le, lt = _bound(bounds, annotated_types.Le, "le"), _bound(bounds, annotated_types.Lt, "lt")
    low = ge if ge is not None else gt
    high = le if le is not None else lt
    if kind is int:
        start = low if ge is not None or low is None else low + 1
        start = -3 if start is None else start
        return st.integers(start, start + 3 if high is None else high)
    if low is None:
        low = -2.0 if high is None else high - 2.0
    high = low + 2.0 if high is None else high
    margin = 0.05 * (high - low)
    low += margin if gt is not None else 0.0
    high -= margin if lt is not None else 0.0
    return st.floats(low, high, allow_nan=False)
