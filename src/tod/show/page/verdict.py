"""The verdict first: a sentence, why, and what to turn."""

from tod.base.text import fixed
from tod.diagnostics.summary import Summary
from tod.regimes import classify_run, ess_two
from tod.show.figures.ribbon import ribbon
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView, at, thresholds
from tod.show.words import sentence, verdict_words

REASONS_SHOWN = 4


def verdict(run: RunView, named: bool = False) -> Html:
    """The last judged step's verdict with its reasons, and the run read as a whole."""
    judged = run.judged
    step, regime = judged if judged is not None else (None, {})
    name = regime.get("verdict")
    eyebrow = [tag("span", verdict_words(name).name, class_=f"badge {verdict_words(name).colour}")]
    if step is None and len(run.steps) > 1 and run.diagnosis is not None:
        eyebrow.append(tag("span", f"over {len(run.steps)} steps", class_="muted"))
    if step is not None:
        eyebrow.append(
            tag("span", f"at {'step' if run.search is None else 'batch'} {step}", class_="muted")
        )
    return tag(
        "section",
        tag("h2", run.name) if named else None,
        tag("p", eyebrow, class_="eyebrow"),
        tag("p", sentence(name, searched=run.search is not None), class_="lead"),
        _ribbon(run, named),
        [
            tag("p", f"{change}.", class_="muted")
            for change in (run.diagnosis or {}).get("changes", [])
        ],
        tag("p", _whole(run), class_="muted"),
        reasons(regime),
        missing(regime),
        class_="verdict",
        aria_label=f"Verdict for {run.name}",
    )


def _ribbon(run: RunView, named: bool) -> Html | None:
    """Nothing where one step was diagnosed: the badge says it."""
    if run.diagnosis is not None and len(run.steps) < 2:
        return None
    return ribbon(run, 60) if named else ribbon(run)


def reasons(regime: dict[str, object]) -> Html | None:
    """Why the verdict is not better, and what to turn: the first few open, the others folded."""
    given = regime.get("reasons")
    items = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    if not items:
        return None
    rows = [_reason(item) for item in items]
    first, rest = rows[:REASONS_SHOWN], rows[REASONS_SHOWN:]
    more = None
    if rest:
        label = f"{len(rest)} further reason{'s' if len(rest) > 1 else ''}"
        more = tag("details", tag("summary", label), tag("ol", rest, class_="reasons"))
    return tag("div", tag("ol", first, class_="reasons"), more)


def _reason(item: dict[str, object]) -> Html:
    why, remedy = str(item.get("why", "")), str(item.get("remedy", ""))
    return tag(
        "li",
        tag("p", _capital(why), class_="why"),
        tag("p", tag("span", "Try", class_="try"), remedy, class_="remedy") if remedy else None,
    )


def missing(regime: dict[str, object]) -> Html | None:
    """What the verdict had to do without."""
    names = regime.get("missing")
    if not isinstance(names, list) or not names:
        return None
    said = ", ".join(str(name) for name in names)
    return tag("p", f"Not available to the verdict: {said}.", class_="note")


def _whole(run: RunView) -> str | None:
    """The run as a whole, on the bands of step-means."""
    if run.diagnosis is not None:  # that is what is shown
        return None
    # step 0 is the evaluation before training and diagnosed nothing
    diagnosed = [record for record in run.steps if at(record, "contexts", "total")]
    summaries = [Summary.from_dict(record) for record in diagnosed]
    if len(summaries) < 2:
        return None
    two = ess_two(summaries)
    whole = verdict_words(classify_run(summaries, thresholds([run])).verdict).name
    if run.search is not None:
        return f"The run as a whole, over {len(summaries)} batches: {whole}."
    known = f"ESS_two {fixed(two)}" if two is not None else "ESS_two is not known"
    return (
        f"The run as a whole, over {len(summaries)} steps: {whole} "
        f"({known}, the smaller step-mean of the first two legs of overlap)."
    )


def _capital(sentence_: str) -> str:
    return sentence_[:1].upper() + sentence_[1:]
