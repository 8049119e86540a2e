"""`tod search RECIPE`: draw candidates of every prompt, put answers out, judge the selection."""

from pathlib import Path
from typing import Annotated

import typer

from tod.base import SpecError
from tod.cli.options import Html, Json, Overrides, Overwrite, Threads, panel
from tod.cli.rerank import Answers, Gold, Rule, told

to_draw = panel("What is searched")
LINES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
"""Kind of a task by the suffix of its file."""


def search_command(
    recipe: Annotated[
        str, typer.Argument(help="A recipe whose action selects: best_of_k, sir, majority_vote…")
    ] = "best_of_k",
    overrides: Overrides = None,
    prompts: Annotated[
        Path | None,
        to_draw(help="JSON lines or Parquet of prompts: all of them are searched."),
    ] = None,
    rule: Rule = None,
    gold: Gold = None,
    output: Answers = None,
    resume: Annotated[
        bool, to_draw("--resume", help="Go on after the last whole batch on disk.")
    ] = False,
    overwrite: Overwrite = False,
    allow_imports: Annotated[
        bool, to_draw("--allow-imports", help="Let the recipe import reward functions of yours.")
    ] = False,
    threads: Threads = None,
    html: Html = None,
    json_out: Json = None,
) -> None:
    """Draw K candidates of every prompt and select an answer.

    Says what selection gains and whether more candidates would help. Writes a run directory with
    its candidates and answers.jsonl; tod rerank on it gives the same answers, and tries other rules
    without drawing again. Overrides are dotted, as in tod run.

    Example: tod search best_of_k operator.proposal.size=8 search.contexts=64 output=runs/bon

    Your prompts, your model: tod search sir --prompts p.jsonl model=Qwen/Qwen3-0.6B
    """
    import torch  # noqa: F401 - its absence is said before anything is read

    from tod.cli.run import carried_out
    from tod.engine.which_recipe import settings_of
    from tod.reranking.rerank import rerank

    words = ("search.split=all", *_of_file(prompts), *(overrides or ()))
    if not resume and not settings_of(recipe, (), resume=False).selects:
        raise SpecError(
            f"{recipe} trains: `tod run {recipe}`. A search needs an action that selects: "
            "best_of_k, sir, rejection, majority_vote, weighted_vote, mbr."
        )
    settings = settings_of(recipe, words, resume)
    progress, path = carried_out(
        settings,
        words,
        "-" if "-" in (json_out, output) else None,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        allow_imports=allow_imports,
    )
    if progress is not None:
        found = rerank(str(path), rule, gold=gold)
        told(found, output, html, json_out, path / "answers.jsonl")


def _of_file(prompts: Path | None) -> tuple[str, ...]:
    """Overrides that make all prompts of a file the task.

    Raises:
        SpecError: Its suffix says no kind, or it is not there.
    """
    if prompts is None:
        return ()
    kind = LINES.get(prompts.suffix.lower())
    if kind is None:
        raise SpecError(
            f"--prompts {prompts}: a file of prompts is JSON lines (.jsonl) or Parquet (.parquet), "
            "with a column `prompt`."
        )
    if not prompts.is_file():
        raise SpecError(f"--prompts {prompts}: no such file. It is looked for from here.")
    return (
        f"task={{kind: {kind}, path: {str(prompts)!r}, held_out: 0.0}}",
        f"search.contexts={max(_rows(prompts, kind), 1)}",
    )


def _rows(prompts: Path, kind: str) -> int:
    """Rows of a file of prompts."""
    if kind == "parquet":
        import polars as pl

        from tod.formats.parquet import collect, scan

        return int(collect(prompts, scan(prompts).select(pl.len())).item())
    with open(prompts, "rb") as file:
        return sum(1 for line in file if line.strip())
