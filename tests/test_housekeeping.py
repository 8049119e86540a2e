"""Files for people who join: they agree with the project that they speak of."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line and not line.startswith("#")
)


def yaml_of(path: str) -> dict[str, object]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_hooks_run_the_project_s_own_ruff() -> None:
    (repo,) = yaml_of(".pre-commit-config.yaml")["repos"]
    assert repo["rev"] == f"v{PINNED['ruff']}"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml_of("CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(PROJECT['version'])}\b", changes, re.M)


def test_the_workflow_runs_what_a_person_runs() -> None:
    steps = yaml_of(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_every_template_can_be_read() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml_of(path.relative_to(ROOT).as_posix())
        assert path.name == "config.yml" or {"name", "description", "body"} <= set(form)


def test_every_document_is_in_the_page_on_compatibility() -> None:
    """By the names of schemas that stand in the source, in both directions."""
    done = subprocess.run(
        ["git", "grep", "-hoE", r'"tod\.[a-z_]+/[0-9]+"', "--", "src"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    written = {name.strip('"') for name in done.stdout.split()}
    page = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(tod\.[a-z_]+/\d+)` \|", page, re.M)
    assert sorted(rows) == sorted(written)


def test_every_extra_is_pinned() -> None:
    """What an extra names first is in constraints.txt, so that two installs are alike."""
    known = {name.lower().replace("_", "-") for name in PINNED}
    for extra, wanted in PROJECT["optional-dependencies"].items():
        names = {re.match(r"[\w-]+", item)[0].lower().replace("_", "-") for item in wanted}
        assert names - known <= {"tod-posttrain"}, extra
