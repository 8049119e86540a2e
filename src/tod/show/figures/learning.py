"""The learning curve: rewards in training and the held-out evaluation with its errors."""

from tod.base.text import fixed
from tod.show.figures.plot import Plot, PlotLine
from tod.show.figures.scales import nice
from tod.show.page.run_data import RunView


def learning(runs: list[RunView]) -> Plot | None:
    """Mean reward of every batch and held-out pass@1 ± 2 standard errors."""
    single = len(runs) == 1
    series = [line for i, run in enumerate(runs) for line in _lines(run, i, single)]
    drawn = [line for line in series if line.known()]
    if not drawn:
        return None
    reach = [_sum(v, e) for line in drawn for v, e in zip(line.y, _errors(line), strict=True)]
    reach += [value for line in drawn for value in line.y]
    note = "Bars are two standard errors, clustered by prompt." if _held_out(runs) else ""
    if not single:
        note = f"Dashed: training reward. {note}".strip()
    title = "Reward by batch" if all(run.search for run in runs) else "Learning curve"
    return Plot(title, drawn, nice(reach), fixed, note)


def _lines(run: RunView, index: int, single: bool) -> list[PlotLine]:
    steps = run.numbers()
    names = sorted({name for record in run.steps for name in (record.get("utility") or {})})
    held = run.values("held_out", "pass_at_1")
    error = [None if e is None else 2 * e for e in run.values("held_out", "standard_error")]
    if not single:
        train = [
            PlotLine(
                f"{run.name}, training",
                steps,
                run.values("utility", n),
                f"r{index} train",
                dashed=True,
            )
            for n in [name for name in names if name.split(".")[0] != "selected"][:1]
        ]
        return [*train, PlotLine(f"{run.name}, held-out", steps, held, f"r{index}", error)]
    where = "" if run.search else ", training"
    train = [
        PlotLine(f"{name}{where}", steps, run.values("utility", name), f"s{i + 1} train")
        for i, name in enumerate(names)
    ]
    return [PlotLine("held-out pass@1", steps, held, "s0", error), *train]


def _errors(line: PlotLine) -> list[float | None]:
    return list(line.error) if line.error is not None else [None] * len(line.y)


def _sum(value: float | None, error: float | None) -> float | None:
    return None if value is None else value + (error or 0.0)


def _held_out(runs: list[RunView]) -> bool:
    return any(record.get("held_out") for run in runs for record in run.steps)
