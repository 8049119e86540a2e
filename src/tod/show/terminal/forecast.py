"""What `tod run --dry-run` shows: the triple as resolved, and what it will cost."""

from collections.abc import Collection
from dataclasses import fields
from textwrap import wrap

from tod.base import Spec
from tod.base.text import counted, visible
from tod.configurations.point import composition
from tod.engine.data.load import load_task
from tod.engine.data.task import Task
from tod.engine.forecast import Forecast, aim, forecast
from tod.engine.memory import available
from tod.engine.settings import RunSettings

LINES, WIDE, LABEL, MOST = 24, 80, 12, 4
MEMORY = 6
"""Which row tells it."""
_GIB, _MIB = 2**30, 2**20


def show_forecast(settings: RunSettings, verbose: bool = False, processes: int = 1) -> None:
    """Print the triple, memory and cost on a screen of 24 lines.

    Args:
        settings: The run.
        verbose: The whole resolved recipe as YAML before it.
        processes: How many will run it together.
    """
    from tod.show.screen import Screen

    console = Screen()
    if verbose:
        import yaml
        from rich.syntax import Syntax

        text = yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True)
        console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    task = load_task(settings.task, settings.prompt_seed)
    rows = _rows(settings, forecast(settings, task, processes=processes), processes)
    if processes > 1 and not settings.selects:
        rows.insert(MEMORY + 1, ("", _otherwise(settings, task, processes)))
    lines = [line for name, said in rows for line in _row(name, said)]
    for line in lines if verbose else lines[:LINES]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _otherwise(settings: RunSettings, task: Task, processes: int) -> str:
    """What each process would need if they shared the models the other way."""
    sharding = None if settings.train.sharding else "fsdp2"
    other = settings.model_copy(update={"train": settings.train.revised(sharding=sharding)})
    there = forecast(other, task, processes=processes).memory.total
    return f"train.sharding={sharding or 'null'}: about {_bytes(there)} each"


def _rows(settings: RunSettings, expected: Forecast, processes: int) -> list[tuple[str, str]]:
    """A name and what is said of it."""
    there, memory = available(), expected.memory
    fits = "fits" if processes * memory.total <= there else "does NOT fit"
    each = f"about {_bytes(memory.total)}"
    if processes > 1:
        each = f"{processes} processes with {each} each; all"
    own = "" if settings.output is not None else "-..., a name of its own"
    proposal, train, task = settings.operator.proposal, settings.train, settings.task
    parts = ", ".join(f"{f.name} {_bytes(getattr(memory, f.name))}" for f in fields(memory))
    how = ("updates_per_batch", "learning_rate", "schedule", "seed")
    length = counted(settings.steps, "step")
    if not settings.selects:
        length += f"; {_said(train, how)}"
    return [
        ("run", f"{settings.name}: nothing was run"),
        ("target", aim(settings)),
        ("drawn", _said(proposal)),
        ("operator", composition(settings.operator) or settings.operator.action.kind),
        ("model", f"{settings.model}, {train.dtype}; task {_said(task)}"),
        ("length", length),
        ("memory", f"{each} of {_bytes(there)}: {fits} ({parts})"),
        (
            "cost",
            f"at most {expected.completion_tokens:,} tokens drawn, {expected.flops:.2e} FLOPs "
            "(evaluation left out)",
        ),
        *(("note", note) for note in expected.notes),
        ("written to", f"{settings.directory}{own}"),
        ("", "every setting, with its default: -v"),
    ]


def _said(part: Spec, names: Collection[str] | None = None) -> str:
    """The settings of a part that are set, by name."""
    data = part.model_dump(mode="json")
    kind = data.pop("kind", "")
    told = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in data.items()
        if value is not None and (names is None or name in names)
    ]
    return " ".join(filter(None, [kind, *told]))


def _row(name: str, said: str) -> list[str]:
    """Label and words, four lines at most."""
    lines = wrap(visible(said), WIDE - LABEL, break_long_words=True, break_on_hyphens=False) or [""]
    if len(lines) > MOST:
        lines = [*lines[: MOST - 1], f"{lines[MOST - 1][: WIDE - LABEL - 2]} …"]
    heads = [f"{name:<{LABEL}}", *[" " * LABEL] * (len(lines) - 1)]
    return [head + line for head, line in zip(heads, lines, strict=True)]


def _bytes(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"
