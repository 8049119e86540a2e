"""A bar of runs on a terminal, and elsewhere a line for every one that ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tod.base.streams import is_hushed

Told = Callable[[float, int, float | None, str], None]
"""How many are done, of how many, seconds left (None: not known), what ended (empty: nothing)."""


@contextmanager
def bar() -> Iterator[Told]:
    """A bar, on stderr; nothing where the command is to be quiet."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from tod.show.screen import Screen

    console = Screen(stderr=True, quiet=is_hushed())
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, disable=not console.is_terminal) as drawn:
        task = drawn.add_task("runs", total=None, left="")

        def told(done: float, total: int, seconds: float | None, name: str) -> None:
            left = "" if seconds is None else f"{duration(seconds)} left"
            count = f"{int(done + 1e-9)} of {total}"
            drawn.update(task, completed=done, total=total, description=count, left=left)
            if not console.is_terminal and name:
                console.print(", ".join(word for word in (count, left, name) if word))

        yield told


def duration(seconds: float) -> str:
    """``12.3 min``, ``1.5 h``.

    >>> duration(90.0), duration(7200.0)
    ('1.5 min', '2.0 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(seconds / 60, 0.1):.1f} min"
