"""The classes of the commands: guarded streams, and help that stands in panels."""

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tod.base.streams import guarded
from tod.cli.exits import EXITS
from tod.cli.manners import manners

_OPTION = re.compile(r"--?[A-Za-z]")


class Commands(TyperGroup):
    """A group of commands; while one runs, nothing that is printed steers the terminal."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Run the command that the arguments name."""
        words = sys.argv[1:] if args is None else args
        with manners(words) as rest, guarded():
            return super().main(rest, prog_name or "tod", *more, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a word; where only a group has it, its whole name is told."""
        if args and args[0] not in self.commands:
            for name, group in self.commands.items():
                if args[0] in getattr(group, "commands", ()):
                    whole = f"{ctx.command_path} {name} {args[0]}"
                    ctx.fail(f"No such command {args[0]!r}. Did you mean `{whole}`?")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands first, which are what is looked for; then options, then the exit codes."""
        self.format_commands(ctx, formatter)
        PanelCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]
        if ctx.parent is None:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), said) for code, said in EXITS.items()])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A section per panel, each command with one line."""
        panels: dict[str, list[Any]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                title = getattr(command, "rich_help_panel", None)
                panels.setdefault(title if isinstance(title, str) else "Commands", []).append(
                    command
                )
        wide = max(len(name) for name in self.commands)
        for title, commands in panels.items():
            rows = [(f"{c.name:<{wide}}", c.get_short_help_str(formatter.width)) for c in commands]
            with formatter.section(title):
                formatter.write_dl(rows)


class PanelCommand(TyperCommand):
    """A command whose help lists its options by the panel that each declares."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the line; an option that would swallow the next one as its value is refused."""
        valued = {
            name
            for param in self.get_params(ctx)
            if param.param_type_name == "option" and not getattr(param, "is_flag", False)
            for name in param.opts
        }
        for option, value in pairwise(args):
            if option == "--":
                break
            if option in valued and _OPTION.match(value):
                raise typer.BadParameter(
                    f"{option} needs a value, and {value!r} looks like an option. For a file of "
                    f"that name write {option}=./{value}; for stdout, where it is offered, "
                    f"{option} -.",
                    ctx,
                )
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            example = re.search(r"^ *Example: (.+)$", self.help or "", re.MULTILINE)
            if type(error).__name__ != "MissingParameter" or example is None:
                raise
            ctx.fail(f"{error}\nExample: {example[1]}")
        return args

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then a section per panel in the order of declaration."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if param.param_type_name == "argument" else "Options"
                panel = getattr(param, "rich_help_panel", None) or usual
                sections.setdefault(panel, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
