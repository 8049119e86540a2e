"""The card of a trained model, next to its weights: what it aims at, the verdict, the figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tod.base import SpecError
from tod.base.text import DASH, visible
from tod.show.output import put
from tod.show.page.headline import facts
from tod.show.page.run_data import RunView
from tod.show.words import sentence, verdict_words

__all__ = ["has_weights", "model_card", "write_card"]

FOLDER, NAME = "model", "README.md"
"""Where a run has its weights, and the name under which hubs look for a card."""


def has_weights(directory: Path) -> bool:
    """Whether a run has a trained model."""
    return (directory / FOLDER / "config.json").exists() or _adapters(directory)


def write_card(directory: Path, view: RunView) -> None:
    """Write the card of a run's model.

    Args:
        directory: The run's.
        view: What is known of it, with its verdict.

    Raises:
        RunError: The file cannot be written.
    """
    card = model_card(view, adapters=_adapters(directory))
    put(card, directory / FOLDER / NAME, "the run itself")


def model_card(view: RunView, *, adapters: bool = False) -> str:
    """The card as Markdown, with the head that hubs read. What is not known is left out.

    Args:
        view: The run.
        adapters: Whether the weights are adapters of the base model.
    """
    recipe = view.recipe
    parts = [
        f"---\n{yaml.safe_dump(_head(recipe, adapters), sort_keys=False)}---\n",
        f"# {visible(str(recipe['name']))}\n",
        f"{_base(recipe)}, trained for {view.steps[-1]['step']} steps.\n",
        *_triple(recipe),
        *_verdict(view),
        *_figures(view),
        *_use(adapters),
        *_recipe(view),
    ]
    return "\n".join(parts)


def _adapters(directory: Path) -> bool:
    return (directory / FOLDER / "adapter_config.json").exists()


def _head(recipe: Mapping[str, Any], adapters: bool) -> dict[str, Any]:
    """What hubs read: the library, the base where it is a hub's, the method."""
    head: dict[str, Any] = {"library_name": "peft" if adapters else "transformers"}
    model = str(recipe["model"])
    if model.count("/") == 1 and not model.startswith((".", "~")) and not Path(model).exists():
        head["base_model"] = model
    return {**head, "pipeline_tag": "text-generation", "tags": ["tod", str(recipe["name"])]}


def _base(recipe: Mapping[str, Any]) -> str:
    """What was trained; of a path its last name alone."""
    model = str(recipe["model"])
    name = Path(model).name if Path(model).exists() else model
    return f"Adapters of `{name}`" if recipe.get("peft") else f"`{name}`"


def _triple(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Target, operator, and what is measured of them."""
    from tod.diagnosis.target import parse_target

    try:
        target = str(parse_target(recipe["target"]).target)
    except SpecError:
        target = str(recipe["target"].get("kind"))
    operator = recipe["operator"]
    proposal, action = operator["proposal"], operator["action"]
    drawn = [
        f"{name} {proposal[name]}" for name in ("source", "prompts", "size") if name in proposal
    ]
    yield "## What it aims at\n"
    yield from _table(
        ("", "what it is"),
        [
            ("target", target),
            ("operator: proposal", ", ".join(drawn)),
            ("operator: action", ", ".join([action["kind"], *_words(action)])),
        ],
    )


def _words(action: Mapping[str, Any]) -> Iterator[str]:
    """What an action is made of, in a word each."""
    for name, value in action.items():
        kind = value.get("kind") if isinstance(value, Mapping) else value
        if name != "kind" and isinstance(kind, str):
            yield f"{name} {kind}"


def _verdict(view: RunView) -> Iterator[str]:
    """The verdict as `tod diagnose` of the run says it, its reasons, and the findings."""
    regime = view.judged["regime"]
    if regime is None:
        return
    words = verdict_words(regime["verdict"])
    yield f"## Verdict: {words.name}\n"
    yield f"{sentence(regime['verdict'])}\n"
    yield from (f"* {_line(reason['why'])}" for reason in regime["reasons"])
    if regime["reasons"]:
        yield ""
    if view.findings is not None:
        yield f"{_line(str(view.findings).splitlines()[0])}\n"


def _figures(view: RunView) -> Iterator[str]:
    rows = [(tile.name, tile.value, tile.beside) for tile in facts(view) if tile.value != DASH]
    if rows:
        yield "## Figures\n"
        yield from _table(("figure", "value", ""), rows)


def _use(adapters: bool) -> Iterator[str]:
    """How to load it."""
    library, name = (
        ("peft", "AutoPeftModelForCausalLM")
        if adapters
        else ("transformers", "AutoModelForCausalLM")
    )
    yield "## Use\n"
    yield f"```python\nfrom {library} import {name}\n"
    yield f'model = {name}.from_pretrained("model")\n```\n'


def _recipe(view: RunView) -> Iterator[str]:
    """All that a rerun needs, without the place where this one was written."""
    kept = {key: value for key, value in view.recipe.items() if key not in ("output", "track")}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    versions = {
        name: version
        for name, version in (view.environment.get("versions") or {}).items()
        if version is not None
    }
    yield "## Recipe\n"
    yield "Saved as `recipe.yaml`, `tod run recipe.yaml` trains it again.\n"
    yield f"```yaml\n{text}```\n"
    if versions:
        yield f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(_line(cell).replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _line(text: str) -> str:
    """One line of text that a file may hold."""
    return " ".join(visible(str(text)).split())
