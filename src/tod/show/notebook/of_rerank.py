"""A reranking in a notebook: the words of `tod rerank`, its rules, and the page's first curve."""

from tod.base.brief import first_lines
from tod.base.text import counted
from tod.reranking.rerank import Reranked
from tod.reranking.words import enough, headline, interval, over_optimised, selection
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.page.rerank_page import plots
from tod.show.terminal.rerank_screen import lines as screen


def lines(found: Reranked) -> list[str]:
    """The screen's first lines, and what was read."""
    return first_lines(screen(found), last=1)


def card(found: Reranked) -> Card:
    """The answer, what every rule reaches, and what the curves say."""
    by, groups = found.verdict.measure, found.scored.contexts
    reached = [(r.name, interval(found.of_rule(r)["curve"][-1], by)) for r in found.ranked]
    said = [
        ("Is K enough?", enough(found)),
        ("Selection", selection(found)),
        ("Over-optimised?", over_optimised(found)),
    ]
    size = f"{counted(len(groups), 'prompt')}, {counted(groups.total, 'candidate')}"
    return Card(headline=headline(found), rows=[*said, *reached], about=size)


def figure(found: Reranked) -> Figure:
    """What every rule reaches against the candidates that it draws."""
    return Figure.of(plots(found)["curve"])
