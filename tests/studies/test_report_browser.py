"""The report in a real browser: it draws, its controls change the curves, and it asks the network for nothing."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("plotly")
pytest.importorskip("selenium")

from selenium import webdriver

from icl_sim.studies import report
from tests.studies import regression_runs
from tests.studies import report_runs as runs

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
    # Selenium leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1200,900"
)


def wait_for(browser, condition):
    """Waits until a JavaScript condition holds."""
    end = time.monotonic() + 60
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < end, f"{condition} did not come true: {browser.get_log('browser')}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Without its service's `log_output` the driver would inherit this process's.
    service = webdriver.ChromeService(DRIVER, log_output=os.devnull)
    driver = webdriver.Chrome(options=options, service=service)
    folder = tmp_path_factory.mktemp("run")
    runs.write(folder, runs.table(**{"task.p_high": (0.5, 0.9)}), name="</script><b>bold</b>")
    report.write_report(folder)
    driver.get((folder / "report.html").as_uri())
    try:
        wait_for(driver, "document.body.dataset.ready === 'yes'")
        yield driver
    finally:
        driver.quit()


def curve(browser, predictor="transformer", panel="x"):
    """The values of one curve as the chart holds them, rounded as the page rounds."""
    script = (
        "return document.getElementById('chart').data.find((trace) => "
        f"trace.mode === 'lines+markers' && trace.name === '{predictor}' && trace.xaxis === '{panel}')?.y"
    )
    return browser.execute_script(script)


def choose(browser, control, value, event="change"):
    browser.execute_script(
        f"const c = document.getElementById('{control}'); c.value = {value}; c.dispatchEvent(new Event('{event}'))"
    )


def expected(step=100, p_high=0.9, sizes=runs.SIZES):
    return pytest.approx([runs.error("transformer", "icl_error_high", n, step, 1, p_high) for n in sizes], abs=1e-4)


def test_draws_the_curves_of_the_table(browser):
    assert curve(browser) == expected()
    drawn = browser.execute_script("return document.querySelectorAll('#chart .scatterlayer path.js-line').length")
    assert drawn >= 12  # 3 predictors in 4 panels, and their bands
    assert browser.execute_script("return document.querySelector('h1').textContent") == "</script><b>bold</b>"


def test_a_swept_value_changes_the_curves(browser):
    choose(browser, "point-1", 0)
    assert curve(browser) == expected(p_high=0.5)
    assert "p_high = 0.5" in browser.execute_script("return document.getElementById('note').textContent")
    choose(browser, "point-1", 1)
    assert curve(browser) == expected(p_high=0.9)


def test_a_checkpoint_changes_the_curves(browser):
    choose(browser, "checkpoint", 2, "input")
    assert curve(browser) == expected(step=10)
    choose(browser, "checkpoint", 0, "input")
    assert curve(browser) == expected(step=100)


def test_the_horizontal_axis_can_be_the_step(browser):
    choose(browser, "x", 2)
    assert curve(browser) == pytest.approx(
        [runs.error("transformer", "icl_error_high", 256, step, 1, 0.9) for step in (10, 100)], abs=1e-4
    )
    assert len(set(curve(browser, "in_context"))) == 1
    choose(browser, "x", 0)
    assert curve(browser) == expected()


def test_predictors_and_panels_can_be_left_out(browser):
    browser.execute_script("document.getElementById('predictors-0').click()")
    assert curve(browser) is None and curve(browser, "gated") is not None
    browser.execute_script("document.getElementById('predictors-0').click()")
    assert curve(browser, panel="x4") is not None
    browser.execute_script("document.getElementById('quantities-3').click()")
    assert curve(browser, panel="x4") is None
    browser.execute_script("document.getElementById('quantities-3').click()")


def test_every_control_has_a_label(browser):
    unnamed = "[...document.querySelectorAll('#controls select, #controls input')].filter((c) => !c.labels.length)"
    assert browser.execute_script(f"return {unnamed}.length") == 0


def test_says_no_error_and_asks_the_network_for_nothing(browser):
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # The browser's own start page makes requests too.
    urls = [r["request"]["url"] for r in requests if not r["documentURL"].startswith("chrome:")]
    assert urls and {url.partition(":")[0] for url in urls} <= {"file", "data", "blob"}


def test_errors_over_positions(browser, tmp_path):
    """In a page of its own, last: the network test above is about the first page."""
    table = regression_runs.table(depths=(2, 4), predictors=("transformer", "ols"))
    runs.write(tmp_path, table, config={"task": {"kind": "regression"}})
    report.write_report(tmp_path)
    browser.get((tmp_path / "report.html").as_uri())
    wait_for(browser, "document.body.dataset.ready === 'yes'")
    ks = range(2 * regression_runs.D + 1)

    def errors(step, k=ks):
        return pytest.approx([regression_runs.error("transformer", one, step, 1) for one in k], abs=0.011)

    assert curve(browser) == errors(10000) and len(curve(browser, "ols")) == len(ks)
    choose(browser, "checkpoint", 2, "input")
    assert curve(browser) == errors(100)
    choose(browser, "checkpoint", 0, "input")
    choose(browser, "x", 0)  # the depth, which is the transformer's
    assert len(curve(browser)) == 2 and "k = mean of all" in browser.execute_script(
        "return document.getElementById('note').textContent"
    )
    level = curve(browser, "ols")
    assert len(level) == 2 and level[0] == level[1]
    choose(browser, "x", 2)
    choose(browser, "point-1", 1 + 5)
    assert curve(browser) == pytest.approx(
        [regression_runs.error("transformer", 5, step, 1) for step in regression_runs.STEPS[1:]], abs=0.011
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
