"""A sweep of 24 runs on Ray and on submitit ends at the local one's bits, though workers die."""

import os
import re
import signal
from contextlib import suppress

import pytest
from small_sweep import grid

from tod.runs import RunDirectory
from tod.runs.records import comparable
from tod.study.executors import On, remote
from tod.study.sweep.document import read
from tod.study.sweep.run import run_sweep

pytestmark = pytest.mark.slow


def runs():
    """24 runs of four steps: four settings, two rates, three seeds."""
    return grid("train.learning_rate=0.001,0.003", "seeds=3", "train.steps=4")


def bits(path):
    """What a run leaves that does not read the clock."""
    records = [comparable(record) for record in RunDirectory.open(path).steps.read()]
    return records, (path / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Each run after the other in this process."""
    folder = tmp_path_factory.mktemp("many") / "local"
    run_sweep(runs(), folder)
    return folder


class Killer:
    """Kills workers in the middle of their runs until two were lost.

    A run that ended while its worker was aimed at does not count.
    """

    def __init__(self):
        self.aimed, self.lost, self.ended = set(), [], []

    def __call__(self, state):
        if state.run is not None:
            (self.ended if state.lost is None else self.lost).append(state.run)
        for name, row in state.tally.under_way.items():
            under_way = self.aimed - {*self.lost, *self.ended}
            process = re.search(r"process (\d+)$", row.where or "")
            if row.said == 1 and process and len(self.lost) + len(under_way) < 2:
                if name in self.aimed:
                    continue
                self.aimed.add(name)
                with suppress(ProcessLookupError):
                    os.kill(int(process[1]), signal.SIGKILL)


@pytest.mark.parametrize(
    ("kind", "options"), [("local", {}), ("ray", {}), ("submitit", {"cluster": "local"})]
)
def test_a_sweep_of_24_runs_ends_at_the_same_bits(kind, options, local, tmp_path, monkeypatch):
    if kind != "local":
        pytest.importorskip(kind)
    monkeypatch.setattr(remote, "POLL", 0.01)
    killer = Killer()
    document, _ = run_sweep(runs(), tmp_path, progress=killer, on=On(kind, 2, 1, options))
    names = [run.name for run in document.runs]
    assert len(names) == 24
    assert [run.state for run in document.runs] == ["done"] * 24
    assert len(killer.lost) == 2
    assert sorted(killer.ended) == sorted(names), "each ended once"
    for name in names:
        assert bits(tmp_path / name) == bits(local / name), name
    assert read(tmp_path).differences == read(local).differences
