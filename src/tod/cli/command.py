"""The classes of the commands: guarded streams, and help whose options stand in groups."""

import re
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tod.base.streams import guarded

_OPTION = re.compile(r"--?[A-Za-z]")


class Commands(TyperGroup):
    """A group of commands; while one runs, nothing that is printed steers the terminal."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name."""
        with guarded():
            return super().main(*args, **options)


class Command(TyperCommand):
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
        return super().parse_args(ctx, args)

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
