"""Nothing from a file or an argument steers the terminal, whichever command prints it."""

import contextlib
import io
import json
import os
import pty
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from every_command import COMMANDS
from tod.base.streams import Guarded, guarded
from tod.base.text import visible
from tod.cli.main import main
from tod.show.output import json_text
from tod.show.screen import Screen, table

ROOT = Path(__file__).parents[2]
PAYLOADS = (
    "\x1b[8m", "\x1b[2J", "\x1b]0;owned\x07", "\x9b5m", "\x90q\x9c", "\x7f", "\x08\x08", "\r", "\v",
    "\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\u2028", "\U000e0041", "[bold]", "[/]",
)  # fmt: skip
CASES = int(os.environ.get("TOD_FUZZ", "15"))
"""Hostile command lines per command; a third of them where one takes half a second."""
LONG = ("search", "selftest")


def offending(text: str, *, colour: bool = False, cursor: bool = False) -> set[str]:
    """Characters that no screen may show, our own colours and cursor moves taken out first."""
    if colour:
        text = re.sub(r"\x1b\[(0|[1-47]|[34]\d|9\d|38;[25];[\d;]+)(;[\d;]+)*m", "", text)
    if cursor:
        text = re.sub(r"\x1b\[(\?25[lh]|\d*[AK]|1G)|\r", "", text)
    unprinted = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in unprinted}


class World:
    """Files whose names, keys and values are all hostile."""

    def __init__(self, folder: Path, run: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.files = [
            self.put("dump.jsonl", self.rows()),
            self.put("saved.json", json.dumps({"schema": "tod.diagnosis/1", self.word(): 1})),
            self.put("conditions.json", json.dumps([{"excess": self.word(), "ess_two": 0.5}])),
            self.put("thresholds.yaml", yaml.safe_dump({self.word(): self.word()})),
            self.put("recipe.yaml", self.recipe()),
            self.put("train.py", f"from trl import GRPOConfig\nGRPOConfig({self.settings()})\n"),
            self.put(
                "train.sh", f"python -m verl.trainer.main_ppo a.{self.word()}=1 {self.word()}"
            ),
            self.run(run),
            self.folder / self.word(),
        ]

    def word(self) -> str:
        word = "".join(self.rng.choice([*PAYLOADS, "a", "é", " "]) for _ in range(4))
        return word.replace("/", "-")

    def label(self) -> str:
        """What a column may be called: quotes, backslashes, controls, and a hostile word."""
        return "".join(
            self.rng.choice(['"', "'", "\\", "\n", "\0", "`", self.word()]) for _ in range(4)
        )

    def put(self, name: str, text: str) -> Path:
        stem, dot, ending = name.partition(".")
        path = self.folder / f"{stem}{self.word()}{dot}{ending}"
        path.write_text(text, encoding="utf-8")
        return path

    def rows(self) -> str:
        extra, label = self.word(), self.rng.choice(["\x9bé\u202e", self.label(), self.label()])
        rows = [
            {
                "prompt": f"{self.word()} {group}",
                "completion": self.word(),
                "utility.u" + label: float(self.rng.random() < 0.5),
                "step": 1,
                "context": f"{group}{label}",
                "candidate": k,
                "log_mu": -2.0,
                extra: self.word(),
            }
            for group in range(6)
            for k in range(4)
        ]
        if self.rng.random() < 0.5:
            rows[3][self.word()] = rows[3].pop("prompt")
        return "".join(json.dumps(row, ensure_ascii=self.rng.random() < 0.5) + "\n" for row in rows)

    def recipe(self) -> str:
        data = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text())
        place = self.rng.choice([data, data["train"], data["operator"], data["target"]])
        if self.rng.random() < 0.5:
            place[self.word()] = self.word()
        else:
            place[self.rng.choice(list(place))] = self.word()
        return yaml.safe_dump(data, allow_unicode=self.rng.random() < 0.5)

    def settings(self) -> str:
        keys = ("beta", "output_dir", "loss_type", "scale_rewards")
        return ", ".join(f"{key}={self.word()!r}" for key in keys)

    def run(self, source: Path) -> Path:
        import shutil

        target = self.folder / f"run{self.word()}"
        shutil.copytree(source, target)
        label = json.dumps(f"correct{self.word()}")[1:-1]
        for name in ("manifest.json", "steps.jsonl", "decisions.jsonl"):
            path = target / name
            path.write_text(path.read_text().replace("correct", label).replace("quickstart", label))
        return target

    def value(self) -> str:
        """Something hostile for a parameter, or something that leads further in."""
        usual = ["1", "2", "grpo", "sir", "auto", "utility=x", "eta=2", "{anchor: {mu: 1}}"]
        return self.rng.choice([*map(str, self.files), *usual, self.word(), self.word()])

    def line(self, words: tuple[str, ...], command: Any) -> list[str]:
        """A command line: required arguments, some options."""
        line = list(words)
        for param in command.params:
            argument = param.param_type_name == "argument"
            if argument and (param.required or self.rng.random() < 0.3):
                line.append(self.value())
            elif not argument and self.rng.random() < 0.25 and param.name not in SLOW:
                line.append(param.opts[0])
                line += [] if param.is_flag else [self.value()]
        return [word.replace("\0", "") for word in line]


SLOW = ("every", "shared", "sizes", "help", "json_out")
"""Options that make a command slow, or that send data to stdout, which is tested by itself."""


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(ROOT / "tests" / "show"))
    from synthetic_run import make_run

    path: Path = make_run(tmp_path_factory.mktemp("runs") / "quickstart", steps=3, arc=True)
    return path


def printed(line: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Stdout and stderr of the program, with its own handling of errors."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["tod", *line])
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(out)
    with redirected[0], redirected[1], contextlib.suppress(SystemExit):
        main()
    return out.getvalue()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_prints_what_steers(
    words: tuple[str, ...], small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    short = {
        ("run",): ["--dry-run"],
        ("sweep",): ["--dry-run"],
        ("demo",): ["--threads", "0"],
        ("watch",): ["--once"],
        ("selftest",): ["--only", "every answer ties"],
    }
    for seed in range(CASES // 3 if words[0] in LONG else CASES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        line = World(folder, small_run, seed).line(words, COMMANDS[words])
        text = printed([*line, *short.get(words, [])], monkeypatch)
        assert not offending(text), (line, text)
        assert not re.search("Traceback|fault in tod", text), (line, text)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_terminal_sees_our_colours_alone(
    words: tuple[str, ...], small_run: Path, tmp_path: Path
) -> None:
    world = World(tmp_path, small_run, 99)
    once = {("run",): ["--dry-run"], ("watch",): ["--once"]}
    line = [*words, *once.get(words, [])]
    line += ["--threads", world.word()] if words == ("demo",) else []
    line += [str(world.files[7 if words[0] in ("report", "arc") else 0])]
    for stream, text in in_a_terminal(line, tmp_path).items():
        text = text.replace("\r\n", "\n")
        assert not offending(text, colour=True, cursor=words[-1] in ("audit", "watch")), (
            stream,
            line,
            text,
        )


def test_a_run_in_a_terminal_shows_progress_and_nothing_else_that_steers(tmp_path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        pytest.skip("training needs torch")
    data = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text())
    evil = "x\x1b[8m\u202e\x9b"
    data["utilities"][0]["name"] = data["target"]["utility"] = evil
    data |= {"name": "plain", "evaluate": None, "output": str(tmp_path / f"run{evil}")}
    data["train"] |= {"steps": 1, "updates_per_batch": 1}
    data["operator"]["proposal"] |= {"prompts": 2, "size": 2}
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(data))
    shown = in_a_terminal(["run", str(recipe)], tmp_path, timeout=120)
    assert "step 1" in shown["stdout"], shown
    for text in shown.values():
        assert not offending(text, colour=True, cursor=True), text


def in_a_terminal(line: list[str], folder: Path, timeout: int = 60) -> dict[str, str]:
    """What each stream receives where both are terminals that show colours."""
    ends = {name: pty.openpty() for name in ("stdout", "stderr")}
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tod.cli.main", *line],
        cwd=folder,
        env=environment,
        stdout=ends["stdout"][1],
        stderr=ends["stderr"][1],
    )
    got = dict.fromkeys(ends, b"")
    for _, slave in ends.values():
        os.close(slave)
    import selectors

    waiting = selectors.DefaultSelector()
    for name, (master, _) in ends.items():
        waiting.register(master, selectors.EVENT_READ, name)
    while waiting.get_map():
        ready = waiting.select(timeout)
        if not ready:
            process.kill()
            raise TimeoutError(line)
        for key, _ in ready:
            try:
                data = os.read(key.fd, 65536)
            except OSError:  # the other end is closed
                data = b""
            if data:
                got[key.data] += data
            else:
                waiting.unregister(key.fd)
                os.close(key.fd)
    process.wait(timeout)
    return {name: data.decode("utf-8") for name, data in got.items()}


def test_every_character_that_is_not_printed_becomes_one_that_is() -> None:
    for code in (*range(0x3000), *range(0xD800, 0xE000), *range(0xFE00, 0x10000), 0xE0041):
        shown = visible(chr(code))
        assert len(shown) == 1
        spells = 0x600 <= code < 0x606 or code in (
            0x200C,
            0x200D,
            0x6DD,
            0x70F,
            0x890,
            0x891,
            0x8E2,
        )
        assert spells or not offending(shown), hex(code)
    assert visible("naïve 日本 👍\n\t") == "naïve 日本 👍\n\t"


def test_json_on_a_terminal_is_exact_and_steers_nothing() -> None:
    data = {payload: [payload, "ü"] for payload in PAYLOADS}
    text = json_text(data)
    assert not offending(text)
    assert json.loads(text) == data
    assert "ü" in text


def test_a_console_lays_out_what_it_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(("prompt",), ("ESS",))
    rows.add_row("".join(PAYLOADS) * 3, "0.5")
    with guarded():
        screen = Screen(width=40)
        screen.print(rows)
        screen.print("[bold]as it is[/]", style="bold")
        sys.stdout.write("\x1b[31m")
    text = capsys.readouterr().out
    assert not offending(text)
    assert "[bold]as it is[/]" in text
    assert max(map(len, text.splitlines())) <= 40


def test_a_stream_without_a_guard_would_be_caught() -> None:
    """The check of this file sees what the guard takes out."""
    raw = io.StringIO()
    for payload in PAYLOADS[:16]:
        assert offending(payload, colour=True, cursor=payload == "\x1b[8m"), payload
        Guarded(raw).write(payload)
    assert not offending(raw.getvalue())
    with pytest.raises(TypeError, match="bytes"):
        Guarded(raw).write(b"x")  # type: ignore[arg-type]
