"""The classes of the commands: guarded streams, and help whose options stand in groups."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from tod.base.streams import guarded


class Commands(TyperGroup):
    """A group of commands; while one runs, nothing that is printed steers the terminal."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name."""
        with guarded():
            return super().main(*args, **options)


class Command(TyperCommand):
    """A command whose help lists its options by the panel that each declares."""

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
