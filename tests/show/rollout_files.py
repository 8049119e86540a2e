"""Small rollout files with known contents, in the shapes that a diagnosis page has to bear."""

import json

import numpy as np

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\n"
    "<style>*{display:none}</style> \u202etxet &amp; {{7*7}} ]]> --> </pre></textarea>"
)


def write_verl(folder, steps=(1, 2, 3), prompts=24, k=8, seed=0, prompt=None):
    """Utilities only (tier D): one JSON line per rollout, one file per step, skewed scores."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for step in steps:
        rows = []
        for p in range(prompts):
            level = rng.beta(1.0, 2.0)
            for i in range(k):
                score = float(np.clip(rng.normal(level, 0.3), 0, 1)) if p % 6 else 0.0
                said = prompt if prompt and p == 1 else f"question {step}-{p}"
                uid = f"u{step}-{p}_{i}_0"
                rows.append({"input": said, "output": f"answer {i}", "gts": "", "score": score})
                rows[-1] |= {"step": step, "uid": uid}
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{step}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def write_own(path, contexts=40, seed=1, sizes=(5, 8, 12), anchors=True, utility="u", prompt=None):
    """Our own rows, ragged, with log-probs of a drifted policy; outside the support nowhere."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(contexts):
        for i in range(sizes[c % len(sizes)]):
            log_mu = -float(rng.gamma(3.0, 4.0))
            row = {
                "step": 7,
                "context": f"c{c}",
                "candidate": i,
                "prompt": prompt if prompt and c == 0 else f"prompt {c}",
                "completion": f"completion {c}.{i}",
            }
            if utility:
                row[f"utility.{utility}"] = float(rng.gamma(0.6))
            if anchors:
                row |= {"log_mu": log_mu, "log_old": log_mu + float(rng.normal(0, 0.3))}
            rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
