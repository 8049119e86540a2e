"""The base of everything a person writes: frozen, typed, unknown keys refused with a near match."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Self, Union, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from tod.base.errors import InvalidSpec, SpecError
from tod.base.text import what_is

__all__ = ["FileName", "Named", "Spec", "concrete", "explain", "load_all", "tagged"]


class Spec(BaseModel):
    """A frozen specification. YAML maps one to one onto its fields; the spec *is* the function."""

    # docstrings of fields are not read: looking up the source of each class is half of its making
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **data: Any) -> None:
        """Validate the fields, complaining as `parse` does.

        Raises:
            InvalidSpec: With a line per complaint, as `parse`.
        """
        try:
            super().__init__(**data)
        except ValidationError as error:
            name = type(self).__name__
            raise InvalidSpec(explain(error, type(self), name, data)) from None

    # what is nested is validated without this method, so that its complaints keep their paths
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def parse(cls, data: object, where: str = "") -> Self:
        """Validate plain data, turning every complaint into one readable SpecError.

        Raises:
            SpecError: With a line per complaint: path, value, reason and the nearest known name.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(explain(error, cls, where, data)) from None

    def revised(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).parse({**dict(self), **changes})


def concrete(base: type[Spec]) -> tuple[type[Spec], ...]:
    """Every subclass that declares a ``kind`` of its own, in the order of definition.

    A class between them that leaves ``kind`` open is none, nor is one that inherits another's.
    """
    below = [deeper for member in base.__subclasses__() for deeper in (member, *concrete(member))]
    return tuple(
        member
        for member in dict.fromkeys(below)
        if "kind" in member.__annotations__
        and isinstance(member.model_fields["kind"].get_default(), str)
    )


def load_all(package: str, paths: Iterable[str], but: str = "") -> None:
    """Import every module of a package, so that all members of its unions are defined.

    Args:
        package: Its name.
        paths: Its folders.
        but: A module that is left out, because it asks.
    """
    for module in iter_modules(paths):
        if module.name != but:
            import_module(f"{package}.{module.name}")


def tagged(*bases: type[Spec]) -> Any:
    """The union of all members of some bases, told apart by ``kind``: what pydantic parses by.

    It holds the classes that are defined when it is called, so a new member is one new class.
    """
    members = tuple(member for base in bases for member in (concrete(base) or (base,)))
    return Annotated[Union[members], Field(discriminator="kind")]  # noqa: UP007 - made at run time


def _by_name(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class _Named:
    """`Named`: how it validates, and how the schema of it says so."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_before_validator_function(_by_name, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        whole = handler(core)
        kinds = sorted(whole["discriminator"]["mapping"])
        return {"anyOf": [{"enum": kinds}, whole]}


Named = _Named()
"""Lets a tagged union be written by its kind alone: ``group_mean`` for ``{kind: group_mean}``."""


_LONGEST_NAME = 200
"""Bytes of a name: file systems take 255, and suffixes are added."""


def _one_component(name: str) -> str:
    reasons = {
        "it is empty": not name.strip(),
        "it holds a path separator": "/" in name or "\\" in name,
        "it means a folder above": name.strip() in (".", ".."),
        "it holds a control or invisible character": not name.isprintable(),
        f"it is longer than {_LONGEST_NAME} bytes": len(name.encode("utf-8", "replace"))
        > _LONGEST_NAME,
    }
    for why in (why for why, holds in reasons.items() if holds):
        raise ValueError(f"{name!r:.80} names no file: {why}. Use a plain word, such as `gspo-2`")
    return name


FileName = Annotated[str, AfterValidator(_one_component)]
"""A text that becomes one component of a path: printable, without separators, not ``..``."""


def explain(
    error: ValidationError, model: type[BaseModel], where: str = "", data: object = None
) -> str:
    """A ValidationError as lines of ``path: reason, way out``."""
    head = f"{where}: " if where else ""
    items = cast("list[dict[str, Any]]", error.errors())
    return "\n".join(head + _line(item, model, data) for item in items)


def _path(loc: tuple[Any, ...], data: object) -> str:
    """The location as the person wrote it: union tags that are no keys of the data are left out."""
    parts: list[str] = []
    here: Any = data
    for place, part in enumerate(loc):
        inside = isinstance(here, dict) and part in here
        listed = isinstance(here, list | tuple) and isinstance(part, int)
        if inside or listed:
            here = here[part]
        elif _is_tag(place, loc, here):
            continue
        parts.append(str(part))
    return ".".join(parts) or "(top level)"


def _is_tag(place: int, loc: tuple[Any, ...], here: object) -> bool:
    """Whether a part that is no key of the data names a member of a union instead."""
    if isinstance(here, str):
        return bool(here == loc[place])
    if not isinstance(here, dict):
        return False
    if place == len(loc) - 1:  # a complaint of the whole member
        return bool(here.get("kind") == loc[place])
    return bool(here.get("kind") == loc[place] or loc[place + 1] in here)


def _line(item: dict[str, Any], model: type[BaseModel], data: object) -> str:
    path = _path(item["loc"], data)
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        return f"{path}: unknown key.{_near(str(item['loc'][-1]), _siblings(model, item['loc']))}"
    if kind == "union_tag_invalid":
        context = item["ctx"]
        known = [name.strip(" '") for name in str(context["expected_tags"]).split(",")]
        return f"{path}: unknown kind {context['tag']!r}.{_near(str(context['tag']), known)}"
    if kind == "union_tag_not_found":
        return f"{path}: needs a `kind` key saying which one it is."
    if kind == "missing":
        return f"{path}: required and missing."
    if kind == "value_error":
        return f"{path}: {str(item['ctx']['error']).rstrip('.')}."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{path}: {what_is(value)}, where a mapping of keys and values is needed."
    shown = repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "..."
    return f"{path}: {item['msg']} (got {shown})."


def _near(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"{hint} Known: {', '.join(sorted(known))}." if known else hint


def _siblings(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Field names of the model in which the last part of ``loc`` was found."""
    found: list[type[BaseModel]] = [model]
    for part in loc[:-1]:
        deeper = [sub for m in found for sub in _submodels(m, part)]
        found = deeper or found
    return sorted({name for m in found for name in m.model_fields})


def _submodels(model: type[BaseModel], part: object) -> list[type[BaseModel]]:
    """Models reachable from ``model`` through a field or through a union tag called ``part``."""
    if isinstance(part, int):
        return [model]
    if part in model.model_fields:
        return _models_in(model.model_fields[str(part)].annotation)
    tag = model.model_fields.get("kind")
    return [model] if tag is not None and part in _literals(tag.annotation) else []


def _literals(annotation: Any) -> tuple[Any, ...]:
    return tuple(getattr(annotation, "__args__", ()))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
