"""Windows of a run in the phase diagram, against the rows of a window read at once."""

import re

import numpy as np
import pytest

from tod.base import Groups
from tod.population import leg_statistics
from tod.regimes import Thresholds
from tod.show.figures.legs import X as LEG_X
from tod.show.figures.legs import legs
from tod.show.figures.phase import LEAST, X, phase_diagram
from tod.show.figures.svg import number
from tod.show.page.run_data import RunView
from tod.show.page.windows import MOST, Window, of_trend, of_verdict, windows_of

PROMPTS, K, ETA = 24, 8, 3.0


def rewards(seed):
    rng = np.random.default_rng(seed)
    return (rng.random((PROMPTS, K)) < rng.beta(2, 2, (PROMPTS, 1))).astype(float)


def counted(*steps):
    passed = np.concatenate(steps)
    groups = Groups.equal(len(passed), K)
    return leg_statistics(groups, log_w=passed.ravel(), anchored=True, eta=ETA)


def interval(low, value, high):
    return {"low": low, "value": value, "high": high}


@pytest.mark.parametrize("count", [1, 8, 19])
def test_a_window_is_its_rows_read_at_once(count):
    drawn = {step: rewards(step) for step in range(1, count + 1)}
    tails = {step: 0.1 + step / 100 for step in drawn}
    found = windows_of({step: counted(rows) for step, rows in drawn.items()}, tails)
    wide = int(np.ceil(count / MOST))
    assert len(found) == int(np.ceil(count / wide)) <= MOST
    assert [step for w in found for step in range(w.first, w.last + 1)] == list(drawn)
    for window in found:
        rows = [drawn[step] for step in range(window.first, window.last + 1)]
        whole = counted(*rows).population()["target_proposal"]
        assert window.interval == whole.median.to_dict()
        assert window.prompts == sum(len(set(group)) > 1 for part in rows for group in part)
        assert window.tail == (tails[window.first], tails[window.last])


def test_what_cannot_be_read_is_left_out():
    blind = np.zeros((PROMPTS, K))
    assert windows_of({1: counted(blind)}, {1: 0.2}) == []
    assert windows_of({1: counted(rewards(0))}, {1: None}) == []
    assert windows_of({}, {}) == []


def test_a_saved_trend_has_a_window_a_step_where_they_are_few():
    row = {"step": 3, "population": interval(0.4, 0.5, 0.6), "max_weight_median": 0.2}
    row |= {"informative": 7}
    assert of_trend([row]) == [Window(3, 3, row["population"], (0.2, 0.2), 7)]
    assert of_trend([row | {"population": None}, row | {"max_weight_median": None}]) == []
    assert of_trend([row] * (MOST + 1)) == []
    assert of_trend([{"step": 1, "max_weight_median": 0.2}]) == []  # of version 0.2


def test_words_of_a_window():
    assert Window(1, 4, interval(0.4, 0.5, 0.6), (0.2, 0.3), 1200).words == (
        "steps 1 to 4: ESS_rel 0.50 (0.40 to 0.60), largest weight 0.20 to 0.30, "
        "1,200 prompts with a signal"
    )
    tail = Window(2, 2, interval(0.0, 0.3, 0.5), (0.2, 0.2))
    assert tail.words == "step 2: ESS_rel not above 0.50, largest weight 0.20"
    assert (tail.low, tail.middle, tail.high) == (0.0, 0.5, 0.5)
    open_ = Window(2, 2, interval(None, None, None), (0.2, 0.2))
    assert (open_.low, open_.high) == (0.0, 1.0)
    assert "not bounded" in open_.words


def judged(said, pool=None, legs_=()):
    regime = {"verdict": "transition", "point": {"interval": said}, "legs": list(legs_)}
    return {"regime": regime, "pool": pool, "regime_before": None}


def test_the_verdict_has_its_own_box():
    said, tails = interval(0.2, 0.3, 0.4), {1: 0.5, 2: 0.2, 3: 0.3}
    pool = {"first": 2, "last": 3, "policy_first": 2}
    assert of_verdict(judged(said, pool), tails, [1, 2, 3]) == Window(2, 3, said, (0.2, 0.3), 0)
    assert of_verdict(judged(said), tails, [1, 2, 3]).steps == "steps 1 to 3"
    assert of_verdict(judged(None, pool), tails, [1, 2, 3]) is None
    assert of_verdict(judged(said, pool), {}, [2]) is None
    assert of_verdict({"regime": None, "pool": None}, {}, []) is None


def view(said, windows=()):
    steps = [
        {"step": step, "tails": {"max_weight_median": tail}} for step, tail in ((1, 0.2), (2, 0.3))
    ]
    return RunView("r", steps, verdict=judged(said), windows=list(windows))


def corners(path):
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", path)]


def test_boxes_span_their_intervals():
    html = phase_diagram([view(interval(0.25, 0.5, 0.75))], ["s0"])
    (path,) = re.findall(r'<path class="pooled s0" d="([^"]+)"', html)
    assert path.endswith("Z")
    across = [x for x, _ in corners(path)]
    assert (min(across), max(across)) == (float(number(X(0.25))), float(number(X(0.75))))
    assert "the verdict is of steps 1 to 2: ESS_rel 0.50 (0.25 to 0.75)" in html


def test_a_box_without_a_lower_end_is_open_to_the_left_and_a_line_can_be_seen():
    run = view(interval(0.0, 0.2, 0.4))
    run.steps[0]["tails"]["max_weight_median"] = 0.3
    (path,) = re.findall(r'class="pooled s0" d="([^"]+)"', phase_diagram([run], ["s0"]))
    assert not path.endswith("Z")
    up = [y for _, y in corners(path)]
    assert round(max(up) - min(up), 1) == LEAST  # coordinates have two decimals
    assert corners(path)[0][0] == float(number(X(0.0)))


def test_one_window_is_not_drawn_twice():
    box = Window(1, 2, interval(0.2, 0.3, 0.4), (0.2, 0.3))
    assert 'class="window' not in phase_diagram([view(box.interval, [box])], ["s0"])
    two = [Window(step, step, box.interval, (0.2, 0.2)) for step in (1, 2)]
    assert phase_diagram([view(box.interval, two)], ["s0"]).count('class="window') == 2


def test_no_interval_leaves_a_diagram():
    html = phase_diagram([view(None)], ["s0"])
    assert "r: no step has both coordinates" in html


def leg(name, word, median=None, why=None):
    ess = None if median is None else {"median": median}
    return {"leg": name, "word": word, "ess": ess, "why": why}


def test_legs_are_bars_of_their_intervals_with_the_sample_as_a_tick():
    regime = {
        "legs": [
            leg("target_proposal", "transition", interval(0.2, 0.4, 0.6)),
            leg("policy_proposal", "not_recorded"),
            leg("target_policy", "no_interval", interval(None, None, 0.5)),
        ]
    }
    overlap = {"k": 8, "target_proposal": 0.8, "policy_proposal": None, "target_policy": None}
    html = legs(regime, overlap, Thresholds())
    (bar,) = re.findall(r'<rect class="interval transition" x="([\d.]+)" width="([\d.]+)"', html)
    assert bar == (number(LEG_X(0.2)), number(LEG_X(0.6) - LEG_X(0.2)))
    (tick,) = re.findall(r'class="leg-sample" x1="([\d.]+)"', html)
    assert tick == number(LEG_X(0.8))
    assert "the median of the rollouts at K = 8, which reads too high" in html
    assert "not known from these files" in html
    assert "no lower end, not above 0.50" in html
    assert html.count('class="interval unsaid"') > 1  # it fades towards what is not bounded


def test_a_declared_leg_and_an_unread_one_say_so():
    why = "3 prompts with a signal"
    regime = {
        "legs": [
            leg("target_proposal", "not_readable", None, why),
            leg("policy_proposal", "declared"),
        ]
    }
    overlap = {"declared": ["policy_proposal"], "policy_proposal": 1.0}
    html = legs(regime, overlap | {"not_applicable": ["target_policy"]}, Thresholds())
    assert why in html
    assert "by declaration, not measured" in html
    assert "does not apply here" in html
    assert 'class="leg-sample"' not in html
