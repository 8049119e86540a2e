"""Every null of a diagnosis with its reason, and with what would make it computable."""

from collections.abc import Iterator, Mapping
from typing import Any

from tod.diagnostics import Summary
from tod.formats.reading import Cannot, Reading


def reasons(
    reading: Reading,
    summary: Summary,
    lack: tuple[str, str] | None,
    possible: Mapping[str, Any] | None,
) -> tuple[Cannot, ...]:
    """All of them, in the order of the schema."""
    blind = _blind(summary) if lack is None else lack
    found = [
        *_weights(reading, summary, lack, possible),
        *_legs(reading, summary, blind),
        *_coverage(reading, summary),
        *_gaps(reading, summary),
        *_others(reading, summary),
    ]
    seen: dict[str, Cannot] = {}
    for item in found:
        seen.setdefault(item.what, item)
    return tuple(seen.values())


def _need(reading: Reading, name: str, otherwise: str) -> str:
    """What brings log-probs of a policy, in the words of the format."""
    from tod.formats import FORMATS

    chosen = FORMATS.get(reading.source.format)
    return otherwise if chosen is None else chosen.needs.get(name, otherwise)


_WORDS = {
    "mu": ("the sampler's log-probs are not in the files", "a log_mu column"),
    "old": ("the old policy's log-probs are not in the files", "a log_old column"),
    "policy": ("the policy's log-probs are not in the files", "a log_policy column"),
    "ref": ("the reference's log-probs are not in the files", "a log_ref column"),
}
UNUSABLE = ("log-probs of the policy are recorded and infinite", "finite log-probs of the policy")


def _missing(reading: Reading, *names: str) -> tuple[str, str] | None:
    """Why log-probs of the first policy that is not recorded are missing, and what brings them.

    A name such as ``policy|old`` asks for either; None when all are there.
    """
    recorded = set(reading.recorded)
    for wanted in names:
        either = wanted.split("|")
        if recorded.isdisjoint(either):
            why, column = _WORDS[either[0]]
            needs = (_need(reading, name, "") for name in either)
            return why, next((text for text in needs if text), column)
    return None


def _blind(summary: Summary) -> tuple[str, str] | None:
    """Why no context says anything of q*, where none does."""
    counts = summary.contexts
    if counts.informative:
        return None
    if counts.singleton == counts.total:
        return "every context has a single candidate", "several candidates a context"
    return (
        "no context is informative: within each, all candidates have the same utility",
        "contexts of mixed outcome: more candidates, or easier or harder prompts",
    )


def _weights(
    reading: Reading,
    summary: Summary,
    lack: tuple[str, str] | None,
    possible: Mapping[str, Any] | None,
) -> Iterator[Cannot]:
    if lack is not None:
        why, needs = lack
        if not reading.utility:
            needs = _need(reading, "utility", needs)
        for what in ("ess_rel", "tails", "overlap.target_proposal", "feasible", "worst_contexts"):
            yield Cannot(what, why, needs)
        return
    blind = _blind(summary)
    if blind is not None:
        why, needs = blind
        for what in ("ess_rel", "tails", "overlap.target_proposal", "feasible.eta_max"):
            yield Cannot(what, why, needs)
        return
    if summary.tails.pareto_k_pooled is None:
        yield Cannot(
            "tails.pareto_k_pooled",
            "fewer than 25 pooled weights, or a tail of few distinct ones, as of a 0/1 utility",
            "more informative contexts, or a utility of more values",
        )
    if possible is not None and possible["eta_max"] is None:
        goal = f"{possible['ess_rel_target']:g}"
        if possible["attained"] is None:
            why = "the target's selectivity finds an eta for every context: there is no single one"
            yield Cannot("feasible.eta_max", why, "a target with an eta of its own")
        elif possible["attained"] == "never":
            why = f"the median ESS_rel is below {goal} at every eta: the anchor is far from mu"
            yield Cannot("feasible.eta_max", why, "an anchor nearer to mu, or a nearer proposal")
        else:
            why = f"the median ESS_rel stays at {goal} at every eta: ties at the best utility"
            yield Cannot("feasible.eta_max", why, "nothing: no sharpness is too much here")


def _legs(reading: Reading, summary: Summary, blind: tuple[str, str] | None) -> Iterator[Cannot]:
    overlap, counts = summary.overlap, summary.contexts
    lack = _missing(reading, "mu", "policy|old")
    if lack is None and counts.singleton == counts.total:
        lack = _blind(summary)
    if overlap.policy_proposal is None and "policy_proposal" not in overlap.not_applicable:
        yield Cannot("overlap.policy_proposal", *(lack or UNUSABLE))
    if overlap.target_policy is None and "target_policy" not in overlap.not_applicable:
        yield Cannot("overlap.target_policy", *(lack or blind or UNUSABLE))


def _coverage(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    cover = summary.coverage
    if cover.pass_at_k is None:
        why = "the utility is not binary" if reading.utility else "the files hold no utility"
        yield Cannot("coverage.pass_at_k", why, "a 0/1 utility")
    if cover.missing_mass is None:
        yield Cannot(
            "coverage.missing_mass",
            "the files do not say which answers are the same",
            "an `answer` column in TOD's own format",
        )
    if cover.mean_rho is None:
        lack = _missing(reading, "mu", "policy|old") or UNUSABLE
        yield Cannot("coverage.mean_rho", *lack)
    elif cover.mean_rho_z is None:
        yield Cannot(
            "coverage.mean_rho_z",
            "fewer than 100 effective candidates carry it: its error is not normal there",
            "more contexts",
        )
    if cover.reverse_ess is None:
        yield _reverse(reading)


def _reverse(reading: Reading) -> Cannot:
    what = "coverage.reverse_ess"
    if reading.samples is None:
        why = "no row is marked as a sample of the target"
        needs = "verified solutions or teacher samples, with log_mu and `drawn_from` = `target`"
        return Cannot(what, why, _need(reading, "samples", needs))
    mine, theirs = reading, reading.samples.candidates
    lacking = [name for name in mine.utility if name not in theirs.utility]
    lacking += [f"log_{name}" for name in mine.recorded if name not in theirs.recorded]
    named = ", ".join(lacking) or "a usable weight under this target"
    return Cannot(what, f"the samples of the target lack {named}", "the same columns for them")


def _gaps(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    recorded = set(reading.recorded)
    if summary.mismatch is None:
        if {"mu", "policy"} <= recorded and "old" not in recorded:
            yield Cannot(
                "mismatch",
                "log policy - log mu mixes engine mismatch with staleness, and log_old is missing",
                _need(
                    reading, "old", "a log_old column: the sampler's weights, scored in training"
                ),
            )
        elif {"mu", "old"} <= recorded:
            yield Cannot(
                "mismatch",
                "the sampler was behind the trainer everywhere: log old - log mu mixes engine "
                "mismatch with staleness",
                "log-probs of the training forward at the sampler's own version",
            )
        else:
            yield Cannot("mismatch", *(_missing(reading, "mu", "old") or UNUSABLE))
    if reading.lag is None and "mu" in recorded and recorded & {"old", "policy"}:
        yield Cannot(
            "lag",
            "the files do not say which weights sampled: were they older than the trainer's, then "
            "log old - log mu holds staleness too",
            _need(reading, "lag", "a `lag` column: training versions behind, 0 where fresh"),
        )
    if summary.staleness is None:
        yield Cannot("staleness", *(_missing(reading, "policy", "old") or UNUSABLE))


def _others(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    far = (
        "too few draws of mu count as draws of the policy, which is far from it",
        "a fresher proposal",
    )
    if summary.drift.ref is None:
        yield Cannot("drift.ref", *(_missing(reading, "policy|old", "ref") or far))
    if summary.drift.old is None:
        yield Cannot("drift.old", *(_missing(reading, "policy", "old") or far))
    if summary.activation is None:
        yield _activation(reading)
    if summary.entropy is None:
        why, column = "the files do not say how many tokens a candidate has", "a `length` column"
        lack = why, _need(reading, "length", column)
        yield Cannot("entropy", *(_missing(reading, "mu") or lack))
    if reading.read_texts is None:
        yield Cannot(
            "worst_contexts.prompt",
            "the files hold no text",
            _need(reading, "text", "prompt and completion columns"),
        )


def _activation(reading: Reading) -> Cannot:
    """Gates need a trust region, log-probs of two policies token by token, and a utility."""
    lack = _missing(reading, "policy", "old|mu")
    if lack is not None:
        return Cannot("activation", *lack)
    if reading.gate is None:
        why = "the files do not say which trust region the operator has"
        return Cannot("activation", why, "--clip LOW,HIGH, --operator RECIPE or --config FILE")
    if not reading.utility:
        return Cannot("activation", "no utility tells the sign of the advantage", "a utility")
    why = "this gate reads every token, and only sums over sequences are recorded"
    return Cannot("activation", why, "log_policy_tokens and log_old_tokens columns")
