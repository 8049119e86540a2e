"""Every null of a diagnosis with its reason, and with what would make it computable."""

from collections.abc import Iterator, Mapping
from typing import Any

from tod.diagnostics import Summary
from tod.integrations.reading import Cannot, Reading


def reasons(
    reading: Reading,
    summary: Summary,
    lack: tuple[str, str] | None,
    possible: Mapping[str, Any] | None,
) -> tuple[Cannot, ...]:
    """All of them, in the order of the schema."""
    found = [
        *_weights(reading, summary, lack, possible),
        *_legs(reading, summary),
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
    from tod.integrations.readers import FORMATS

    chosen = FORMATS.get(reading.source.format)
    return otherwise if chosen is None else chosen.needs.get(name, otherwise)


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
    if summary.ess_rel.median is None:
        why = "no context is informative: within each, all candidates have the same utility"
        needs = "contexts of mixed outcome: more candidates, or easier or harder prompts"
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
        if possible["attained"] == "never":
            why = f"the median ESS_rel is below {goal} at every eta: the anchor is far from mu"
            yield Cannot("feasible.eta_max", why, "an anchor nearer to mu, or a nearer proposal")
        else:
            why = f"the median ESS_rel stays at {goal} at every eta: ties at the best utility"
            yield Cannot("feasible.eta_max", why, "nothing: no sharpness is too much here")


def _legs(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    overlap = summary.overlap
    for leg in ("policy_proposal", "target_policy"):
        if getattr(overlap, leg) is not None or leg in overlap.not_applicable:
            continue
        recorded = reading.recorded
        if "mu" not in recorded:
            why, name = "the sampler's log-probs (log_mu) are not in the files", "mu"
        elif not {"policy", "old"} & set(recorded):
            why, name = "log-probs of the policy before the update are not in the files", "old"
        else:
            why, name = "q*/mu cannot be weighed here", "utility"
        yield Cannot(f"overlap.{leg}", why, _need(reading, name, f"a log_{name} column"))


def _coverage(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    cover = summary.coverage
    if cover.pass_at_k is None:
        yield Cannot("coverage.pass_at_k", "the utility is not binary", "a 0/1 utility")
    if cover.missing_mass is None:
        yield Cannot(
            "coverage.missing_mass",
            "the files do not say which answers are the same",
            "an `answer` column in TOD's own format",
        )
    if cover.mean_rho is None:
        yield Cannot(
            "coverage.mean_rho",
            "it needs log-probs of the sampler and of the policy",
            _need(reading, "mu", "log_mu and log_policy columns"),
        )
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
            missing = "mu" if "mu" not in recorded else "old"
            yield Cannot(
                "mismatch",
                "it needs log-probs of the sampler and of the training forward (old)",
                _need(reading, missing, f"a log_{missing} column"),
            )
    if reading.lag is None and "mu" in recorded and recorded & {"old", "policy"}:
        yield Cannot(
            "lag",
            "the files do not say which weights sampled: were they older than the trainer's, then "
            "log old - log mu holds staleness too",
            _need(reading, "lag", "a `lag` column: training versions behind, 0 where fresh"),
        )
    if summary.staleness is None:
        yield Cannot(
            "staleness",
            "it needs log-probs of the current and of the old policy",
            _need(reading, "policy", "log_policy and log_old columns"),
        )


def _others(reading: Reading, summary: Summary) -> Iterator[Cannot]:
    if summary.drift.ref is None:
        yield Cannot(
            "drift.ref",
            "the files have no reference log-probs, or none of the policy",
            _need(reading, "ref", "a log_ref column"),
        )
    if summary.drift.old is None:
        yield Cannot(
            "drift.old",
            "it needs log-probs of the current and of the old policy",
            _need(reading, "policy", "log_policy and log_old columns"),
        )
    if summary.activation is None:
        yield _activation(reading)
    if summary.entropy is None:
        yield Cannot(
            "entropy",
            "it needs the sampler's log-probs and the number of tokens",
            _need(reading, "mu", "log_mu and length columns"),
        )
    if reading.read_texts is None:
        yield Cannot(
            "worst_contexts.prompt",
            "the files hold no text",
            _need(reading, "text", "prompt and completion columns"),
        )


def _activation(reading: Reading) -> Cannot:
    """Gates need a trust region, log-probs of two policies token by token, and a utility."""
    known = set(reading.recorded)
    if "policy" not in known or not known & {"old", "mu"}:
        missing = "policy" if "policy" not in known else "old"
        why = f"a gate reads the policy's log-probs against the old ones: log_{missing} is missing"
        column = f"a log_{missing}_tokens column"
        return Cannot("activation", why, _need(reading, missing, column))
    if reading.gate is None:
        why = "the files do not say which trust region the operator has"
        return Cannot("activation", why, "--clip LOW,HIGH, --operator RECIPE or --config FILE")
    if not reading.utility:
        return Cannot("activation", "no utility tells the sign of the advantage", "a utility")
    why = "this gate reads every token, and only sums over sequences are recorded"
    return Cannot("activation", why, "log_policy_tokens and log_old_tokens columns")
