"""A dry run on logged diagnostics: what the controller would have done."""

from collections.abc import Iterable, Mapping
from typing import Any

from tod.arc.config import ArcConfig
from tod.arc.controller import step as one_step
from tod.arc.initial import initial
from tod.arc.state import ArcState, Decision
from tod.base import SpecError
from tod.diagnostics.summary import Summary


def replay(
    config: ArcConfig,
    records: Iterable[Mapping[str, Any]],
    state: ArcState | None = None,
    *,
    steps: int | None = None,
) -> list[Decision]:
    """Decisions on the summaries of a run that was not controlled, or controlled otherwise.

    The logged diagnostics do not respond to the decisions: once a decision would have moved a
    knob, the later ones answer "what if this had been seen anyway". Read the first ones as
    predictions and the rest as a description.

    Args:
        config: The controller to try.
        records: Lines of ``steps.jsonl``: ``step`` and the fields of a summary; ``knobs`` of the
            first one declare the goal when no state is given; ``feasible.eta_max`` is used where
            it is there.
        state: State to begin with.
        steps: Length of the run, for the deadline.

    Raises:
        SpecError: No state was given and the first record has no knobs.
    """
    decisions: list[Decision] = []
    for index, record in enumerate(records):
        if state is None:
            state = _declared(config, record, steps)
        summary = Summary.from_dict(dict(record))
        feasible = (record.get("feasible") or {}).get("eta_max")
        at = int(record.get("step", index))
        state, decision = one_step(config, state, summary, step=at, eta_feasible=feasible)
        decisions.append(decision)
    return decisions


def _declared(config: ArcConfig, record: Mapping[str, Any], steps: int | None) -> ArcState:
    known = {
        name: value for name, value in (record.get("knobs") or {}).items() if value is not None
    }
    if not known:
        raise SpecError(
            "the first record has no `knobs` (eta, or tau and beta): the controller does not know "
            "what to return to. Give the declared values."
        )
    eta, tau, beta = (known.get(name) for name in ("eta", "tau", "beta"))
    if config.knob == "eta":
        return initial(config, eta=eta, steps=steps)
    return initial(
        config, eta=eta if config.knob == "both" else None, tau=tau, beta=beta, steps=steps
    )
