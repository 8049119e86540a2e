"""`tod demo`: the quickstart recipe on the embedded model."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from tod.base.streams import is_hushed
from tod.cli.options import Overrides, Overwrite, Threads
from tod.cli.run import run


def demo(
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Where the run is written.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
    threads: Threads = None,
) -> None:
    """Train the embedded model on countdown; say what to try next.

    About a minute. The model writes characters; the recipe is `quickstart`.

    Example: tod demo --output runs/first
    """
    from tod.show.screen import Screen

    words = [*(overrides or ()), f"output={output}"]
    run("quickstart", words, overwrite=overwrite, threads=threads)
    if is_hushed():
        return
    screen = Screen()
    for line in following(output, command()):
        screen.print(line, soft_wrap=True)


def following(directory: Path, tod: str) -> list[str]:
    """What to open after the demo, and what to try next.

    Args:
        directory: Where the run was written.
        tod: How this command is called.
    """
    other = directory.with_name("gspo")
    return [
        "",
        f"Open {directory / 'report.html'} in a browser: one file, offline. Then try:",
        f"  {tod} diagnose {directory}",
        "      is the run healthy, and which prompts are not",
        f"  {tod} plan {directory}",
        "      what sharpness and how many samples per prompt it can afford",
        f"  {tod} run gspo train.steps=20 output={other}",
        "      another recipe; `atlas list` names them all",
        f"  {tod} report {directory} {other}",
        "      both, side by side",
    ]


def command() -> str:
    """How this program was called: by name where the shell finds it, else by path."""
    called = Path(sys.argv[0])
    known = shutil.which("tod")
    if known is not None and called.exists() and Path(known).samefile(called):
        return "tod"
    return str(called) if called.name == "tod" else f"{sys.executable} -m tod.cli.main"
