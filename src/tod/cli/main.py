"""The `tod` command: registers every subcommand; bodies import what they need when they run."""

import os
import sys
import traceback

import typer

from tod.base.streams import guarded
from tod.cli.arc import replay_command
from tod.cli.atlas import atlas
from tod.cli.check import check_command
from tod.cli.command import Command, Commands
from tod.cli.demo import demo
from tod.cli.diagnose import diagnose_command
from tod.cli.failures import told
from tod.cli.plan import plan_command
from tod.cli.report import report_command
from tod.cli.run import run
from tod.cli.schema import schema_command
from tod.cli.selftest import selftest_command
from tod.cli.study import study
from tod.cli.swap import swap_command
from tod.cli.watch import watch_command

app = typer.Typer(
    name="tod",
    cls=Commands,
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
for _name, _body in (
    ("run", run),
    ("demo", demo),
    ("diagnose", diagnose_command),
    ("watch", watch_command),
    ("plan", plan_command),
    ("check", check_command),
    ("report", report_command),
    ("schema", schema_command),
    ("selftest", selftest_command),
    ("swap", swap_command),
):
    app.command(_name, cls=Command)(_body)
app.add_typer(atlas, name="atlas")
arc = typer.Typer(help="The controller.", no_args_is_help=True, rich_markup_mode=None)
arc.callback()(lambda: None)
arc.command("replay", cls=Command)(replay_command)
app.add_typer(arc, name="arc")
app.add_typer(study, name="study")


def main() -> None:
    """Run the command line: exit 0 on success, 2 on bad input, 1 on a fault, 130 on Ctrl-C.

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
