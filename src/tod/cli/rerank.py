"""`tod rerank PATH...`: put answers out of scored candidates, rules side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tod.cli.options import Aim, Eta, Format, Html, Json, Map, Steps, panel, parse_map, target_of

if TYPE_CHECKING:
    from tod.reranking.rerank import Reranked

to_read, to_select, to_write = (
    panel("What is read"),
    panel("How it selects"),
    panel("Where it is written"),
)
Rule = Annotated[
    list[str] | None,
    to_select(
        "--rule",
        help="best_of_k, sir, vote, weighted_vote, mbr, rejection; several are compared, the first "
        "is judged.",
    ),
]
Gold = Annotated[
    str | None,
    to_select(help="A second score, which no rule reads: is the first one over-optimised?"),
]
Pattern = Annotated[
    str | None,
    to_select("--answer", help="Regular expression of what votes count in a response."),
]
Answers = Annotated[
    str | None,
    to_write("--output", "-o", help="Answers as JSON lines, one a prompt and rule; - for stdout."),
]


def rerank_command(
    paths: Annotated[
        list[str],
        typer.Argument(help="Scored candidates: files, globs, directories, a run of tod search."),
    ],
    format_: Format = "auto",
    mapping: Map = None,
    steps: Steps = None,
    group_by: Annotated[
        str,
        to_read(
            help="step: a prompt that comes again at another step is another; context: it is one."
        ),
    ] = "step",
    max_rejected: Annotated[
        float,
        to_read(help="Share of rows without a reward, or of no use, beyond which reading fails."),
    ] = 0.01,
    rule: Rule = None,
    k: Annotated[
        int | None, to_select("--k", help="Use the first K candidates of every prompt.", min=1)
    ] = None,
    eta: Eta = None,
    target: Aim = None,
    gold: Gold = None,
    answer: Pattern = None,
    seed: Annotated[
        int | None, to_select(help="Seed of what is drawn; default: the run's own, else 0.")
    ] = None,
    output: Answers = None,
    html: Html = None,
    json_out: Json = None,
) -> None:
    """Select answers among scored candidates; is K enough?

    Reads what tod diagnose reads, and plain JSON lines or Parquet with columns such as prompt,
    response, reward. Needs no model and no torch.

    Example: tod rerank outputs/completions --rule best_of_k --rule sir --eta 2 -o answers.jsonl

    By votes, each for what follows "####": tod rerank x.jsonl --rule vote --answer '#### (.+)'

    Judged by another score: tod rerank x.parquet --map reward=proxy --gold human

    Other columns: tod rerank x.jsonl --map reward=score,context=qid,completion=output
    """
    from tod.reranking.rerank import rerank
    from tod.reranking.scored import read_scored

    reading = read_scored(
        paths,
        format_,
        mapping=parse_map(mapping or []),
        gold=gold,
        steps=steps,
        group_by=group_by,
        max_rejected=max_rejected,
    )
    reading, aim, _, _ = target_of(target, None, reading)
    found = rerank(reading, rule, k=k, eta=eta, target=aim, gold=gold, seed=seed, answer=answer)
    told(found, output, html, json_out)


def told(
    found: "Reranked",
    output: str | None,
    html: Path | None,
    json_out: str | None,
    already: Path | None = None,
) -> None:
    """Write answers, page and JSON where they are wanted, and the screen unless stdout is taken.

    ``already``: where the answers of the first rule are.
    """
    from tod.reranking.answers_file import said
    from tod.show.output import put_json
    from tod.show.terminal.rerank_screen import show

    written = None if already is None else str(already)
    if output == "-":
        found.print_answers()
    elif output is not None:
        written = said(found, found.write(output))
    if html is not None:
        from tod.show.page.rerank_page import write_rerank

        write_rerank(found, html)
    if put_json(found.to_dict(), json_out) and output != "-":
        show(found, written)
