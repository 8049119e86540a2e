"""The page in a real browser: nothing runs but its own script, and nothing is asked for."""

import pytest
from synthetic_run import make_run

from tod import show

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\n"
    "<style>*{display:none}</style> \u202etxet &amp; {{7*7}} ]]> --> </pre></textarea>"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    make_run(folder / "run", steps=12, prompt=HOSTILE, arc=True)
    return show.write([folder / "run"])


def test_no_complaint_and_no_request(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in browser.requests() if url.startswith("file:")]) == 1


def test_a_hostile_prompt_is_text(browser, page):
    browser.open(page)
    shown = browser.run("[...document.querySelectorAll('pre.prompt')].map(e => e.textContent)")
    assert any("</script><script>alert(1)</script><img src=x onerror=alert(2)>" in t for t in shown)
    assert browser.run("document.querySelectorAll('img, main script, main style').length") == 0
    assert browser.run("document.scripts.length") == 2
    assert browser.complaints() == []


def test_hovering_a_context_reads_it(browser, page):
    browser.open(page)
    assert browser.run("document.getElementById('tip').hidden") is True
    browser.point("circle[data-point='0']")
    assert browser.run("document.getElementById('tip').hidden") is False
    said = browser.run("document.getElementById('tip').textContent")
    assert "ESS_rel" in said
    assert "</script><script>alert(1)</script>" in said
    assert browser.run("document.querySelectorAll('#tip img, #tip script').length") == 0
    assert browser.complaints() == []


def test_contexts_are_reachable_without_a_pointer(browser, page):
    browser.open(page)
    browser.run("document.querySelector('[data-phase]').focus()")
    browser.key("ArrowRight")
    first = browser.run("document.getElementById('tip').textContent")
    browser.key("ArrowRight")
    second = browser.run("document.getElementById('tip').textContent")
    assert first != second
    assert "ESS_rel" in first
    browser.key("Escape")
    assert browser.run("document.getElementById('tip').hidden") is True


def test_one_cursor_reads_all_curves(browser, page):
    browser.open(page)
    read = "[...document.querySelectorAll('figure[data-plot] [data-at]')].map(e => e.textContent)"
    resting = browser.run("document.querySelector('figure output').textContent")
    browser.point("figure[data-plot] svg", share=0.03)
    assert set(browser.run(read)) == {"step 0"}
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert set(browser.run(read)) == {""}
    assert browser.run("document.querySelector('figure output').textContent") == resting


def test_the_policy_stops_what_is_injected(browser, page):
    """Even with markup injected, no script runs and no request leaves."""
    browser.open(page)
    browser.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.owned = 1';"
        "document.body.append(s); const i = document.createElement('img');"
        "i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i);"
        "document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.owned=1\">b</b>');"
        "document.body.lastElementChild.click(); })()"
    )
    assert browser.run("window.owned === undefined") is True
    assert browser.run("document.body.lastElementChild.tagName") == "B"
    assert len(browser.complaints()) >= 2


@pytest.mark.parametrize("width", [360, 420, 820, 1280])
def test_no_sideways_scrolling(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_several_runs(browser, page, run_path, other_path, tmp_path):
    browser.open(show.write([run_path, other_path, page.parent], tmp_path / "three.html"), 420)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= 420
    assert (
        browser.run(
            "new Set([...document.querySelectorAll('.end')].map(e => e.getAttribute('class'))).size"
        )
        == 3
    )
    browser.point("circle[data-run='2']")
    assert "ESS_rel" in browser.run("document.getElementById('tip').textContent")
