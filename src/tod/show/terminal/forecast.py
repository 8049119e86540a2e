"""What `tod run --dry-run` shows: the triple as resolved, and what it will cost."""

from tod.engine.data.load import load_task
from tod.engine.forecast import aim, forecast
from tod.engine.memory import available
from tod.engine.settings import RunSettings

_GIB, _MIB = 2**30, 2**20


def show_forecast(settings: RunSettings) -> None:
    """Print the resolved recipe as YAML, the target in letters, memory and cost."""
    import yaml
    from rich.syntax import Syntax

    from tod.show.screen import Screen

    console = Screen()
    text = yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True)
    console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    expected = forecast(settings, load_task(settings.task, settings.prompt_seed))
    there = available()
    fits = "fits" if expected.memory.total <= there else "does NOT fit"
    console.print(f"target      {aim(settings)}")
    console.print(f"memory      about {_bytes(expected.memory.total)} of {_bytes(there)}: {fits}")
    console.print(f"            {expected.memory.table()}")
    console.print(
        f"cost        at most {expected.completion_tokens:,} tokens drawn, "
        f"{expected.flops:.2e} FLOPs (evaluation left out)"
    )
    for note in expected.notes:
        console.print(f"note        {note}")
    own = "" if settings.output is not None else "-..., a name of its own"
    console.print(f"written to  {settings.directory}{own}")


def _bytes(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"
