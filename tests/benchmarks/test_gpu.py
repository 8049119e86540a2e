"""The check of a GPU: it refuses without one, and pretends at toy size on the CPU."""

import importlib.util
import json
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from tolerance import of_log_prob

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_of_gpus", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(BENCHMARKS))


def test_without_a_gpu_nothing_is_measured_and_pretending_needs_a_place(
    bench, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for pretend, output in ((False, tmp_path), (True, None), (True, bench.RESULTS)):
        with pytest.raises(SystemExit) as stopped:
            bench.refused_or(Namespace(pretend=pretend, output=output))
        assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("no CUDA device here, so nothing was measured.")
    assert said[1:] == ["--pretend needs --output, another folder than docs/results."] * 2
    assert bench.refused_or(Namespace(pretend=True, output=tmp_path)) == tmp_path


def test_the_device_is_held_against_the_cpu(bench):
    """On the CPU itself there is nothing between them but the order of sums in the sampler."""
    found = bench.log_probs_equal(bench.TOY, "cpu")
    assert found["tokens_alike"] == 1.0
    assert found["log_pi_less_cpu"] == found["gradient_relative"] == 0.0
    assert 0 < found["log_mu_less_cpu"] < of_log_prob("float32")


def test_stages_are_written_as_they_come_and_those_without_time_are_named(
    bench, tmp_path, monkeypatch
):
    stages = [("a", lambda: {"x": 1.25, "y": None}), ("b", dict)]
    monkeypatch.setattr(bench, "stages", lambda *_: stages)
    made = bench.check(True, tmp_path)
    assert (made.stages, made.left_out) == ({"a": {"x": 1.25, "y": None}, "b": {}}, [])
    page = (tmp_path / "gpu.md").read_text()
    assert page.startswith("# On a GPU: pretended, on a CPU at toy size; no figure means anything")
    assert "| x | 1.25 |\n| y | unknown |" in page
    assert json.loads((tmp_path / "gpu.json").read_text())["pretend"] is True
    monkeypatch.setattr(bench, "MINUTES", -1.0)
    assert bench.check(True, tmp_path).left_out == ["a", "b"]
    assert "minutes were over: b." in (tmp_path / "gpu.md").read_text()


def test_a_stage_that_fails_or_hangs_is_named_and_the_others_go_on(bench, tmp_path, monkeypatch):
    def fails():
        raise RuntimeError("no `room`\non the device")

    def hangs():
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("what is measured takes the end of its time for an error of its own")

    stages = [("a", fails), ("b", hangs), ("c", lambda: {"x": 1})]
    monkeypatch.setattr(bench, "stages", lambda *_: stages)
    monkeypatch.setattr(bench, "STAGE_MINUTES", 0.01 / 60)
    before = signal.getsignal(signal.SIGALRM)
    made = bench.check(True, tmp_path)
    assert signal.getsignal(signal.SIGALRM) == before
    assert made.failed == {"a": "RuntimeError: no `room` on the device", "b": "not done after 0 s"}
    assert (made.stages, made.left_out) == ({"c": {"x": 1}}, [])
    page = (tmp_path / "gpu.md").read_text()
    assert "Failed: a: `RuntimeError: no room on the device`." in page
    assert json.loads((tmp_path / "gpu.json").read_text())["failed"] == made.failed


def test_operations_are_those_of_the_ledger_and_memory_is_not_made_up(bench, tmp_path):
    """6·P a token, attention and logits: counted again, from the shape alone."""
    (size,) = list(bench.TOY.models.values())[:1]
    bench.random_model(size, tmp_path / "m")
    found = bench.training(bench.TOY, tmp_path / "m", "cpu")
    width = size.hidden // size.heads * size.key_heads
    matrices = size.layers * (
        2 * size.hidden**2 + 2 * size.hidden * width + 3 * size.hidden * size.inner
    )
    candidates = bench.TOY.prompts * bench.TOY.size
    least = 6 * matrices * candidates  # one token each
    most = 10 * (matrices + size.hidden * size.vocabulary) * candidates * (bench.TOY.new + 20)
    assert least < found["train_flops"] < most
    assert found["memory_bytes"] is found["memory_of_forecast"] is found["mfu_of_peak"] is None
    share = found["train_flops"] / found["train_seconds"] / found["gemm_flops_per_second"]
    assert found["mfu_of_gemm"] == pytest.approx(share)


@pytest.mark.slow
def test_all_of_it_walks_on_the_cpu(bench, tmp_path):
    made = bench.check(True, tmp_path)
    assert (made.left_out, made.failed) == ([], {})
    assert made.stages["equality of a step"]["weights_difference"] == 0.0
    assert made.stages["step against TRL, a"]["speed"] > 0
    assert made.stages["sampler against generate(), a"]["speedup"] > 0
    assert (tmp_path / "gpu.md").read_text().count("\n## ") == 6
