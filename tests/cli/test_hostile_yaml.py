"""One bounded loader behind every option that takes YAML: no hang, no traceback, the file named."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tod.base import SpecError
from tod.cli.main import app

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
TEXTS = {"aliases": BOMB, "deep": "a: " + "[" * 600 + "]" * 600}
COMMANDS = {
    "diagnose --target": ["diagnose", "DUMP", "--target", "YAML"],
    "diagnose --config": ["diagnose", "DUMP", "--config", "YAML"],
    "diagnose --operator": ["diagnose", "DUMP", "--operator", "YAML"],
    "diagnose --thresholds": ["diagnose", "DUMP", "--eta", "1", "--thresholds", "YAML"],
    "plan --target": ["plan", "DUMP", "--target", "YAML"],
    "run": ["run", "YAML"],
    "atlas locate": ["atlas", "locate", "YAML"],
    "atlas compare": ["atlas", "compare", "YAML", "grpo"],
    "atlas audit": ["atlas", "audit", "YAML"],
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_yaml_is_refused(tmp_path: Path, command: str, text: str) -> None:
    hostile, dump = tmp_path / "hostile.yaml", tmp_path / "1.jsonl"
    hostile.write_text(TEXTS[text])
    row = '{"input": "q", "output": "a", "score": 1.0, "step": 1, "uid": "g_0_0"}\n'
    dump.write_text(row)
    words = [{"DUMP": str(dump), "YAML": str(hostile)}.get(w, w) for w in COMMANDS[command]]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, SpecError), (result.output, result.exception)
    assert "hostile.yaml: not valid YAML" in str(result.exception)
