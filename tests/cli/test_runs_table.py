"""The table of runs under way, in 80 columns and 24 lines, and the lines of it elsewhere."""

import io

from tod.cli.runs_table import RunsTable, standing
from tod.show.screen import Screen
from tod.study.executors import Tally, TaskRow


def many(count):
    rows = {
        f"eta-1--operator-{i:02d}--" + "x" * 60 + f"--seed-{i}": TaskRow(1) for i in range(count)
    }
    for i, row in enumerate(rows.values()):
        row.where, row.said = f"a-machine-of-a-long-name-{i}, process 12345", 10 + i
    rows["queued"] = TaskRow(2)
    return Tally(rows, finished=3, failed={"y": "why"}, lost={"x": 1, "y": 3})


def test_the_table_fits_the_screen_and_names_what_is_under_way():
    out = io.StringIO()
    screen = Screen(file=out, width=80, force_terminal=False)
    screen.print(RunsTable(screen, 3)._table(7.5, 64, 3600.0, many(20)))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "7 of 64 finished, 20 running, 1 waiting, 1 lost and tried again" in lines[0]
    text = out.getvalue()
    assert "step 10" in text
    assert "--seed-0" in text, "the end of a long name, in which runs differ"
    assert "and 9 more under way" in text


def test_a_run_that_was_lost_for_good_counts_as_failed_alone():
    assert standing(7, 64, None, many(0)).endswith(
        "7 of 64 finished, 0 running, 1 waiting, 1 lost and tried again, 1 failed"
    )


def test_elsewhere_a_line_says_what_ended_and_what_was_lost():
    out = io.StringIO()
    shown = RunsTable(Screen(file=out, width=200), 3)
    with shown.shown():
        shown.tell(1, 4, None, "")
        shown.tell(1, 4, None, "b", Tally(lost={"b": 1}), "its process was ended by SIGKILL")
        shown.tell(2, 4, 90.0, "b", Tally(lost={"b": 1}))
    assert out.getvalue().splitlines() == [
        "lost: b: its process was ended by SIGKILL; try 2 of 3",
        "2 of 4, 1.5 min left, b",
    ]


def test_a_terminal_shows_the_table_as_it_changes():
    out = io.StringIO()
    shown = RunsTable(Screen(file=out, width=80, force_terminal=True), 3)
    with shown.shown():
        shown.tell(0, 2, None, "", Tally({"a": TaskRow(1)}))
        shown.tell(1, 2, 60.0, "a", Tally({"b": TaskRow(1, "process 7", 3)}, finished=1))
    text = out.getvalue()
    assert "1 of 2 finished, 1 running, 1.0 min left" in text
    assert "process 7" in text
    assert "step 3" in text
