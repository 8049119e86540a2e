"""A growing run, look by look: the same findings as one reading of all, each file read once."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tod
from findings.test_planted_files import FORMATS, drawn, written
from formats import writers
from tod.base import DataError, SpecError
from tod.findings import Finding, Findings, TrainingRun, find, run_of, watching
from tod.findings.watching import REST, Alerts, Watch
from tod.logs import read_log


def failing(seed: int = 0, steps: int = 14, prompts: int = 8, at: int = 7):
    """A run in which every answer fails from one step on."""
    columns = drawn(seed, steps, prompts)
    columns.reward[at:] = 0.0
    return columns


def growing(source: Path, target: Path, parts: int = 3) -> Iterator[None]:
    """Copy a folder to another, some files at a time and in the order of their writing.

    Of the files that are copied the last one is torn at first: half of its lines, for text.
    """
    files = sorted((p for p in source.rglob("*") if p.is_file()), key=tod_order)
    size = max(1, -(-len(files) // parts))
    for start in range(0, len(files), size):
        for file in files[start : start + size]:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            last = file == files[min(start + size, len(files)) - 1]
            if last and file.suffix == ".jsonl":
                lines = file.read_bytes().splitlines(keepends=True)
                place.write_bytes(b"".join(lines[: max(1, len(lines) // 2)]) + b'{"torn": ')
                yield
            shutil.copyfile(file, place)
        yield


def tod_order(path: Path):
    from tod.formats.files import natural

    return natural(str(path))


def at_once(path: Path) -> dict:
    return find(run_of(tod.read(path, max_rejected=1.0))).to_dict()


@pytest.mark.parametrize("name", FORMATS)
def test_every_look_sees_what_one_reading_of_all_sees(name, tmp_path, monkeypatch):
    write, options = FORMATS[name]
    given = write(written(failing()), tmp_path / "whole", **options)
    source = Path(given) if Path(given).is_dir() else tmp_path / "whole"
    monkeypatch.setattr(watching, "recognise", lambda path: None)
    target = tmp_path / "grows"
    watch = Watch([target])
    looks = []
    for _ in growing(source, target):
        try:
            expected = at_once(target)
        except DataError:  # a file beside the rollouts came first
            with pytest.raises(DataError):
                watch.look()
            continue
        look = watch.look()
        assert look.findings.to_dict() == expected
        looks.append(look)
    assert "all_fail" in {f.kind for f in looks[-1].findings.faults}
    again = watch.look()
    assert not again.changed
    assert again.findings is looks[-1].findings


def verl(path: Path, columns=None, **options) -> Path:
    return Path(writers.write_verl(written(columns or failing(**options)), path))


def test_a_file_is_read_once_and_again_when_it_grows(tmp_path, monkeypatch):
    source, target = verl(tmp_path / "whole"), tmp_path / "grows"
    target.mkdir()
    read: list[str] = []
    real = watching.read_piece

    def counted(files, *others):
        read.extend(path.name for path, _ in files)
        return real(files, *others)

    monkeypatch.setattr(watching, "read_piece", counted)
    files = sorted(source.glob("*.jsonl"), key=tod_order)
    watch = Watch([target])
    for file in files:
        shutil.copyfile(file, target / file.name)
        watch.look()
    assert read == [file.name for file in files]
    lines = files[3].read_bytes().splitlines(keepends=True)
    (target / files[3].name).write_bytes(b"".join(lines[:-4]))
    assert watch.look().fresh == 1
    assert read == [*(file.name for file in files), files[3].name]
    assert watch.look().fresh == 0


def test_a_step_in_several_files_is_read_together(tmp_path):
    """Two files of one step, as two ranks write them: the answers of both are its rollouts."""
    source = verl(tmp_path / "whole")
    (tmp_path / "ranks").mkdir()
    for file in source.glob("*.jsonl"):
        lines = file.read_bytes().splitlines(keepends=True)
        for rank in range(2):
            rows = [{**json.loads(line), "id": file.stem} for line in lines[rank::2]]
            text = "".join(
                json.dumps({"r": row["score"], "p": row["input"], "s": int(file.stem), "t": "a"})
                + "\n"
                for row in rows
            )
            (tmp_path / "ranks" / f"rank{rank}-{file.stem}.jsonl").write_text(text)
    mapping = {"utility": "r", "context": "p", "step": "s"}
    look = Watch([tmp_path / "ranks"], mapping=mapping).look()
    whole = find(run_of(tod.read(tmp_path / "ranks", mapping=mapping)))
    assert look.findings.to_dict() == whole.to_dict()
    rollouts = look.findings.run.rollouts
    assert rollouts is not None
    assert rollouts.groups.uniform == 4


def test_two_runs_are_refused_as_one_reading_refuses_them(tmp_path):
    verl(tmp_path / "one", seed=0)
    verl(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match="both hold"):
        Watch([tmp_path]).look()


def test_a_log_is_read_again_when_it_grows(tmp_path):
    rows = [{"step": s, "train/reward": 0.5 + 0.02 * (s % 3), "loss": 0.1} for s in range(1, 25)]
    log = tmp_path / "metrics.jsonl"
    watch = Watch([log])
    for end in (8, 24):
        log.write_text("".join(json.dumps(row) + "\n" for row in rows[:end]))
        look = watch.look()
        assert look.findings.to_dict() == find(run_of(logs=[read_log(log)])).to_dict()
        assert look.step == end
    assert not watch.look().changed


def test_nothing_yet_is_said_and_what_cannot_be_read_is_tried_again(tmp_path):
    watch = Watch([tmp_path])
    with pytest.raises(DataError, match="no rollout file"):
        watch.look()
    source = verl(tmp_path.with_name("source"))
    files = sorted(source.glob("*.jsonl"), key=tod_order)
    shutil.copyfile(files[0], tmp_path / "1.jsonl")
    damaged = tmp_path / "2.jsonl.gz"
    damaged.write_bytes(b"no gzip")
    look = watch.look()
    assert len(look.problems) == 1
    assert "not gzip" in look.problems[0]
    damaged.unlink()
    shutil.copyfile(files[1], tmp_path / "2.jsonl")
    look = watch.look()
    assert look.problems == ()
    assert look.step == int(files[1].stem)


def test_a_state_goes_on_without_reading_again(tmp_path):
    source, target = verl(tmp_path / "whole"), tmp_path / "grows"
    target.mkdir()
    files = sorted(source.glob("*.jsonl"), key=tod_order)
    for file in files[:-1]:
        shutil.copyfile(file, target / file.name)
    first, alerts = Watch([target]), Alerts()
    alerts.update(first.look().findings)
    first.save(tmp_path / "state", alerts)
    for file in files:
        shutil.copystat(file, file)
    shutil.copyfile(files[-1], target / files[-1].name)
    second, later = Watch([target]), Alerts()
    second.restore(tmp_path / "state", later)
    assert later.seen == alerts.seen
    look = second.look()
    assert look.fresh == 1
    assert look.findings.to_dict() == at_once(target)
    assert "all_fail" in {f.kind for f in later.update(look.findings)}
    third = Watch([target], mapping={"utility": "score"})
    third.restore(tmp_path / "state", Alerts())
    assert not third._read


@pytest.mark.parametrize("content", [b"", b'{"reward": 1}\n', b"PK\x05\x06" + bytes(18)])
def test_another_file_is_no_state_and_stays(tmp_path, content):
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes(content)
    with pytest.raises(SpecError, match="no state"):
        Watch([tmp_path]).restore(path, Alerts())
    assert path.read_bytes() == content


def test_a_state_never_unpickles(tmp_path):
    import io
    import zipfile

    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "planted"),)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Planted()], dtype=object), allow_pickle=True)
    alerts = {"seen": {}, "told": {}}
    with zipfile.ZipFile(tmp_path / "state", "w") as archive:
        told = {"schema": "tod.watch/1", "settings": ["auto", []], "alerts": alerts}
        archive.writestr("watch.json", json.dumps(told))
        archive.writestr("pieces.json", "[]")
        archive.writestr("reward.npy", buffer.getvalue())
    with pytest.raises(SpecError, match="no state"):
        Watch([tmp_path]).restore(tmp_path / "state", Alerts())
    assert not (tmp_path / "planted").exists()


def of(*kinds: str, severity: str = "warning") -> Findings:
    return Findings(TrainingRun(), tuple(Finding(k, severity, f"{k}.") for k in kinds))


def kinds(findings: list[Finding]) -> list[str]:
    return [f.kind for f in findings]


def test_a_finding_is_told_once_after_consecutive_looks():
    alerts = Alerts()
    assert kinds(alerts.update(of("a"))) == []
    assert kinds(alerts.update(of("b"))) == []
    assert kinds(alerts.update(of("a", "b"))) == ["b"]
    assert kinds(alerts.update(of("a", "b"))) == ["a"]
    assert kinds(alerts.update(of())) == []
    assert [kinds(alerts.update(of("a", "b"))) for _ in range(3)] == [[], [], []]
    alerts.update(of("a", severity="critical"))
    assert kinds(alerts.update(of("a"))) == []


def test_what_gets_worse_is_told_again():
    alerts = Alerts(looks=1)
    alerts.update(of("a"))
    assert kinds(alerts.update(of("a", severity="critical"))) == ["a"]
    assert kinds(alerts.update(of("a"))) == []


def test_the_same_data_are_no_second_look_until_the_run_rests():
    alerts = Alerts()
    alerts.update(of("a"))
    told = [kinds(alerts.update(of("a"), changed=False)) for _ in range(REST + 1)]
    assert told == [[]] * (REST - 1) + [["a"], []]


def test_several_of_a_kind_are_told_apart():
    alerts = Alerts(looks=1)
    alerts.update(of("a"))
    assert len(alerts.update(of("a", "a"))) == 1
