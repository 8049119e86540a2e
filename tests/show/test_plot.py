"""Lines, gaps, bands and what the cursor reads."""

import re

from tod.base.text import plainly
from tod.show.figures.plot import Plot, PlotLine, cursor_data, describe, figure


def plot(y, **more):
    return Plot("T", [PlotLine("a", list(range(len(y))), y, "s0", **more)], (0.0, 4.0), plainly)


def path_of(html):
    return re.findall(r'<path class="line[^"]*" d="([^"]+)"', html)


def test_unknown_values_leave_a_gap():
    (drawn,) = path_of(figure(plot([1.0, 2.0, None, 3.0, 4.0]), "p"))
    assert drawn.count("M") == 2


def test_a_lone_value_is_a_dot():
    html = figure(plot([None, 2.0, None]), "p")
    assert path_of(html) == []
    assert html.count('class="dot') == 1


def test_rare_measurements_are_joined_and_carry_their_errors():
    html = figure(plot([1.0, None, 3.0], error=[0.5, None, None]), "p")
    assert path_of(html)[0].count("M") == 1
    assert html.count('class="dot') == 2
    assert html.count('class="bar') == 1


def test_height_grows_with_the_value():
    (drawn,) = path_of(figure(plot([0.0, 4.0]), "p"))
    (_, low), (_, high) = (map(float, pair.split(",")) for pair in drawn[1:].split("L"))
    assert high < low


def test_cursor_reads_every_step_of_any_series():
    lines = [PlotLine("a", [0, 2], [1.0, None], "s0"), PlotLine("b", [1, 2], [5.0, 6.0], "s1")]
    data = cursor_data(Plot("T", lines, (0.0, 6.0), plainly))
    assert data["steps"] == [0, 1, 2]
    assert data["values"] == [["1", "", "–"], ["", "5", "6"]]


def test_stacked_layers_read_their_own_share():
    line = PlotLine("a", [0, 1], [0.7, 0.9], "k1 stack", area=[0.5, 0.5], read=[0.2, 0.4])
    data = cursor_data(Plot("T", [line]))
    assert data["values"] == [["0.20", "0.40"]]


def test_in_words():
    assert describe(plot([None, 2.0, 3.0])) == "a: 2 at step 1, 3 at step 2"
    assert describe(plot([None])) == "no values"


def test_a_single_step_is_drawn():
    assert 'class="dot' in figure(plot([2.0]), "p")
