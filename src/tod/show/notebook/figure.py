"""A figure of the pages as an object: a notebook draws it, and it can be written as SVG."""

import re
from dataclasses import dataclass
from pathlib import Path

from tod.base.brief import WIDTH, first_lines
from tod.base.errors import RunError
from tod.show.figures.plot import Plot
from tod.show.figures.plot import figure as drawn
from tod.show.figures.svg import Html, tag
from tod.show.notebook.piece import piece

__all__ = ["Figure"]

WIDER = 1.3
"""How much wider than it was drawn a figure may stand, so that its letters stay those of text."""


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure.

    Attributes:
        title: Its heading.
        drawn: Its markup as the pages have it.
    """

    title: str
    drawn: Html

    @classmethod
    def of(cls, plot: Plot) -> "Figure":
        """A plot as a figure."""
        return cls(plot.title, drawn(plot))

    @property
    def svg(self) -> str:
        """The drawing alone as a file of its own: no heading, legend or note.

        Raises:
            RunError: The figure has no drawing.
        """
        found = re.search(r"<svg.*?</svg>", self.drawn, re.DOTALL)
        if found is None:
            raise RunError(f"{self.title}: there is no drawing to write.")
        box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', found[0])
        size = f' width="{box[1]}" height="{box[2]}"' if box else ""
        inside = found[0].replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg"{size}', 1)
        styled = re.search(r"<style>.*?</style>", piece(Html(inside)), re.DOTALL)
        assert styled is not None  # noqa: S101 - every piece has its style
        head, _, rest = inside.partition(">")
        return f'{head} class="tod-card">{styled[0]}{rest}'

    def save(self, path: Path | str) -> Path:
        """Write the drawing as an SVG file.

        Raises:
            RunError: It cannot be written.
        """
        from tod.show.output import put

        return put(self.svg, Path(path), "nothing else", "path")

    def __repr__(self) -> str:
        told = re.search(r"<desc>(.*?)</desc>", self.drawn, re.DOTALL)
        return "\n".join(first_lines([f"Figure: {self.title}"[:WIDTH], *_words(told)]))

    def _repr_html_(self) -> str:
        width = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+)', self.drawn)
        most = None if width is None else f"max-width: {WIDER * float(width[1]):.0f}px"
        return str(piece(tag("div", self.drawn, style=most)))


def _words(told: re.Match[str] | None) -> list[str]:
    """What is drawn, in words."""
    from html import unescape
    from textwrap import wrap

    if told is None:
        return []
    return wrap(unescape(told[1]), WIDTH, initial_indent="  ", subsequent_indent="  ")
