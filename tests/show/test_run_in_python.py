"""`tod.run`: quiet, the record's numbers, and one line without what training needs."""

import json
from pathlib import Path

import pytest
import yaml

import tod
import warm
from tod.show.run import _words

QUICK = '{"train.steps": 2, "evaluate": None, "operator.proposal.prompts": 4}'
RUN = f"""
import json, torch, tod
torch.set_num_threads(3)
run = tod.run("quickstart", {QUICK}, "operator.proposal.size=4", output="one", threads=1)
said = repr(run)
assert torch.get_num_threads() == 3
again = tod.run("one", resume=True)
assert again.directory == run.directory
assert again.to_frame().equals(run.to_frame())
print(json.dumps([str(run.directory), run.verdict, run.to_frame()["ess_rel.median"].to_list()]))
print(run.report())
for words in ({{"overwrite": True}}, {{"recipe": "gsop"}}):
    try:
        tod.run(**{{"recipe": "quickstart", **words}})
    except tod.base.TodError as error:
        print(error)
print(len(said.splitlines()), len(run._repr_html_()) > 0, len(run.plot().svg) > 0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder, and what a call printed."""
    here = tmp_path_factory.mktemp("run")
    done = warm.training().run(code=RUN, cwd=here)
    assert done.returncode == 0, done.stderr
    return here, done.stdout.splitlines()


def test_a_run_prints_nothing_of_its_own(told: tuple[Path, list[str]]) -> None:
    _, lines = told
    assert len(lines) == 5
    assert lines[1] == "one/report.html"
    assert lines[2].startswith("nothing is replaced without an `output`")
    assert "gspo" in lines[3]
    assert lines[4].split()[1:] == ["True", "True"]
    assert 1 < int(lines[4].split()[0]) <= 12


def test_a_run_has_the_numbers_of_its_record(told: tuple[Path, list[str]]) -> None:
    here, lines = told
    directory, verdict, medians = json.loads(lines[0])
    records = [json.loads(line) for line in (here / "one/steps.jsonl").read_text().splitlines()]
    assert directory == "one"
    assert medians == [record["ess_rel"]["median"] for record in records]
    assert len(medians) == 2
    recipe = json.loads((here / "one/manifest.json").read_text())["recipe"]
    assert recipe["train"]["steps"] == 2
    assert recipe["operator"]["proposal"]["size"] == 4
    assert recipe["evaluate"] is None
    found = tod.diagnose(tod.read(here / "one"))
    assert verdict == found.verdict


def test_the_card_of_the_model_lies_next_to_its_weights(told: tuple[Path, list[str]]) -> None:
    """With the verdict of the run, and a recipe that is the run's."""
    here, lines = told
    card = (here / "one/model/README.md").read_text(encoding="utf-8")
    assert f"## Verdict: {json.loads(lines[0])[1].replace('_', '-')}" in card
    recipe = yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0])
    made = json.loads((here / "one/manifest.json").read_text())["recipe"]
    assert {**recipe, "output": "one", "track": []} == made


def test_progress_is_printed_where_it_is_wanted(tmp_path: Path) -> None:
    code = f'import tod; tod.run("quickstart", {QUICK}, output="one", progress=True, threads=1)'
    done = warm.training().run(code=code, cwd=tmp_path)
    assert "quickstart: tod://tiny, writing one" in done.stdout
    assert "done: 2 steps" in done.stdout


def test_without_torch_the_extra_is_named_in_a_line(tmp_path: Path) -> None:
    server = warm.Server(("tod.show.run",), ("torch",))
    code = "import tod\ntry: tod.run('quickstart')\nexcept tod.base.TodError as e: print(e)"
    done = server.run(code=code, cwd=tmp_path)
    server.close()
    assert done.stdout == (
        "this needs torch, which is not installed: pip install 'tod-posttrain[train]'\n"
    )


def test_overrides_are_words_or_mappings() -> None:
    given = ("a.b=1", {"c": True, "d": None, "e": [1.5, "x"], "f": Path("p")})
    assert list(_words(given)) == ["a.b=1", "c=true", "d=null", 'e=[1.5, "x"]', 'f="p"']
    with pytest.raises(tod.base.SpecError, match="neither text"):
        list(_words((3,)))  # type: ignore[arg-type]
