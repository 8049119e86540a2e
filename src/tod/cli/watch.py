"""`tod watch PATH...`: the findings of `tod diagnose` while a run is being written."""

import os
import signal
import subprocess
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated

import typer

from tod.base import SpecError
from tod.cli.configured import configured, expected_by
from tod.cli.diagnose import EXITS
from tod.cli.failures import told
from tod.cli.options import (
    Config,
    Format,
    Framework,
    Map,
    Method,
    Paths,
    Set,
    Version,
    panel,
    parse_map,
    told_of,
)

if TYPE_CHECKING:
    from tod.findings import Finding
    from tod.findings.watching import Alerts, Look, Watch
    from tod.show.terminal.watch_screen import WatchScreen

to_look, to_tell = panel("When it looks"), panel("What it does with a finding")
PATIENCE = 60.0
"""Seconds after which a command of --exec is stopped."""


def watch_command(
    paths: Paths,
    every: Annotated[float, to_look(help="Seconds between two looks.", min=0.1)] = 30.0,
    looks: Annotated[
        int, to_look(help="Consecutive looks in which a finding must be seen.", min=1)
    ] = 2,
    once: Annotated[
        bool,
        to_look(
            "--once",
            help="One look, for cron: exit 3 on a warning, 4 on a critical finding. Without "
            "--state one look is enough to tell a finding.",
        ),
    ] = False,
    until_step: Annotated[
        int | None, to_look(help="End when this training step has been read.")
    ] = None,
    execute: Annotated[
        str | None,
        to_tell(
            "--exec",
            help="Command of the shell, run once per new finding; it finds what was found in "
            "TOD_FINDING, TOD_SEVERITY, TOD_HEADLINE and TOD_STEP.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        to_tell(help="File that keeps what was read and told, so that a restart goes on."),
    ] = None,
    json_out: Annotated[
        str | None,
        to_tell(
            "--json", help="Write all findings as JSON to a file at every look that saw a change."
        ),
    ] = None,
    config: Config = None,
    framework: Framework = None,
    method: Method = None,
    settings: Set = None,
    version: Version = None,
    format_: Format = "auto",
    mapping: Map = None,
) -> None:
    """Watch a run that is being written, and tell each finding once.

    Reads what `tod diagnose` reads, each rollout file once. Ctrl-C ends it with a summary.

    Example: tod watch outputs/completions --once

    During training, with a message on the desktop for every new finding:
    tod watch outputs --exec 'notify-send "$TOD_SEVERITY: $TOD_HEADLINE"'
    """
    from tod.findings.watching import Alerts, Watch
    from tod.show.terminal.watch_screen import WatchScreen

    file = configured(config, told_of(framework, method, settings, version))
    watch = Watch(paths, format_, parse_map(mapping or []), expected_by(file))
    if json_out == "-" and not once:
        raise SpecError("--json -: stdout holds one document. With --once, or name a file.")
    alerts = Alerts(1 if once and state is None else looks)
    if state is not None:
        watch.restore(state, alerts)
    with WatchScreen(quiet=json_out == "-") as screen:
        if once:
            seen = watch.look()
            _write(seen, json_out)
            _tell(seen, alerts, screen, execute)
            _save(watch, alerts, state, screen)
            screen.status(seen, alerts.confirmed(seen.findings), _now())
            _leave(seen, alerts)
            return
        _missing(paths)
        last = _until_the_end(watch, alerts, screen, every, until_step, execute, state, json_out)
    if last is not None:
        from tod.show.terminal.findings_screen import show_findings

        show_findings(last.findings)


def _until_the_end(
    watch: "Watch",
    alerts: "Alerts",
    screen: "WatchScreen",
    every: float,
    until_step: int | None,
    execute: str | None,
    state: Path | None,
    json_out: str | None,
) -> "Look | None":
    """Look until the last step or Ctrl-C; the last look, None without any.

    A look that fails is said, and the next one tries again.
    """
    last = None
    with suppress(KeyboardInterrupt):
        while True:
            try:
                last = watch.look()
            except Exception as error:
                screen.waiting(told(error)[0], _now())
            else:
                _tell(last, alerts, screen, execute)
                if last.changed:
                    _write(last, json_out)
                    _save(watch, alerts, state, screen)
                screen.status(last, alerts.confirmed(last.findings), _now())
                if until_step is not None and (last.step or 0) >= until_step:
                    break
            sleep(every)
    return last


def _write(seen: "Look", json_out: str | None) -> None:
    """The findings of a look as JSON, where they are wanted."""
    from tod.show.output import put_json

    if json_out is not None:
        said = {"schema": "tod.findings/1", "step": seen.step, **seen.findings.to_dict()}
        put_json(said, json_out)


def _missing(paths: list[str]) -> None:
    """Refuse paths none of which is there: nobody waits for a typing error.

    Raises:
        DataError: With the first of them.
    """
    from tod.formats.files import expand

    if not any(os.path.lexists(os.path.expanduser(path)) for path in paths):
        expand(paths)


def _tell(seen: "Look", alerts: "Alerts", screen: "WatchScreen", execute: str | None) -> None:
    """One line per new finding, and the command for it."""
    for finding in alerts.update(seen.findings, changed=seen.changed):
        screen.finding(finding, _now())
        if execute is not None:
            problem = run_for(finding, execute)
            if problem is not None:
                screen.say(f"--exec failed for {finding.kind}: {problem}")
    screen.problems(seen.problems)


def run_for(finding: "Finding", command: str, patience: float = PATIENCE) -> str | None:
    """Run a command of the shell for a finding, which it gets in its environment alone.

    Args:
        finding: What was found. TOD_STEP is the first step of it, empty where it has none.
        command: As the person typed it: nothing of any file becomes part of it.
        patience: Seconds after which it is stopped, with what it started.

    Returns:
        What went wrong, or None.
    """
    from tod.base.text import visible

    onset = finding.onset
    step = None if onset is None else onset.first
    said = {
        "TOD_FINDING": finding.kind,
        "TOD_SEVERITY": finding.severity,
        "TOD_HEADLINE": " ".join(visible(finding.headline).split()),
        "TOD_STEP": "" if step is None else str(step),
    }
    try:
        process = subprocess.Popen(  # noqa: S602 - the person's own command, for their own shell
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **said},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return str(error)
    try:
        code = process.wait(patience)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"it was stopped after {patience:g} seconds"
    return None if code == 0 else f"it ended with exit code {code}"


def _save(watch: "Watch", alerts: "Alerts", state: Path | None, screen: "WatchScreen") -> None:
    """Keep the state; where that fails it is said, and watching goes on."""
    if state is None:
        return
    try:
        watch.save(state, alerts)
    except OSError as error:
        screen.say(f"--state {state} cannot be written ({error.strerror or error})")


def _leave(seen: "Look", alerts: "Alerts") -> None:
    """Exit by the worst of the findings that were told."""
    codes = [EXITS[finding.severity] for finding in alerts.confirmed(seen.findings)]
    if any(codes):
        raise typer.Exit(max(codes))


def _now() -> datetime:
    return datetime.now().astimezone()
