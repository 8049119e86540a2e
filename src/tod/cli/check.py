"""`tod check CONFIG`: is anything in a configuration other than it seems, before its launch?"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tod.cli.configured import ReadConfiguration
from tod.cli.options import Framework, Json, Method, Set, Version, panel, told_of

to_read = panel("What to check against")
to_write = panel("Output")
EXITS = {None: 0, "look": 3, "stop": 4}
"""Exit codes by the worst remark; 2 is bad input."""


def check_command(
    config: Annotated[
        Path, typer.Argument(help="Any of thirteen frameworks' files, or a recipe of ours.")
    ],
    against: Annotated[
        Path | None, to_read(help="The configuration of the last run: what changed since.")
    ] = None,
    pilot: Annotated[
        Path | None, to_read(help="Rollouts of a few steps: what they say of η and K.")
    ] = None,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    verbose: Annotated[bool, to_write("--verbose", "-v", help="Everything, in full.")] = False,
    markdown: Annotated[
        str | None, to_write(help="Write it as Markdown to a file, or - for stdout.")
    ] = None,
    json_out: Json = None,
) -> None:
    """Check a configuration before its launch, by hand or in CI.

    What it aims at, settings without effect, keys that nobody knows, what changed against the last
    run, and what a pilot says of its sharpness and K. Exit code 0: nothing to look at, 3: something
    does other than it seems, 4: something cannot work; 2: it cannot be read.

    --framework, --method and --version are said of both files and --set of CONFIG; with `b:`, as in
    --method b:dpo, of the base alone.

    Example: tod check train_grpo.py --against grpo.yaml --pilot outputs/completions
    """
    from tod.base import SpecError
    from tod.configurations.check import check
    from tod.show.output import put_json, put_text
    from tod.show.terminal.check_screen import check_markdown, check_text

    said = told_of(framework, method, settings, version)
    of_none = next((name for name in said.settings if name.startswith("b:")), None)
    if of_none is not None and against is None:
        raise SpecError(f"--set {of_none}=…: is said of the base; name it with --against.")
    mine, theirs = said.of_two(str(config), str(against or config))
    of_base = {n: v for n, v in theirs.settings.items() if n not in said.settings}
    located = mine.locate(config)
    base = None if against is None else replace(theirs, settings=of_base).locate(against)
    file = ReadConfiguration(config, located, None)
    made = check(located, base, None if pilot is None else _diagnosed(file, pilot))
    free = put_json(made.to_dict(), json_out)
    if markdown is not None:
        free = not put_text(check_markdown(made, config.name), markdown, "--markdown") and free
    if free:
        typer.echo(check_text(made, verbose=verbose))
    if EXITS[made.worst]:
        raise typer.Exit(EXITS[made.worst])


def _diagnosed(config: ReadConfiguration, pilot: Path) -> dict[str, object]:
    """A pilot, diagnosed at the configuration's target."""
    from tod.cli.configured import expected_by
    from tod.cli.options import target_of
    from tod.diagnosis import diagnose
    from tod.formats import read

    reading, target, source, _ = target_of(None, config, read([str(pilot)], digest=hash))
    found = diagnose(reading, target, target_source=source, expected=expected_by(config))
    return dict(found.to_dict())
