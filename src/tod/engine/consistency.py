"""What the parts of a run need of each other, beside what each part checks by itself."""

from collections.abc import Iterable, Mapping

from tod.operators import (
    AlternatingProposal,
    DatasetProposal,
    NoCredit,
    Operator,
    PairsProposal,
    PolicyGradient,
    PoolProposal,
    Preference,
    SequentialMonteCarlo,
)
from tod.procedure import check_compatible
from tod.targets import Target


def check_operators(
    operators: Mapping[str, Operator],
    target: Target,
    utilities: frozenset[str],
    teacher: str | None,
) -> None:
    """Refuse an operator that lacks what it reads, or has what nothing reads.

    Args:
        operators: By name, the run's own first.
        target: q*.
        utilities: Names of the utilities that are scored.
        teacher: The teacher's model.

    Raises:
        ValueError: With the reason and the way out.
    """
    trains_critic = next(iter(operators.values())).auxiliary.critic is not None
    for name, operator in operators.items():
        where = "operator" if name == "main" else f"operators.{name}"
        _check_target(where, operator, target, utilities)
        _check_triple(where, operator, target)
        _check_teacher(where, operator, teacher)
        _check_auxiliary(where, operator, trains_critic)
        _check_pairs(where, operator, utilities)


def frozen_names(target: Target, operators: Iterable[Operator]) -> tuple[str, ...]:
    """Which of ``ref`` and ``teacher`` a target, proposal, twist or auxiliary term names."""
    named = set(target.names)
    for operator in operators:
        named.update(operator.proposal.samplers)
        if operator.auxiliary.distillation is not None:
            named.add("teacher")
        if isinstance(operator.action, SequentialMonteCarlo) and operator.action.guide:
            named.add(operator.action.guide)
    return tuple(sorted(named & {"ref", "teacher"}))


def lags(operators: Iterable[Operator]) -> bool:
    """Whether a copy of the policy is kept that is older than the last step."""
    return any("old" in o.proposal.samplers and o.proposal.refresh != 1 for o in operators)


def _check_target(
    where: str, operator: Operator, target: Target, utilities: frozenset[str]
) -> None:
    known = utilities | set(operator.proposal.makes)
    for name in target.utilities:
        if name not in known:
            raise ValueError(
                f"the target reads reward {name!r}, and `utilities` has "
                f"{', '.join(sorted(known))}: add it there, or mend the target"
            )
    made = _semantics(operator)
    if target.semantics is not None and made not in (None, target.semantics):
        raise ValueError(
            f"{where}: the target is over {target.semantics} rollouts and those of proposal "
            f"{operator.proposal.source!r} are {made}: dividing by μ, or not, would be biased. "
            f"Declare `target.semantics: {made}`, or give rollouts that are {target.semantics}"
        )
    if isinstance(operator.proposal, DatasetProposal) and "mu" in target.needs():
        raise ValueError(
            f"{where}: a data set has no log μ and the weights of {target} need it. Use the "
            "`data` target, or anchor at mu"
        )
    if isinstance(operator.proposal, AlternatingProposal) and "mu" in target.needs("fixed"):
        raise ValueError(
            f"{where}: the data's steps have no log μ, and {target} is anchored at it. Use the "
            "`teacher` target, or a frozen anchor"
        )


def _semantics(operator: Operator) -> str | None:
    """How the proposal's candidates come about; None where that changes from step to step."""
    proposal = operator.proposal
    if isinstance(proposal, AlternatingProposal):
        return None
    if isinstance(proposal, PoolProposal):
        return proposal.semantics
    columns = isinstance(proposal, PairsProposal) and proposal.utility is None
    return "fixed" if columns else "sampled"


def _check_triple(where: str, operator: Operator, target: Target) -> None:
    """What the procedure refuses when it is put together, said before anything is loaded."""
    try:
        check_compatible(target, operator)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_teacher(where: str, operator: Operator, teacher: str | None) -> None:
    if teacher is not None:
        return
    if "teacher" in operator.proposal.samplers or operator.auxiliary.distillation is not None:
        raise ValueError(f"{where} names `teacher`: say which model with `anchors.teacher`")


def _check_auxiliary(where: str, operator: Operator, trains_critic: bool) -> None:
    action, auxiliary = operator.action, operator.auxiliary
    needs = isinstance(action, PolicyGradient) and action.needs_critic
    if needs and not (auxiliary.critic is not None and trains_critic):
        raise ValueError(
            f"{where}: advantage gae needs a critic: add `auxiliary: {{critic: {{}}}}` to it and "
            "to the run's own operator, or use return_to_go"
        )
    if auxiliary.critic is not None and not needs:
        raise ValueError(f"{where}: nothing reads the critic. Use advantage gae, or remove it")
    if isinstance(action, NoCredit) and not auxiliary.any_loss:
        raise ValueError(
            f"{where}: action auxiliary gives no credit and there is no auxiliary term, so "
            "nothing would train. Add `auxiliary: {distillation: {}}`"
        )


def _check_pairs(where: str, operator: Operator, utilities: frozenset[str]) -> None:
    proposal = operator.proposal
    if not isinstance(proposal, PairsProposal):
        return
    if not isinstance(operator.action, Preference):
        raise ValueError(
            f"{where}: only a preference action reads choices; {operator.action.kind!r} would "
            "ignore them. Use source old"
        )
    if proposal.utility is not None and proposal.utility not in utilities:
        raise ValueError(
            f"{where}.proposal: choices are sampled from reward {proposal.utility!r}, and "
            f"`utilities` has {', '.join(sorted(utilities))}"
        )
