"""`tod selftest`: counts, bounds, exit codes."""

import json

import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.cli.selftest import FULL, SEEDS
from tod.findings.detectors.mismatch import MismatchDetector

RUNNER = CliRunner()


def test_the_table_counts_what_was_named():
    said = RUNNER.invoke(app, ["selftest", "--only", "mismatch"])
    assert said.exit_code == 0, said.output
    assert f"{SEEDS} of {SEEDS}" in said.output
    assert f"faults named first: {SEEDS} of {SEEDS}" in said.output


def test_a_blind_detector_fails_it(monkeypatch):
    monkeypatch.setattr(MismatchDetector, "look", lambda self, run: ())
    said = RUNNER.invoke(app, ["selftest", "--only", "mismatch"])
    assert said.exit_code == 1
    assert "below its bound: sampler mismatch: named in 0 of 5, not 95%" in said.output


def test_the_counts_as_json():
    said = RUNNER.invoke(
        app, ["selftest", "--only", "pairs (K", "--first-seed", "7", "--json", "-"]
    )
    data = json.loads(said.stdout)
    assert said.exit_code == 0
    assert data["schema"] == "tod.selftest/1"
    assert (data["first_seed"], data["runs_per_scenario"], data["passed"]) == (7, SEEDS, True)
    assert data["healthy"] == [{"name": "pairs (K = 2)", "runs": SEEDS, "faults": 0, "critical": 0}]
    assert data["faults"] == []


def test_a_word_that_is_in_no_name_is_bad_input():
    said = RUNNER.invoke(app, ["selftest", "--only", "nothing like it"])
    assert said.exit_code != 0
    assert "no scenario" in str(said.exception)


@pytest.mark.slow
def test_in_full_it_holds():
    said = RUNNER.invoke(app, ["selftest", "--full", "--json", "-"], catch_exceptions=False)
    data = json.loads(said.stdout)
    assert data["passed"], data["missed"]
    assert data["runs_per_scenario"] == FULL
