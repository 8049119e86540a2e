"""What a run was made with."""

import json
import subprocess
import sys

from tod.runs import collect_environment


def test_plain_data_with_every_part(tmp_path):
    found = collect_environment(tmp_path)
    json.dumps(found, allow_nan=False)
    assert set(found) == {"versions", "hardware", "threads", "git"}
    assert found["versions"]["numpy"]
    assert found["hardware"]["cpus"] >= 1


def test_outside_a_repository_git_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect_environment(tmp_path)["git"] is None


def test_inside_a_repository(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "m")
    state = collect_environment(tmp_path)["git"]
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert collect_environment(tmp_path)["git"]["dirty"] is True


def test_neither_torch_nor_polars_is_imported():
    code = (
        "import sys, tod.runs; tod.runs.collect_environment();"
        "print([m for m in ('torch', 'polars', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
