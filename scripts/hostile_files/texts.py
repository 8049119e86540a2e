"""YAML, keys of JSON lines and Parquet, and names of files made to harm."""

import json
import random
import struct
from pathlib import Path
from typing import Any

EVIL = (
    '"', "\\", "'", "\n", "\r", "\t", "\0", "\x1b]0;x\a", "\x1b[2J", "\x7f", "\x9b31m", "\u202e",
    "\u2066", "ä", "\U0001f642", "`", "$", "{}", "%s", "{0}", "..", "/", " ", ":", ",", "=", "-",
    "*", "[", "]", "?", "~", "c0", "Row", "class", "__class__", "utility.", "log_mu", "step", "é",
)  # fmt: skip
SCALARS = (
    "1", "-1", "0x" + "f" * 30, "1e999", ".nan", ".inf", "9" * 500, "1:59:59", "2001-13-45",
    "2001-01-01", "!!int ''", "!!bool maybe", "!!binary ä", "!!float x", "!!timestamp x", "null",
    "!!python/name:os.system", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!null x", "~",
    '"\\e]0;x\\a"', '"\\ud800"', "'q", "*a", "*zz", "&a x", "<<", "? x", "|", ">", "@", "`", "%",
    "kind", "grpo", "eta", "!<tag:yaml.org,2002:int> x", "- x", "!", "!!", "&", "0b2", "0o9", "1_",
)  # fmt: skip


def word(rng: random.Random, most: int = 4) -> str:
    """A short text of hostile pieces."""
    return "".join(rng.choice(EVIL) for _ in range(rng.randrange(1, most + 1)))


def yaml_text(rng: random.Random) -> str:
    """A YAML text: a recipe's shape with hostile values, or nesting, aliases and noise."""
    how = rng.randrange(7)
    count = rng.choice((3, 20, 62, 66, 600, 3000))
    if how == 0:
        width = rng.randrange(1, 4)
        inner = ", ".join("*a{0}" for _ in range(width))
        rows = [f"a{i}: &a{i} [{inner.format(i - 1)}]" for i in range(1, count)]
        return "\n".join(["a0: &a0 [x]", *rows])
    if how == 1:
        return rng.choice(("[", "{a: ", "- ", "? ", "- a: ", "!!set {")) * count
    if how == 2:
        return "\n".join(" " * i + rng.choice(("a:", "- b", "? c")) for i in range(min(count, 600)))
    if how == 3:
        merges = [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, count)]
        return "\n".join(["a0: &a0 {x: 1}", *merges])
    if how == 4:
        return "".join(rng.choice((*SCALARS, *EVIL, "\n", ": ", "[", "{", "}", "]", ", "))
                       for _ in range(rng.randrange(1, 40)))  # fmt: skip
    keys = ("target", "operator", "kind", "eta", "anchor", "algorithm", "actor_rollout_ref")
    lines, depth = [], 0
    for _ in range(rng.randrange(1, 12)):
        value = rng.choice((*SCALARS, "", ""))
        lines.append("  " * depth + f"{rng.choice((*keys, *SCALARS[:8]))}: {value}")
        depth = depth + 1 if not value else rng.randrange(depth + 1)
    return "\n".join(lines)


def rows(rng: random.Random, count: int = 8) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of a format that reads columns by their names, with hostile names; and a mapping."""
    how = rng.choice(("tod", "mapping", "verl", "swift", "areal", "tinker"))
    evil = [word(rng) for _ in range(4)]
    value = rng.choice((0.5, True, None, "x", [1.0], {"a": 1}, float("nan"), 1 << 70, -0.0))
    made = []
    for i in range(count):
        row: dict[str, Any] = {}
        if how == "tod":
            row = {"context": f"c{i // 4}", "step": 1, f"utility.{evil[0]}": float(i % 2)}
            row |= {f"utility.{evil[1]}": 0.5, "log_mu": -1.0, evil[2]: value}
        elif how == "mapping":
            row = {evil[0]: float(i % 2), evil[1]: f"c{i // 4}", evil[2]: -1.0, evil[3]: value}
        elif how == "verl":
            row = {"input": f"q{i // 4}", "output": "a", "gts": "4", "score": float(i % 2)}
            row |= {"step": 1, evil[0]: float(i % 3), evil[1]: value}
        elif how == "swift":
            row = {"step": ["1"] * 4, "prompt": ["q"] * 4, "completion": list("abcd")}
            row |= {evil[0]: [0.0, 1.0, 0.0, 1.0], evil[1]: [value] * 4}
            row |= {"advantages": [-1.0, 1.0, -1.0, 1.0]}
        elif how == "areal":
            row = {"task_id": i // 4, "sample_idx": i % 4, "reward": float(i % 2), "seqlen": 4}
            row |= {"tail_version": 1, evil[0]: value}
        else:
            row = {"iteration": 1, "group_idx": i // 4, "traj_idx": i % 4, "split": "train"}
            row |= {"total_reward": float(i % 2), evil[0]: value}
        made.append(row)
    if how != "mapping":
        return made, {}
    roles = {
        "utility": evil[0],
        "context": evil[1],
        "log_mu": evil[2],
        f"utility.{evil[3]}": evil[3],
    }
    return made, roles


def table(rng: random.Random, folder: Path) -> tuple[Path, dict[str, str]]:
    """A JSONL or Parquet file of such rows, and what to map."""
    made, roles = rows(rng)
    path = folder / "x.jsonl"
    if rng.random() < 0.3:
        import polars as pl

        try:
            pl.DataFrame(made, strict=False).write_parquet(folder / "x.parquet")
            return folder / "x.parquet", roles
        except Exception:  # noqa: S110 - such rows have no Parquet form
            pass
    lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in made]
    if rng.random() < 0.2:  # the same key twice, or nesting
        lines[0] = (
            lines[0][:-1] + rng.choice((", " + lines[0][1:-1], ', "deep": ' + "[" * 3000)) + "}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    return path, roles


def file_name(rng: random.Random, suffix: str) -> bytes:
    """A hostile file name; not UTF-8 now and then."""
    raw = word(rng, 5).replace("/", "").replace("\0", "").encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        raw += rng.choice((b"\xff\xfe", b"\xe4", struct.pack("<H", 0xD801)))
    return raw[:60].replace(b"\0", b"").replace(b"/", b"") + suffix.encode()
