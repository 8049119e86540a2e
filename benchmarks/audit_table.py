"""What popular settings truly aim at: the audit over compositions, in three exact worlds.

Run `python benchmarks/audit_table.py`; it writes docs/results/audit.md and .json (some minutes).
"""

import argparse
import json
import time
from pathlib import Path

from tod.atlas import RECIPES
from tod.operators import (
    Auxiliary,
    BatchZScore,
    Clip,
    Exponentiated,
    FullVocabulary,
    GroupZScore,
    Ipo,
    KLPull,
    LeaveOneOut,
    Listwise,
    NoCredit,
    Operator,
    PolicyGradient,
    Residual,
    ReturnToGo,
    SoftGate,
    Truncate,
    Unbounded,
    UpdateRule,
    WeightedRegression,
)
from tod.operators import Preference as PreferenceRule
from tod.procedure import Procedure
from tod.study.audit import Audit, Point, audit, audit_world
from tod.study.fixed_point import SIZES
from tod.study.selection_audit import SelectionAudit
from tod.study.world import make_world
from tod.targets import PreferenceTarget, ScalarReward, TargetSpec, Teacher, TwoAnchor, Verifier

OUT = Path(__file__).parent.parent / "docs" / "results"
REWARD = ScalarReward(utility="r", eta=1.0)
CHOICES = PreferenceTarget(utility="r", beta=1.0)
EQUAL = TwoAnchor(tau=0.5, beta=0.5, utility="r")
IN_REWARD = KLPull(kind="k1", place="reward")


def made(action: UpdateRule, target: TargetSpec = REWARD) -> Procedure:
    return Procedure(target=target, operator=Operator(action=action))


def gradient(target: TargetSpec = REWARD, **parts: object) -> Procedure:
    return made(PolicyGradient(**{"trust_region": Unbounded(), **parts}), target)


SETTINGS: dict[str, tuple[Procedure, dict[str, float]]] = {
    "weighted MLE": (made(WeightedRegression()), {}),
    "weighted MLE, centred": (made(WeightedRegression(centred=True)), {}),
    "listwise, forward": (made(Listwise()), {}),
    "listwise, reverse": (made(Listwise(divergence="reverse")), {}),
    "DPO on drawn choices, β = 1/η": (made(PreferenceRule(), CHOICES), {}),
    "residual, importance-weighted": (gradient(pull=Residual()), {}),
    "residual, no ρ (log-ratio variance)": (
        gradient(pull=Residual(), trust_region=Truncate(cap=1.0, floor=1.0)),
        {},
    ),
    "residual, truncated (CISPO)": (gradient(pull=Residual(), trust_region=Truncate()), {}),
    "residual, soft gate (SAPO)": (gradient(pull=Residual(), trust_region=SoftGate()), {}),
    "residual, clipped (PPO)": (gradient(pull=Residual(), trust_region=Clip()), {}),
    "residual, clipped by sequence (GSPO)": (
        gradient(pull=Residual(), trust_region=Clip(), level="sequence_mean"),
        {},
    ),
    "residual of two anchors, τ = β": (gradient(EQUAL, pull=Residual()), {}),
    "KL in the reward, leave-one-out": (gradient(advantage=LeaveOneOut(), pull=IN_REWARD), {}),
    "KL in the reward, all of it z-scored": (
        gradient(advantage=GroupZScore(), pull=IN_REWARD),
        {},
    ),
    "KL in the reward of two anchors, τ = β": (gradient(EQUAL, pull=IN_REWARD), {}),
    "residual at old, z-scored by batch": (
        gradient(advantage=BatchZScore(), pull=Residual(at="old")),
        {},
    ),
    "k1 in the loss": (gradient(pull=KLPull(kind="k1")), {}),
    "k2 in the loss": (gradient(pull=KLPull(kind="k2")), {}),
    "k3 in the loss": (gradient(pull=KLPull(kind="k3")), {}),
    "k3 in the loss, importance": (gradient(pull=KLPull(kind="k3", importance=True)), {}),
    "z-score beside k2 in the loss": (
        gradient(advantage=GroupZScore(), pull=KLPull(kind="k2")),
        {"eta": 0.9},
    ),
    "z-score beside k3 in the loss (GRPO)": (
        gradient(advantage=GroupZScore(), pull=KLPull(kind="k3")),
        {"eta": 0.9},
    ),
    "no pull": (gradient(), {}),
    "AWR: exp(ηU) without b/μ": (made(WeightedRegression(weights=Exponentiated(cap=1e9))), {}),
    "weights anchored at μ": (
        made(WeightedRegression(), Verifier(utility="r", eta=1.0, anchor={"mu": 1.0})),
        {},
    ),
    "DPO on hard labels": (made(PreferenceRule()), {}),
    "DPO on labels of 2U": (made(PreferenceRule(), CHOICES), {"label_scale": 2.0}),
    "IPO on drawn choices": (made(PreferenceRule(loss=Ipo()), CHOICES), {}),
    "distillation, sampled, γ = 0": (
        gradient(
            Teacher(eta=1.0, student="ref"), advantage=ReturnToGo(discount=0.0), pull=Residual()
        ),
        {},
    ),
    "distillation, full vocabulary, JSD": (
        Procedure(
            target=Teacher(eta=1.0, student="ref"),
            operator=Operator(
                action=NoCredit(),
                auxiliary=Auxiliary(distillation=FullVocabulary(divergence="jsd")),
            ),
        ),
        {},
    ),
}
WORLDS = {
    "27 sequences of one token": lambda: make_world(2, vocabulary=27, length=1, contexts=2),
    "27 sequences of three tokens": audit_world,
    "15 sequences of one to three tokens": lambda: audit_world(ends=True),
}


INTRO = """# What popular settings truly aim at

`python benchmarks/audit_table.py` ({seconds:.0f} CPU-seconds). Each operator is iterated from the
base to its fixed point, on exact expected gradients (infinitely many candidates) by the project's
own update rules, at η = 1.5 (0.9 where a z-score stands beside a KL: above it no finite law
exists in some context). *On*: μ and π_old are the policy at every step. *Off*: one batch of a
fixed μ ≠ π, which is also π_old. TV is to the declared target; η̂ is the sharpness of the nearest
b·exp(η̂U) and *left* what remains to it; *aims at* is the law predicted in closed form from the
composition, the column after it the TV to that law.

Beyond one token a KL term in the loss is credited to its own token alone, so that not even
k2, or k3 with the importance ratio, has the target of the KL between sequences."""


def number(x: float | None, digits: int = 3) -> str:
    return "" if x is None else f"{x:.{digits}f}"


def cells(point: Point) -> str:
    law = "" if point.predicted in (None, "q*") else point.predicted
    return (
        f"{number(point.tv)} | {number(point.eta_hat, 2)} | {number(point.residual)} "
        f"| {law} | {number(point.predicted_tv) if law else ''}"
    )


def row(name: str, found: Audit) -> str:
    off = found.off_policy
    return (
        f"| {name} | {found.measured.replace('_', ' ')} | {cells(found.on_policy)} "
        f"| {number(off.tv)} | {number(off.eta_hat, 2)} | {number(off.predicted_tv)} |"
    )


HEAD = (
    "| setting | shares q*? | on: TV | η̂ | left | aims at | TV to it | off: TV | η̂ "
    "| TV to its law |\n|---|---|---|---|---|---|---|---|---|---|"
)


GROUPED = (
    "weighted MLE",
    "weighted MLE, centred",
    "listwise, forward",
    "residual, no ρ (log-ratio variance)",
    "residual, importance-weighted",
    "KL in the reward, leave-one-out",
    "KL in the reward, all of it z-scored",
    "k3 in the loss",
    "z-score beside k3 in the loss (GRPO)",
    "AWR: exp(ηU) without b/μ",
)
FINITE = """\
The same rules on drawn groups of K candidates (2048 a context and step, 300 steps, 27 sequences
of three tokens): TV of the fixed point to the declared target. With weights that add up to 1 in a
group, a fixed μ leads to E[w̄] over groups, the law that resampling puts out, and not to q\\*; a
rule that vanishes at q\\* sample by sample has no such bias. One command: `tod atlas audit NAME
--k 2,4,8,16,64`."""
SELECTED = """\
What is put out of K candidates of μ: TV of its law to the target, with μ = b and, in the second
row, another μ. The law at K is exact (order statistics, E[w̄] by quadrature, counts of answers)
where *draws* has a number: TV of the rule's own draws to it, some 0.01 of it noise; else it is the
drawn one. An answer is the last symbol; the similarity of MBR is the share of equal symbols.
RejectionSampling has a bound that holds; the last column is the share of groups with an accepted
candidate, from the smallest K to the largest. One command: `tod atlas audit sir best_of_k`."""


def finite_table(found: dict[str, Audit]) -> list[str]:
    ks = "".join(f" | K = {size}" for size in SIZES)
    rows = [f"| setting | μ{ks} |", "|---|---" + "|---" * len(SIZES) + "|"]
    for name, item in found.items():
        for label, part in (("on", "on_policy"), ("off", "off_policy")):
            values = " | ".join(number(getattr(row, part)) for row in item.finite)
            rows.append(f"| {name} | {label} | {values} |")
    return rows


def selection_table(found: list[SelectionAudit]) -> list[str]:
    ks = "".join(f" | K = {row.k}" for row in found[0].on_policy)
    width = len(found[0].on_policy)
    rows = [f"| rule | shares q*? | as K → ∞{ks} | draws | accepted |"]
    rows.append("|---|---|---" + "|---" * width + "|---|---|")
    for item in found:
        letters = item.limit.replace("|", "\\|").replace("*", "\\*")
        for part, limit in ((item.on_policy, letters), (item.off_policy, "")):
            exact = [row.predicted_tv for row in part if row.predicted_tv is not None]
            share = f"{part[0].selected:.2f}–{part[-1].selected:.2f}"
            values = " | ".join(number(row.tv) for row in part)
            drawn = number(max(exact)) if exact else ""
            kept = share if part[0].selected < 1 else "all"
            rows.append(
                f"| `{item.recipe}` | {item.measured} | {limit} | {values} | {drawn} | {kept} |"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    start, results, text = time.process_time(), [], []
    for title, make in WORLDS.items():
        world = make()
        text += ["", f"## {title}", "", HEAD]
        for name, (procedure, extra) in SETTINGS.items():
            found = audit(procedure, world=world, name=name, **extra)
            text.append(row(name, found))
            results.append({"world": title, **found.to_dict()})
            print(text[-1], flush=True)
    at_k = {name: audit(SETTINGS[name][0], sizes=SIZES, **SETTINGS[name][1]) for name in GROUPED}
    text += ["", "## Groups of K", "", FINITE, "", *finite_table(at_k)]
    named = [name for name, entry in RECIPES.items() if entry.family == "test_time"]
    selected = [audit(RECIPES[name]) for name in named]
    text += ["", "## At test time", "", SELECTED, "", *selection_table(selected)]
    rows = [{**found.to_dict(), "recipe": name} for name, found in at_k.items()]
    rows += [found.to_dict() for found in selected]
    results += [{"world": "27 sequences of three tokens", **row} for row in rows]
    seconds = time.process_time() - start
    page = [INTRO.format(seconds=seconds), *text]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "audit.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in results)
    (options.out / "audit.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
