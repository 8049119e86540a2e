"""What a sweep says on a screen and on its page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_sweep import ETA, OPERATOR, fake

from tod.show.figures.differences import DifferenceRow, differences
from tod.show.figures.small_multiples import colouring, panels
from tod.show.page.sweep_page import sweep_page
from tod.show.sweep import Sweep
from tod.show.terminal.sweep_screen import regime_of, sweep_lines
from tod.study.sweep.axis import Axis
from tolerance import printed

LONG = Axis("operator.action.trust_region", "trust_region",
            tuple({"kind": "clip", "low": x / 10, "high": x / 7} for x in range(12)))  # fmt: skip
REGION = Axis("train.learning_rate", "learning_rate", ("1e-3", "3e-4", "1e-4"))
SWEEPS = {
    "one setting": {"axes": ()},
    "one axis": {"axes": (ETA,)},
    "two axes": {},
    "three axes": {"axes": (ETA, OPERATOR, REGION)},
    "long names": {"axes": (LONG, OPERATOR)},
    "one seed": {"seeds": 1},
    "failed": {"failed": (1, 4, 7), "unequal": ("size: grpo 16, gspo 8",) * 9},
    "nothing ended": {"waiting": range(99)},
    "every run failed": {"failed": range(99)},
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_fits_a_screen_and_opens_with_the_answer(name):
    document, found = fake(**SWEEPS[name])
    page = Path("runs") / ("folder" * 4) / "sweep.html"
    lines = sweep_lines(document, found, page.parent, page)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert document.answer.startswith(lines[0])
    assert lines[-1] == f"page: {page}"
    assert sum(line.startswith("failed:") for line in lines) == min(
        3, sum(run.state == "failed" for run in document.runs)
    )


def test_settings_stand_the_best_first_with_what_they_are_less():
    document, found = fake(axes=(ETA,))
    lines = sweep_lines(document, found, Path("x"))
    assert document.answer.startswith("eta 8 ended best")
    ranked = found.ranked
    table = [line for line in lines if re.match(r"eta \d  ", line)]
    assert len(table) == 4
    for line, cell in zip(table, ranked, strict=True):
        value = float(line.split()[2])
        assert value == pytest.approx(cell.end.value, abs=printed(3))
        effect = found.less_best(cell)
        if effect is not None:
            less = float(line.split()[5].replace("−", "-"))
            assert less == pytest.approx(effect.difference.value, abs=printed(3))
            assert line.split()[8] == ("yes" if found.told(effect) else "no")
        assert line.endswith("transition")


def test_many_settings_are_cut_and_counted():
    document, found = fake(axes=(ETA, OPERATOR, REGION))
    lines = sweep_lines(document, found, Path("x"))
    shown = [line for line in lines if line.endswith("transition")]
    (more,) = [line for line in lines if line.endswith("settings more")]
    assert len(shown) + int(more.split()[1]) == 36


def test_one_seed_says_so():
    lines = "\n".join(sweep_lines(*fake(seeds=1), Path("x")))
    assert "±" not in lines
    assert "One seed has no interval" in lines


def test_settings_that_do_nothing_are_named():
    document, found = fake(axes=(ETA,))
    _, copied = fake(axes=(ETA,))
    cells = [found.cells[0], replace(found.cells[0], label="eta 2"), *found.cells[2:]]
    found = replace(found, cells=tuple(cells))
    assert found.alike == [("eta 1", "eta 2")]
    assert copied.alike == []
    lines = sweep_lines(document, found, Path("x"))
    assert "alike at every step and on every prompt: eta 1 and eta 2" in lines
    assert "eta 1 and eta 2 are alike" in sweep_page(document, found)


def test_the_verdict_of_a_setting_whose_seeds_differ():
    _, found = fake(axes=(ETA,))
    cell = found.cells[0]
    assert regime_of(cell) == "transition"
    cell.runs[0].judged["regime"]["verdict"] = "swap_stable"
    assert regime_of(cell) == "differs by seed"


@pytest.mark.parametrize("name", SWEEPS)
def test_a_page_is_made_of_every_sweep(name):
    document, found = fake(**SWEEPS[name])
    html = sweep_page(document, found)
    assert document.answer in html
    assert html.count('<circle class="end ') == sum(run.state == "done" for run in document.runs)
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_text_of_a_recipe_is_no_markup():
    hostile = Axis("train.x", "x", ("<script>alert(1)</script>", "b\x1b[2J"))
    document, found = fake(axes=(hostile,))
    html = sweep_page(document, found)
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\x1b" not in "".join(sweep_lines(document, found, Path("x")))
    assert "<script>alert" not in Sweep(Path("x"), document, found)._repr_html_()


def test_operators_have_the_colours_and_the_rest_the_panels():
    _, found = fake()
    axes = (ETA, OPERATOR)
    assert colouring(axes).place == 1
    plots = panels(axes, found.cells)
    assert [plot.title for plot in plots] == ["eta 1", "eta 2", "eta 4", "eta 8"]
    assert len({plot.domain for plot in plots}) == 1
    for plot in plots:
        held = [line for line in plot.series if line.error is not None]
        assert [line.name for line in held] == list(OPERATOR.values)
    cell = found.cells[0]
    line = next(line for line in plots[0].series if line.error is not None)
    assert line.y[-1] == pytest.approx(cell.end.value)
    assert line.error[-1] == pytest.approx(cell.end.error)
    many = Axis("train.x", "x", tuple(range(20)))
    assert colouring((many,)).place is None
    assert len(panels((many,), fake(axes=(many,))[1].cells)) == 20
    assert panels((ETA,), fake(axes=(ETA,), waiting=range(99))[1].cells) == []


def test_bars_are_the_intervals():
    rows = [
        DifferenceRow("a", "+1", 1.0, (0.5, 1.5), True),
        DifferenceRow("b", "−2", -2.0, (-4.0, 0.0), False),
        DifferenceRow("c", "0", 0.0, None, None),
    ]
    svg = differences("Less", rows)
    bars = re.findall(r'class="interval (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    zero = float(re.search(r'class="guide now" x1="([\d.]+)"', svg)[1])
    unit = (450.0 - 8.0) / 8.0  # pixels: from −4 to 4 between the margins
    assert [bar[0] for bar in bars] == ["stable", "undetermined"]
    drawn = [(float(x), float(x) + float(wide)) for _, x, wide in bars]
    near = 2 * printed(2)
    assert drawn[0] == pytest.approx((zero + 0.5 * unit, zero + 1.5 * unit), abs=near)
    assert drawn[1] == pytest.approx((zero - 4 * unit, zero), abs=near)
