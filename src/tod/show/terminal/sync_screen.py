"""A server against weights on disk, in the terminal: the answer first."""

import math
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from tod.diagnostics import SYNC_REMEDIES, SYNC_WORDS
from tod.show.screen import Screen

if TYPE_CHECKING:
    from tod.diagnostics import Sync
    from tod.engine.served.check import Checked

WIDTH, MOST = 80, 4


def show(found: "Checked") -> None:
    """Print it."""
    console = Screen()
    for place, line in enumerate(lines(found)):
        console.print(Text(line, style="" if place else "bold"), soft_wrap=True)


def lines(found: "Checked") -> list[str]:
    """The screen, a line each: 24 at most, of 80 columns."""
    told = [headline(found), f"  {found.greeting.url}  {found.greeting.model}", ""]
    told += _row("weights", found.weights)
    told += _hung("           ", _meaning(found.weights))
    if found.sampling is not None:
        told += _row("draws", found.sampling)
    if found.surprise is not None:
        told += _hung(
            "  law      ",
            f"{found.surprise:+.1f} standard errors likelier than its log-probs say; beyond 5 "
            "either way the draws follow another law",
        )
    told.append(
        f"  probe    {found.sequences} answers, {found.weights.tokens} tokens, {found.dtype}; "
        f"{found.greeting.ended:.0%} ended"
    )
    hidden = found.weights.hidden
    if hidden and found.weights.good:
        some = ", ".join(hidden[:MOST]) + (
            f", {len(hidden) - MOST} more" if len(hidden) > MOST else ""
        )
        told += _hung(
            "  unseen   ", f"too close to tell from these weights: {some}; --size 32 sees more"
        )
    worst = next((s for s in (found.weights, found.sampling) if s is not None and not s.good), None)
    if worst is not None:
        told += ["", *wrap(SYNC_REMEDIES[worst.kind], WIDTH)]
    elif not found.good:
        told += [
            "",
            *wrap(
                "Its draws do not follow its log-probs: look for a temperature or a "
                "cut that its log-probs leave out (--logprobs-mode).",
                WIDTH,
            ),
        ]
    return told


def headline(found: "Checked") -> str:
    """The answer."""
    if found.good:
        return "In sync: the server draws from these weights, as asked."
    worst = next((s for s in (found.weights, found.sampling) if s is not None and not s.good), None)
    if worst is None:
        return "Out of sync: the draws follow another law than their log-probs."
    name = f" ({worst.name})" if worst.name else ""
    return f"Out of sync: {SYNC_WORDS[worst.kind]}{name}."


def _meaning(sync: "Sync") -> str:
    """What a gap is in probabilities."""
    if sync.good:
        return "no more than the two programs' arithmetic makes of the same weights"
    factor = math.exp(min(sync.rms, 50.0))
    return (
        f"a token's probability is off by a factor of {factor:.3g} (RMS), which every importance "
        "weight of training carries once a token"
    )


def _row(label: str, sync: "Sync") -> list[str]:
    text = f"{sync.rms:.2g} nats a token off (RMS), rounding up to {sync.limit:.2g}"
    if sync.left is not None:
        text += f"; {sync.left:.2g} off {sync.name}"
    if sync.also:
        text += f"; as well {', '.join(sync.also[:MOST])}"
    return _hung(f"  {label:<9}", text)


def _hung(label: str, text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=label, subsequent_indent=" " * len(label))
