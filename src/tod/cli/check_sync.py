"""`tod check-sync`: does a server draw from the weights that it should hold?"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tod.cli.options import Json, Threads, panel

to_compare = panel("What is compared")
to_draw = panel("The probe")
OUT_OF_SYNC = 4


def check_sync_command(
    server: Annotated[str, to_compare("--server", help="Its address: http://HOST:PORT.")],
    model: Annotated[
        str,
        to_compare(
            "--model",
            help="The weights that it should hold: a directory, a hub id, a run, a tod:// name.",
        ),
    ],
    served_as: Annotated[
        str | None,
        to_compare("--served-as", help="What the server calls the model; default: as --model."),
    ] = None,
    earlier: Annotated[
        list[str] | None,
        to_compare(
            "--earlier", help="Older weights that it may still hold, the newest first; repeat it."
        ),
    ] = None,
    initial: Annotated[
        str | None, to_compare("--initial", help="The weights that training started from.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        to_compare("--dtype", help="Precision that the server computes in: what rounding does."),
    ] = "bfloat16",
    temperature: Annotated[
        float, to_draw("--temperature", help="Temperature to draw at.", min=1e-3)
    ] = 1.0,
    prompts: Annotated[
        Path | None, to_draw("--prompts", help="A file of prompts, one a line.")
    ] = None,
    size: Annotated[int, to_draw("--size", help="Answers to every prompt.", min=1)] = 8,
    longest: Annotated[
        int, to_draw("--max-tokens", help="Tokens of an answer at most.", min=1)
    ] = 32,
    seed: Annotated[int, to_draw("--seed", help="Seed of the draws.")] = 0,
    timeout: Annotated[
        float, to_draw("--timeout", help="Seconds that one request may take.", min=0.1)
    ] = 600.0,
    patience: Annotated[
        float, to_draw("--patience", help="Seconds that the server may be away.", min=0.0)
    ] = 10.0,
    deadline: Annotated[
        float, to_draw("--deadline", help="Seconds that all of it may take the server.", min=0.1)
    ] = 900.0,
    key: Annotated[
        str | None, to_compare("--key", help="Environment variable that holds the server's key.")
    ] = None,
    threads: Threads = None,
    json_out: Json = None,
) -> None:
    """Check that a server draws from the weights it should hold.

    Draws a few answers, has them scored by the server, and scores them here. A gap beyond rounding
    is named: older weights, those of the start, an old head, layer or adapter, a temperature, a
    cut, another tokenizer, a router that disagrees. Exit code 0: in sync, 4: not; 2: the server
    cannot be used at all, and why.

    Example: tod check-sync --server http://localhost:8000 --model runs/new --initial tod://tiny
    """
    import torch  # noqa: F401 - its absence is said before anything is asked

    from tod.engine.conduct import on_threads
    from tod.engine.served.check import TEXTS, check_server
    from tod.serving.spec import ServedPolicy
    from tod.show.output import put_json
    from tod.show.terminal.sync_screen import show

    spec = ServedPolicy(
        server=server,
        model=served_as or model,
        timeout=timeout,
        patience=max(patience, 1e-3),
        key=key,
    )
    with on_threads(threads):
        found = check_server(
            spec,
            model,
            earlier=earlier or (),
            initial=initial,
            dtype=dtype,
            temperature=temperature,
            prompts=TEXTS if prompts is None else _lines(prompts),
            size=size,
            longest=longest,
            seed=seed,
            seconds=deadline,
        )
    if put_json(found.to_dict(), json_out):
        show(found)
    if not found.good:
        raise typer.Exit(OUT_OF_SYNC)


def _lines(path: Path) -> list[str]:
    """The lines of a file that hold something.

    Raises:
        SpecError: It cannot be read, or holds none.
    """
    from tod.base import SpecError

    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"--prompts {path}: cannot be read ({error}).") from error
    if not found:
        raise SpecError(f"--prompts {path}: no prompts in it. Write one a line.")
    return found
