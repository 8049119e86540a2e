"""The `tod` command: registers every subcommand; bodies import what they need when they run."""

import os
import sys
import traceback
from typing import Annotated

import typer

from tod.base.streams import guarded
from tod.cli.arc import replay_command
from tod.cli.atlas import atlas
from tod.cli.check import check_command
from tod.cli.check_sync import check_sync_command
from tod.cli.command import Commands, PanelCommand
from tod.cli.demo import demo
from tod.cli.diagnose import diagnose_command
from tod.cli.failures import told
from tod.cli.init import init_command
from tod.cli.manners import NO_COLOR, QUIET, versions
from tod.cli.plan import plan_command
from tod.cli.report import report_command
from tod.cli.rerank import rerank_command
from tod.cli.run import run
from tod.cli.schema import schema_command
from tod.cli.search import search_command
from tod.cli.selftest import selftest_command
from tod.cli.study import study
from tod.cli.swap import swap_command
from tod.cli.sweep import sweep_command
from tod.cli.watch import watch_command

app = typer.Typer(
    name="tod",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
TRAIN, ASK, KNOW, WORK = "Train and search", "Ask about a run", "Recipes", "Around them"
for _panel, _name, _body in (
    (TRAIN, "run", run),
    (TRAIN, "init", init_command),
    (TRAIN, "demo", demo),
    (TRAIN, "search", search_command),
    (ASK, "diagnose", diagnose_command),
    (ASK, "watch", watch_command),
    (ASK, "plan", plan_command),
    (ASK, "rerank", rerank_command),
    (KNOW, "check", check_command),
    (ASK, "check-sync", check_sync_command),
    (ASK, "report", report_command),
    (WORK, "schema", schema_command),
    (WORK, "selftest", selftest_command),
    (TRAIN, "swap", swap_command),
    (TRAIN, "sweep", sweep_command),
):
    app.command(_name, cls=PanelCommand, rich_help_panel=_panel)(_body)
app.add_typer(atlas, name="atlas", rich_help_panel=KNOW)
arc = typer.Typer(
    cls=Commands,
    help="The controller, on logged diagnostics.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
arc.callback()(lambda: None)
arc.command("replay", cls=PanelCommand)(replay_command)
app.add_typer(arc, name="arc", rich_help_panel=TRAIN)
app.add_typer(study, name="study", rich_help_panel=WORK)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(versions())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Versions, and exit.", is_eager=True, callback=_version),
    ] = False,
    quiet: Annotated[
        bool, typer.Option(QUIET, help="Results and errors alone: no progress, no warnings.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option(NO_COLOR, help="No colour; so does the variable NO_COLOR.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Is this post-training run healthy? What does a recipe aim at? Train, search.

    The options below may stand anywhere on the line.
    """


def main() -> None:
    """Run the command line; `tod.cli.exits` says what it exits with.

    A failure is one message on stderr; ``--debug`` anywhere on the line shows the traceback.
    """
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    with guarded():
        try:
            app(standalone_mode=True)
        except BrokenPipeError:
            # the reader went away (`tod ... | head`); nothing is left to say to it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            message, code = told(error)
            print(f"tod: {message}", file=sys.stderr)  # noqa: T201
            sys.exit(code)


if __name__ == "__main__":
    main()
