"""A table of runs on a terminal while they go on, and elsewhere a line for every one that ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from tod.base.streams import is_hushed
from tod.study.executors.tally import Tally

if TYPE_CHECKING:
    from rich.live import Live

    from tod.show.screen import Screen

Told = Callable[..., None]
ROWS = 12
"""Runs under way that the table shows."""
WIDTH = 80


class RunsTable:
    """How the runs of a call stand, in at most 80 columns and 24 lines.

    Args:
        console: Where; a terminal shows the table as it changes, anything else lines.
        tries: How often a run is handed out at most.
    """

    def __init__(self, console: "Screen", tries: int) -> None:
        self._console, self._tries = console, tries
        self._live: Live | None = None

    def tell(
        self,
        done: float,
        total: int,
        seconds: float | None,
        name: str,
        tally: Tally | None = None,
        lost: str | None = None,
    ) -> None:
        """Show how it stands.

        Args:
            done: Runs that are there, with the share of those under way.
            total: Runs in all.
            seconds: Until the end; None: not known.
            name: What ended, or is tried again; empty: nothing.
            tally: What is under way.
            lost: Why the worker of ``name`` was lost; None: it ended.
        """
        tally = Tally() if tally is None else tally
        if self._live is not None:
            self._live.update(self._table(done, total, seconds, tally))
        elif name and lost is not None:
            next_try = tally.lost.get(name, 0) + 1
            self._console.print(f"lost: {name}: {lost}; try {next_try} of {self._tries}")
        elif name:
            self._console.print(", ".join([*_words(done, total, seconds), name]))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """On a terminal the table, from now on to the end."""
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        from rich.live import Live

        with Live(console=self._console, refresh_per_second=4) as live:
            self._live = live
            yield

    def _table(
        self, done: float, total: int, seconds: float | None, tally: Tally
    ) -> RenderableType:
        from tod.show.screen import table

        bar = ProgressBar(total=max(total, 1), completed=min(done, total), width=WIDTH)
        head = Text(standing(done, total, seconds, tally))
        rows = table(("run", "where"), ("said", "try"), width=WIDTH)
        for name, row in list(tally.under_way.items())[:ROWS]:
            said = f"step {row.said}" if isinstance(row.said, int) else ""
            rows.add_row(_cut(name, 34), _cut(row.where or "waiting", 20), said, f"{row.number}")
        more = len(tally.under_way) - ROWS
        last = [Text(f"and {more} more under way")] if more > 0 else []
        return Group(head, bar, rows, *last)


def standing(done: float, total: int, seconds: float | None, tally: Tally) -> str:
    """How many runs are finished, under way, lost and tried again, failed; the time left.

    >>> standing(3.4, 24, 90.0, Tally(lost={"a": 1}))
    '3 of 24 finished, 0 running, 1 lost and tried again, 1.5 min left'
    """
    waiting = len(tally.under_way) - tally.running
    words = [f"{int(done + 1e-9)} of {total} finished", f"{tally.running} running"]
    words += [f"{waiting} waiting"] if waiting else []
    tried = sum(name not in tally.failed for name in tally.lost)
    words += [f"{tried} lost and tried again"] if tried else []
    words += [f"{len(tally.failed)} failed"] if tally.failed else []
    words += [] if seconds is None else [f"{duration(seconds)} left"]
    return ", ".join(words)


def _words(done: float, total: int, seconds: float | None) -> list[str]:
    left = [] if seconds is None else [f"{duration(seconds)} left"]
    return [f"{int(done + 1e-9)} of {total}", *left]


def _cut(text: str, width: int) -> str:
    """Text that fits; of a longer one its end, in which names of runs differ."""
    return text if len(text) <= width else "…" + text[1 - width :]


@contextmanager
def runs_table() -> Iterator[Told]:
    """What to tell how runs stand, on stderr; nothing where the command is to be quiet."""
    from tod.show.screen import Screen
    from tod.study.executors.carry_out import TRIES

    shown = RunsTable(Screen(stderr=True, quiet=is_hushed()), TRIES)
    with shown.shown():
        yield shown.tell


def duration(seconds: float) -> str:
    """``12.3 min``, ``1.5 h``.

    >>> duration(90.0), duration(7200.0)
    ('1.5 min', '2.0 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(seconds / 60, 0.1):.1f} min"
