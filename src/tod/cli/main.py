"""The `tod` command: registers every subcommand; bodies import what they need when they run."""

import os
import sys

import typer

from tod.base.errors import TodError
from tod.cli.arc import replay_command
from tod.cli.atlas import atlas
from tod.cli.demo import demo
from tod.cli.diagnose import diagnose_command
from tod.cli.plan import plan_command
from tod.cli.report import report_command
from tod.cli.run import run
from tod.cli.study import study

app = typer.Typer(
    name="tod",
    help=(
        "Post-training recipes as triples: target, operator, diagnostics.\n\n"
        "Train or search with a recipe, ask whether a run is healthy, compare recipes."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("demo")(demo)
app.command("diagnose")(diagnose_command)
app.command("plan")(plan_command)
app.command("report")(report_command)
app.add_typer(atlas, name="atlas")
arc = typer.Typer(help="The controller.", no_args_is_help=True, rich_markup_mode=None)
arc.callback()(lambda: None)
arc.command("replay")(replay_command)
app.add_typer(arc, name="arc")
app.add_typer(study, name="study")


def main() -> None:
    """Run the command line: exit 0 on success, 2 on bad input, 130 on Ctrl-C.

    A person's error is one message on stderr; ``--debug`` anywhere on the line shows the traceback.
    """
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app(standalone_mode=True)
    except TodError as error:
        if debug:
            raise
        print(f"tod: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("tod: interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away (`tod ... | head`); nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
