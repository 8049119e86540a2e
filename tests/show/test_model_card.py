"""The card next to a model's weights: its head as hubs read it, the verdict, a recipe that runs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tod.diagnosis import verdict_of_run
from tod.runs import RunDirectory
from tod.show import load
from tod.show.model_card import model_card
from tod.show.page.run_data import RunView
from tod.show.report import write_run


@pytest.fixture(scope="module")
def view(run_path: Path) -> RunView:
    return load(run_path)


def block(card: str, heading: str) -> str:
    """What stands below a heading."""
    return card.partition(f"\n## {heading}")[2].partition("\n## ")[0]


def head(card: str) -> dict[str, object]:
    """As a hub reads it."""
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_the_verdict_and_its_reasons_are_those_of_the_run(run_path: Path, view: RunView) -> None:
    found = verdict_of_run(run_path).regime
    said = block(model_card(view), "Verdict: ")
    assert said.partition("\n")[0].replace("-", "_") == found.verdict
    assert [line[2:] for line in said.splitlines() if line.startswith("* ")] == [
        " ".join(reason.why.split()) for reason in found.reasons
    ]


def test_figures_are_those_of_the_records(run_path: Path, view: RunView) -> None:
    """Held-out pass@1 is read again here; a figure that is not known has no row."""
    held = [r["held_out"] for r in RunDirectory.open(run_path).steps.read() if r.get("held_out")]
    ends = f"{100 * held[0]['pass_at_1']:.1f} → {100 * held[-1]['pass_at_1']:.1f} %"
    rows = block(model_card(view), "Figures")
    assert f"| Held-out pass@1 | {ends} |" in rows
    assert "| – |" not in rows


def test_the_triple_is_told(view: RunView) -> None:
    said = block(model_card(view), "What it aims at")
    assert "q* ∝ π_old^0.75·π_ref^0.25·exp(5·correct)" in said
    assert "source old, prompts 32, size 16" in said
    assert "policy_gradient, level sequence_mean, trust_region clip" in said


def test_the_recipe_in_it_is_the_run_s_without_its_place(view: RunView) -> None:
    placed = replace(view, recipe={**view.recipe, "output": "/home/me/x", "track": ["wandb"]})
    card = model_card(placed)
    (text,) = re.findall(r"```yaml\n(.*?)```", card, re.S)
    assert yaml.safe_load(text) == view.recipe
    assert "/home/me" not in card


@pytest.mark.parametrize(
    ("model", "base"),
    [("org/name", "org/name"), ("tod://tiny", None), ("./mine/model", None), ("a/b/c", None)],
)
def test_a_base_is_named_where_hubs_know_it(view: RunView, model: str, base: str | None) -> None:
    card = model_card(replace(view, recipe={**view.recipe, "model": model}))
    assert head(card).get("base_model") == base
    assert head(card)["library_name"] == "transformers"


def test_a_local_base_is_named_without_its_path(view: RunView, tmp_path: Path) -> None:
    model = tmp_path / "base"
    model.mkdir()
    recipe = {**view.recipe, "model": str(model), "peft": {"kind": "lora"}}
    card = model_card(replace(view, recipe=recipe), adapters=True)
    assert "Adapters of `base`, trained for 40 steps." in card
    assert head(card)["library_name"] == "peft"
    assert "AutoPeftModelForCausalLM" in block(card, "Use")


def test_what_a_file_says_stays_in_its_cell(view: RunView) -> None:
    recipe = {**view.recipe, "name": "a\x1b[31m"}
    card = model_card(replace(view, recipe=recipe))
    assert "\x1b" not in card


def test_a_run_without_weights_has_no_card(run_path: Path) -> None:
    assert write_run(run_path, html=False) is None
    assert not (run_path / "model").exists()
