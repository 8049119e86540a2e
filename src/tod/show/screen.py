"""The console of every command: text as it is, colour, tables."""

from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tod.base.streams import Guarded, is_hushed
from tod.base.text import visible


class Screen(Console):
    """A rich console that prints text as it is: no markup, no highlighting, nothing that steers.

    One of stderr shows progress, which ``--quiet`` leaves out.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False, **options: Any) -> None:
        options = {"highlight": False, "markup": False, "emoji": False, **options}
        super().__init__(stderr=stderr, quiet=quiet or (stderr and is_hushed()), **options)

    @property
    def file(self) -> IO[str]:
        """The stream behind the guard: what is printed here has been made visible."""
        stream = super().file
        return stream.raw if isinstance(stream, Guarded) else stream

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments whose text is visible; before layout where text is known as such."""
        if isinstance(renderable, str):
            renderable = visible(renderable)
        elif isinstance(renderable, Text) and not renderable.plain.isprintable():
            renderable = renderable.copy()
            renderable.plain = visible(renderable.plain)
        for segment in super().render(renderable, options):
            plain = segment.control is not None or segment.text.isprintable()
            yield segment if plain else Segment(visible(segment.text), segment.style)


def table(words: Sequence[str], numbers: Sequence[str] = (), **options: Any) -> Table:
    """An empty table of columns of words, which fold, and then of numbers, to the right."""
    made = Table(**{"box": box.SIMPLE_HEAD, "pad_edge": False, **options})
    for name in words:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    return made
