"""The first line of a sweep: which setting ended best, and whether by more than seeds explain."""

from tod.base.text import counted
from tod.study.sweep.compare import Comparison

__all__ = ["answer"]


def answer(found: Comparison) -> str:
    """The answer in a sentence.

    Args:
        found: What the comparison says.
    """
    ranked, runs = found.ranked, [run for cell in found.cells for run in cell.runs]
    done = sum(run.state == "done" for run in runs)
    if not ranked:
        said = f"{done} of {counted(len(runs), 'run')} ended"
        return f"{said}, and none was evaluated on held-out prompts." if done else f"{said} so far."
    best = ranked[0]
    end = best.end
    assert end is not None  # noqa: S101 - ranked cells have ended
    if len(found.cells) == 1:
        half = end.interval()
        spread = "" if half is None else f" ± {half[1] - end.value:.3f} over {end.seeds} seeds"
        return f"Nothing differs but the seed: pass@1 {end.value:.3f}{spread}."
    if len(ranked) == 1:
        return f"Only {best.label} has ended so far: pass@1 {end.value:.3f}."
    if found.pairs and not any(e.difference.value or e.difference.error for e in found.pairs):
        every = counted(len(ranked), "setting")
        return f"All {every} end alike, pass@1 {end.value:.3f}: nothing differs."
    apart = [found.told(found.less_best(cell)) for cell in ranked[1:]]
    head = f"{best.label} ended best, pass@1 {end.value:.3f}"
    if all(one is None for one in apart):
        second = ranked[1].end
        assert second is not None  # noqa: S101 - ranked cells have ended
        alone = all(len(cell.runs) == 1 for cell in found.cells)
        few = "one seed cannot" if alone else "too few seeds have ended to"
        return f"{head} to {second.value:.3f} of the next; {few} tell that from chance."
    told = sum(one is True for one in apart)
    if told == len(apart):
        others = "the other" if told == 1 else f"all {told} others"
        return f"{head}, above {others} by more than seeds explain."
    if told == 0:
        return f"{head}, but by no more than seeds explain."
    return (
        f"{head}: above {told} of {len(apart)} others by more than seeds explain, "
        "not told from the rest."
    )
