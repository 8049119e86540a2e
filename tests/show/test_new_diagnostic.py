"""A diagnostic that is added in two files is shown everywhere by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIELD = "    top_mass_median: float | None = None\n"
COMPUTED = "        pareto_k_pooled=pareto_k,\n"
ROW = """
FACTS += (
    Fact(
        "tails.least_weight",
        "planted least weight",
        "Planted: the smallest ESS_rel there is.",
        "share",
        plot="Largest weights",
    ),
)
"""
SHOWN = """
import json, sys
from tod.diagnosis import diagnose
from tod.formats import read
from tod.runs.facts import metrics
from tod.show import diagnosis_page
from tod.show.schemas import schema
from tod.show.terminal.diagnosis_screen import show
found = diagnose(read(sys.argv[1]), eta=1.0)
show(found, [])
data = found.to_dict()
document = json.dumps(data)
page = diagnosis_page(found)
schemas = {name: schema(name) for name in ("tod.diagnosis/1", "tod.step/1")}
with open(sys.argv[2], "w") as file:
    json.dump({"data": data, "page": page, "schemas": schemas, "log": metrics(data)}, file)
"""


def planted(folder: Path) -> set[str]:
    """A copy of the package with one diagnostic more; the files that had to be touched."""
    shutil.copytree(ROOT / "src/tod", folder / "tod", ignore=shutil.ignore_patterns("*.pyc"))
    changes = {
        "diagnostics/summary.py": {
            FIELD: FIELD + "    least_weight: float | None = None\n",
            COMPUTED: COMPUTED + '        least_weight=columns("ess_rel").quantile(0.0),\n',
        },
        "runs/facts.py": {"BY_PATH = ": ROW + "\nBY_PATH = "},
    }
    for name, pairs in changes.items():
        path = folder / "tod" / name
        text = path.read_text()
        for before, after in pairs.items():
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path.write_text(text)
    return set(changes)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("planted")
    assert len(planted(folder)) == 2
    out = folder / "shown.json"
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, str(ROOT / "tests/cli/from_01/rollouts.jsonl"), str(out)],
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()) | {"screen": " ".join(done.stdout.split())}


def test_the_json_and_its_schema_hold_it(shown: dict[str, object]) -> None:
    data, schemas = shown["data"], shown["schemas"]
    assert 0 < data["tails"]["least_weight"] <= data["ess_rel"]["q10"]
    for described in schemas.values():
        place = described["$defs"]["Tails"]["properties"]["least_weight"]
        assert place["description"] == "Planted: the smallest ESS_rel there is."
        assert place["maximum"] >= 1


def test_the_terminal_the_page_and_the_log_show_it(shown: dict[str, object]) -> None:
    assert "planted least weight" in shown["screen"]
    page = shown["page"]
    assert "Planted: the smallest ESS_rel there is." in page
    curve = page[page.index("<h3>Largest weights") :]
    assert "planted least weight" in curve[: curve.index("</figure>")]
    assert shown["log"]["tails_least_weight"] == shown["data"]["tails"]["least_weight"]
