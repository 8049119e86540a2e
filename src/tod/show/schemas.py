"""JSON schemas of what the commands write, generated from the records and the table of facts."""

from typing import Any

from pydantic import TypeAdapter

from tod.arc import Decision
from tod.diagnosis.documents import DiagnosisDocument, PlanDocument
from tod.diagnostics import Summary
from tod.reranking.document import RerankDocument
from tod.runs import Manifest, StepRecord
from tod.runs.facts import FACTS
from tod.study.audit import Audit
from tod.study.selection_audit import SelectionAudit
from tod.study.sweep.document import SweepDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, tuple[type, bool]] = {
    "tod.diagnosis/1": (DiagnosisDocument, True),
    "tod.plan/1": (PlanDocument, False),
    "tod.rerank/1": (RerankDocument, False),
    "tod.run/1": (Manifest, False),
    "tod.step/1": (StepRecord, True),
    "tod.decision/1": (Decision, False),
    "tod.audit/1": (Audit, False),
    "tod.selection_audit/1": (SelectionAudit, False),
    "tod.sweep/1": (SweepDocument, False),
}
"""Name of a schema → the record that it is generated from, and whether a summary stands in it."""

LATER = ("path", "probe", "population")
"""Blocks of a summary that documents of version 0.1 do not hold."""


def schema(name: str) -> dict[str, Any]:
    """The schema of a document.

    Args:
        name: One of ``RECORDS``, such as ``tod.diagnosis/1``.
    """
    record, summarised = RECORDS[name]
    made = TypeAdapter(record).json_schema()
    properties, shared = made.pop("properties"), made.pop("$defs", {})
    if summarised:
        figures = TypeAdapter(Summary).json_schema()
        properties.pop("summary", None)
        shared.pop("Summary", None)
        properties |= figures["properties"]
        shared |= figures["$defs"]
        _describe(properties, shared)
    if name == "tod.diagnosis/1":  # a diagnosis writes every block, null where it is unknown
        written = [name for name in figures["properties"] if name not in LATER]
        made["required"] = [*made["required"], *written]
    return {
        "$schema": DIALECT,
        "$id": name,
        **{key: made[key] for key in ("description", "type", "required") if key in made},
        "additionalProperties": False,
        "properties": _bare(properties),
        "$defs": _bare(dict(sorted(shared.items()))),
    }


def _bare(schemas: dict[str, Any]) -> dict[str, Any]:
    """Schemas by name without titles, which repeat the names, and without defaults."""
    return {name: _bared(place) for name, place in schemas.items()}


def _bared(place: Any) -> Any:
    if isinstance(place, list):
        return [_bared(item) for item in place]
    if not isinstance(place, dict):
        return place
    kept = {key: value for key, value in place.items() if key not in ("title", "default")}
    return {
        key: _bare(value) if key == "properties" else _bared(value) for key, value in kept.items()
    }


def _describe(properties: dict[str, Any], shared: dict[str, Any]) -> None:
    """Give every figure what the table says of it: its meaning, unit and range."""
    for fact in FACTS:
        block, _, key = fact.path.partition(".")
        place = properties[block] if not key else _opened(properties[block], shared)[key]
        place["description"] = fact.hint
        if fact.unit:
            place["unit"] = fact.unit
        if fact.form in ("share", "percent", "count"):
            place["minimum"] = 0
        if fact.form in ("share", "percent"):
            place["maximum"] = 1.000000001


def _opened(place: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The properties behind a reference, null or not."""
    options = [place, *place.get("anyOf", ())]
    name = next(option["$ref"] for option in options if "$ref" in option)
    found: dict[str, Any] = shared[name.rpartition("/")[2]]
    found["additionalProperties"] = False
    properties: dict[str, Any] = found["properties"]
    return properties
