"""Reranking a million scored candidates against a polars scan of the same file.

Run: ``python benchmarks/rerank.py [--candidates 200000] [--size 16] [--repeats 5]``; the full
size is ``--candidates 1000000``. The scan reads what reranking reads: prompt, response, reward,
answer and length of every row. Ratios are of medians of passes taken in turn within one process;
``POLARS_MAX_THREADS`` and ``OMP_NUM_THREADS`` are the caller's. Exits 1 when a limit is missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

import tod
from alternating import alternate

LIMIT = 4.0
"""Times the scan that best of K may take: reading, curve, verdict and answers file."""
NAMES = {"answer": "answer", "length": "length", "utility": "reward", "prompt": "prompt"}
SEVERAL = ["best_of_k", "sir", "vote", "weighted_vote"]


def table_of(candidates: int, size: int) -> pl.DataFrame:
    """Prompts of one pass rate each, with rewards in steps of a tenth."""
    rng = np.random.default_rng(0)
    prompts = candidates // size
    at = np.repeat(np.arange(prompts), size)
    n = len(at)
    return pl.DataFrame(
        {
            "prompt": [f"what is {i} plus {i + 1}, and why is it so? " * 2 for i in at.tolist()],
            "response": [f"let me see: it is {i}, since {i} is so. " * 4 for i in range(n)],
            "reward": np.round(rng.random(n) ** np.repeat(rng.random(prompts) * 4, size), 1),
            "answer": rng.integers(0, 8, n).astype(str),
            "length": rng.integers(20, 400, n),
        }
    )


def scan(path: Path) -> Any:
    """All columns of the file, in memory."""
    lazy = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_ndjson(path)
    return lazy.collect()


def reranked(path: Path, rules: list[str], out: Path) -> Any:
    """What ``tod rerank FILE --rule … -o OUT --json OUT`` does."""
    found = tod.rerank(str(path), rules, eta=2.0, mapping=NAMES | {"completion": "response"})
    found.write(out)
    return found.to_dict()


def main() -> int:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        table = table_of(given.candidates, given.size)
        table.write_parquet(root / "x.parquet")
        encode = msgspec.json.Encoder().encode_lines
        (root / "x.jsonl").write_bytes(encode(table.to_dicts()))
        for path in (root / "x.parquet", root / "x.jsonl"):
            passes = {
                "scan": lambda path=path: scan(path),
                "best": lambda path=path: reranked(path, ["best_of_k"], root / "a.jsonl"),
                "several": lambda path=path: reranked(path, SEVERAL, root / "a.jsonl"),
            }
            taken = alternate(passes, given.repeats)
            best, several = (taken[name] / taken["scan"] for name in ("best", "several"))
            held &= best <= LIMIT
            print(
                f"{path.suffix[1:]}, {len(table)} candidates, K = {given.size}, "
                f"{pl.thread_pool_size()} polars threads: scan {taken['scan']:.3f} s; best of K "
                f"{taken['best']:.3f} s, ratio {best:.2f} (limit {LIMIT:g}); "
                f"{', '.join(SEVERAL)} {taken['several']:.3f} s, ratio {several:.2f}"
            )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
