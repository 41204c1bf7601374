"""The report in a real browser: it renders, is silent, asks nobody for anything, and answers the pointer."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOPS = 5


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Any]:
    contexts, complaints, requests = [], [], []

    def open_it(width: int, height: int, touch: bool = False) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        wait(page, "document.querySelectorAll('.plotly-graph-div .scatterlayer').length >= 6")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
    assert requests == [report.as_uri()] * len(contexts)


def reached(page: Any, condition: str, *, seconds: float) -> bool:
    # Playwright's own wait_for_function evaluates strings in the page, which the report's policy forbids.
    for _ in range(round(20 * seconds)):
        if page.evaluate(condition):
            return True
        page.wait_for_timeout(50)
    return False


def wait(page: Any, condition: str) -> None:
    if not reached(page, condition, seconds=15):
        pytest.fail(f"not reached: {condition}")


def names(page: Any, plot: str) -> list[str]:
    return page.evaluate(f"document.getElementById('{plot}').data.map((trace) => trace.name)")


def hover(page: Any, plot: str, tick: int, wanted: str) -> str:
    page.locator(f"#{plot}").scroll_into_view_if_needed()
    x, y = page.evaluate(
        f"""() => {{
            const plot = document.getElementById('{plot}'), box = plot.getBoundingClientRect();
            const size = plot._fullLayout._size;
            return [box.left + size.l + plot._fullLayout.xaxis.l2p({tick}), box.top + size.t + 20];
        }}"""
    )
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    wait(page, f"!!document.querySelector('#{plot} .hoverlayer')?.textContent.includes('{wanted}')")
    return page.locator(f"#{plot} .hoverlayer").text_content()


def test_all_loops_metrics_and_marks_are_drawn(open_page) -> None:
    page = open_page(1280, 900)
    assert page.locator("section[id^=loop-]").count() == LOOPS
    # One loop never decided; the metrics and the vitals have a figure each.
    assert page.locator(".plotly-graph-div").count() == LOOPS - 1 + 2
    drawn = names(page, "overview-plot")
    assert {"loss", "validation_loss", "accuracy", "Events", "update ratio"} <= set(drawn)
    assert names(page, "vitals-plot") == ["update ratio", "rotary base", "homeostasis"]
    assert names(page, "loop-plot-0") == ["setpoint", "reading", "knob"]
    assert set(names(page, "loop-plot-2")) == {
        "setpoint", "reading", "not finite, last was", "at a limit", "knob", "held at",
    }  # fmt: skip
    assert names(page, "loop-plot-3").count("knob") == 2
    assert "moved by something else to" in names(page, "loop-plot-3")
    paths = page.locator("#loop-plot-2 .scatterlayer path.js-line")
    assert paths.count() >= 4
    assert all(len(paths.nth(i).get_attribute("d")) > 10 for i in range(paths.count()))
    scales = page.evaluate("['yaxis', 'yaxis2'].map((a) => document.getElementById('loop-plot-0').layout[a].type)")
    assert scales[1] == "log"


def test_hovering_reads_every_panel_of_a_loop_at_once(open_page) -> None:
    page = open_page(1280, 900)
    text = hover(page, "loop-plot-2", 920, wanted="tick 920")
    assert "setpoint : 0.2" in text
    assert "not finite, last was" in text
    assert "held at" in text
    assert "at a limit : 500" in hover(page, "loop-plot-2", 1500, wanted="tick 1500")
    assert "rotary base" in hover(page, "overview-plot", 1400, wanted="alarm: rotary base stands")


def test_zooming_one_figure_zooms_all_and_back(open_page) -> None:
    page = open_page(1280, 900)
    ranges = (
        "Array.from(document.querySelectorAll('.plotly-graph-div')).map((p) => p.layout.xaxis.range.map(Math.round))"
    )
    whole = page.evaluate(ranges)
    page.locator("#loop-plot-0").scroll_into_view_if_needed()
    box = page.locator("#loop-plot-0 .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40, steps=5)
    page.mouse.up()
    wait(page, "document.getElementById('loop-plot-3').layout.xaxis.range[0] > 500")
    zoomed = page.evaluate(ranges)
    assert all(abs(a - b) <= 1 for one in zoomed for a, b in zip(one, zoomed[0], strict=True))
    back = "document.getElementById('loop-plot-3').layout.xaxis.range[0] < 0"
    for _ in range(5):
        # On a busy machine the figure may take the two clicks for single ones.
        page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 40)
        if reached(page, back, seconds=3):
            break
    assert page.evaluate(back)
    assert page.evaluate(ranges) == whole


def test_a_phone_shows_it_without_scrolling_sideways(open_page) -> None:
    page = open_page(390, 844, touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("#loop-plot-0 .main-svg").first.bounding_box()["width"] <= 390
    assert page.evaluate("document.getElementById('loop-plot-0').layout.dragmode") is False
