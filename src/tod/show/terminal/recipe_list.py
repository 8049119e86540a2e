"""The shipped recipes by family, on one screen."""

from textwrap import wrap

FAMILIES = {
    None: "to begin",
    "supervised": "supervised",
    "preference_surrogate": "preferences",
    "proximal_rl": "proximal RL",
    "verifier_rl": "verifier RL",
    "on_policy_distillation": "distillation",
    "test_time": "at test time",
}
"""Families in the order of the framework's Table 2, in words; None: no entry of the atlas."""
SOFT = "_soft"
"""End of the names of recipes whose runs read swap-stable: methods of the atlas, less sharp."""
WIDTH = 79


def recipe_list() -> str:
    """What `tod run` can be given: every name that comes with the package, by family."""
    from tod.atlas.entries import FOLDER, recipes

    known = recipes()
    names: dict[str, list[str]] = {
        said: [] for said in (FAMILIES[None], "swap-stable", *FAMILIES.values())
    }
    for stem in sorted(path.stem for path in FOLDER.glob("*.yaml")):
        family = FAMILIES[known[stem].family if stem in known else None]
        names["swap-stable" if stem.endswith(SOFT) else family].append(stem)
    lines = ["Name a recipe, or a YAML file of yours: tod run RECIPE [train.steps=20 ...]", ""]
    wide = max(map(len, names)) + 2
    for head, words in names.items():
        said = wrap(" ".join(words), WIDTH - wide, break_on_hyphens=False)
        heads = [head, *[""] * len(said)]
        lines += [f"{head:<{wide}}{line}" for head, line in zip(heads, said, strict=False)]
    return "\n".join(
        [
            *lines,
            "",
            "tod atlas list         what each is; tod atlas show NAME says more",
            "tod init NAME          a copy with comments, to make your own of",
            "tod run NAME --dry-run the triple, memory and cost; trains nothing",
        ]
    )
