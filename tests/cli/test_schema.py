"""Schemas come from the records: they describe what is written, and 0.1's documents and readers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from tod.base import SpecError
from tod.cli.main import app
from tod.diagnosis import Shown, diagnose, plan
from tod.formats import Gate, read
from tod.operators import Clip
from tod.regimes.thresholds import RETIRED
from tod.runs import plain
from tod.runs.facts import FACTS
from tod.show.schemas import RECORDS, schema

ROOT = Path(__file__).parents[2]
OLD = Path(__file__).parent / "from_01"
SHORT = {name: name.removeprefix("tod.").partition("/")[0] for name in RECORDS}


def complaints(document: Any, described: dict[str, Any]) -> list[str]:
    found = Draft202012Validator(described).iter_errors(document)
    return [f"{list(error.path)}: {error.message[:200]}" for error in found]


def opened(described: Any) -> Any:
    """A schema that lets unknown keys pass, as a reader of an older version does."""
    if isinstance(described, list):
        return [opened(item) for item in described]
    if not isinstance(described, dict):
        return described
    return {k: opened(v) for k, v in described.items() if (k, v) != ("additionalProperties", False)}


def old(name: str) -> Any:
    return json.loads((OLD / name).read_text())


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """What is written today of the rollouts of which 0.1 wrote its documents."""
    reading = read(OLD / "rollouts.jsonl", gate=Gate(Clip(low=0.2, high=0.28)))
    return {
        "diagnosis": diagnose(reading, eta=1.0, shown=Shown(0.3, 20, True)).to_dict(),
        "plan": plan(reading, eta=1.0).to_dict(),
    }


@pytest.mark.parametrize("name", RECORDS)
def test_the_published_schema_is_the_generated_one(name: str) -> None:
    path = ROOT / f"docs/schema/{SHORT[name]}-1.schema.json"
    assert json.loads(path.read_text()) == schema(name), "run `make schemas`"
    Draft202012Validator.check_schema(schema(name))


def test_no_other_schema_is_published() -> None:
    there = {path.name for path in (ROOT / "docs/schema").glob("*.json")}
    assert there == {f"{short}-1.schema.json" for short in SHORT.values()}


@pytest.mark.parametrize("kind", ["diagnosis", "plan"])
def test_a_document_of_0_1_is_one_of_today(kind: str) -> None:
    assert complaints(old(f"{kind}.json"), schema(f"tod.{kind}/1")) == []


@pytest.mark.parametrize("kind", ["diagnosis", "plan"])
def test_a_document_of_today_can_be_read_by_0_1(kind: str, documents: dict[str, Any]) -> None:
    document = documents[kind]
    assert complaints(document, schema(f"tod.{kind}/1")) == []
    assert complaints(document, opened(old(f"{kind}-1.schema.json"))) == []
    retired = {f".regime.thresholds.{name}" for name in RETIRED}
    assert paths(old(f"{kind}.json")) - retired <= paths(document)


def paths(document: Any, path: str = "") -> set[str]:
    """Dotted paths of all keys; the items of a list share one."""
    if isinstance(document, list):
        return {deeper for item in document for deeper in paths(item, path)}
    if not isinstance(document, dict):
        return set()
    here = {f"{path}.{key}" for key in document}
    return here | {deep for key, item in document.items() for deep in paths(item, f"{path}.{key}")}


def test_a_wrong_document_is_refused(documents: dict[str, Any]) -> None:
    document, described = documents["diagnosis"], schema("tod.diagnosis/1")
    for change in (
        {"entropy": "high"},
        {"unheard_of": 1},
        {"ess_rel": document["ess_rel"] | {"median": 1.5}},
        {"tails": document["tails"] | {"median_max_weight": 0.5}},
        {"regime": document["regime"] | {"verdict": "stable"}},
    ):
        assert complaints(document | change, described) != [], change


def test_every_figure_says_what_it_is() -> None:
    described = schema("tod.diagnosis/1")
    for fact in FACTS:
        block, _, key = fact.path.partition(".")
        place = described["properties"][block]
        if key:
            options = [place, *place.get("anyOf", ())]
            name = next(option["$ref"] for option in options if "$ref" in option)
            place = described["$defs"][name.rpartition("/")[2]]["properties"][key]
        assert place["description"]
        assert place.get("unit", "") == fact.unit


def lines(path: Path) -> Iterator[Any]:
    return (json.loads(line) for line in path.read_text().splitlines())


def test_what_a_run_writes_is_described(tmp_path: Path) -> None:
    import sys

    sys.path.insert(0, str(ROOT / "tests" / "show"))
    from synthetic_run import make_run

    run = make_run(tmp_path / "run", steps=3, arc=True)
    for record in lines(run / "steps.jsonl"):
        assert complaints(record, schema("tod.step/1")) == []
    for decision in lines(run / "decisions.jsonl"):
        assert complaints(decision, schema("tod.decision/1")) == []
    assert complaints(json.loads((run / "manifest.json").read_text()), schema("tod.run/1")) == []


def test_an_audit_is_described() -> None:
    from tod.atlas import recipe
    from tod.study.audit import audit

    names = {"weighted_mle": "tod.audit/1", "sir": "tod.selection_audit/1"}
    for name, described in names.items():
        written = plain(audit(recipe(name), name=name, sizes=(2,)).to_dict())
        assert complaints(written, schema(described)) == []


def test_the_command_prints_one_lists_all_and_knows_no_other() -> None:
    run = CliRunner().invoke
    assert json.loads(run(app, ["schema", "plan"]).output) == schema("tod.plan/1")
    assert run(app, ["schema", "tod.plan/1"]).output == run(app, ["schema", "plan"]).output
    assert run(app, ["schema"]).output.split() == [*RECORDS, "tod.recipe/1"]
    assert isinstance(run(app, ["schema", "plam"]).exception, SpecError)
