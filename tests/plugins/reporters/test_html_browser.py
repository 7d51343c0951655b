"""The report in a real browser: quiet, offline, safe, and usable on a laptop and a phone. Needs Chromium."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fobench_plugins.reporters.html.report import HtmlReporter
from tests.support.results_sample import CASES, sample

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, e.g. apt-get install chromium")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGS += ["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"]
LAPTOP, PHONE = (1280, 900), (375, 812)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return HtmlReporter(audio_mb=0.3, self_contained=True).write(sample(folder), folder)


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture(params=[LAPTOP, PHONE], ids=["laptop", "phone"])
def page(request, browser, report):
    """The opened report; at the end, it must have been quiet: no message, no error, no dialog, no request."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    opened, noise = context.new_page(), []
    opened.on("console", lambda message: noise.append(message.text))
    opened.on("pageerror", lambda error: noise.append(str(error)))
    opened.on("dialog", lambda dialog: (noise.append(f"dialog {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda request: noise.append(request.url))
    opened.goto(report.as_uri())
    assert noise.pop(0) == report.as_uri()
    yield opened
    audio = [url for url in noise if url.startswith((report.parent.as_uri() + "/audio/", "data:"))]
    context.close()
    assert [told for told in noise if told not in audio] == []


def shown(page) -> int:
    return page.locator(".scenario:visible").count()


def overflow(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_it_opens_without_overflow(page):
    assert page.locator("h1").inner_text() == "cascade with smollm2-360m"
    assert overflow(page) == 0


def open_all(page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.scenario')].every((each) => each.querySelector('.time'))"
    )


def test_everything_open_still_fits(page):
    open_all(page)
    assert page.locator(".scenario .time svg[role=img]:visible").count() == len(CASES)
    assert overflow(page) == 0


def test_filters(page):
    assert shown(page) == len(CASES)
    page.fill("#search", "berlin")
    assert shown(page) == 1 and page.locator("#count").inner_text() == "1 of 12"
    page.fill("#search", "")
    page.select_option("[data-filter=outcome]", "wrong")
    assert shown(page) == 4
    page.select_option("[data-filter=tag-0]", "</select><b>")
    assert shown(page) == 1
    page.fill("#search", "nothing has this")
    assert shown(page) == 0
    page.click("#clear")
    assert shown(page) == len(CASES)


def test_opening_a_scenario_by_keyboard(page):
    item = page.locator(".scenario", has_text="Berlin Wall").first
    assert not item.locator(".time").is_visible()
    item.locator(":scope > summary").press("Enter")
    assert item.locator(".time").is_visible() and item.locator(".bracket text").text_content() == "1.66 s"
    assert "In which year did the Berlin Ball fall?" in item.inner_text()


def test_hostile_text_is_text(page):
    item = page.locator(".scenario", has_text="onerror").first
    item.locator(":scope > summary").click()
    assert "<script>alert(1)</script>" in item.locator(".question").inner_text()
    assert page.locator("script:not([type='application/json'])").count() == 1 and page.locator("img").count() == 0


def test_a_link_opens_its_scenario(page):
    page.evaluate("location.hash = '#scenario-3'")
    page.wait_for_function("document.getElementById('scenario-3').open")
    page.fill("#search", "berlin")  # hides that of the next link
    page.evaluate("location.hash = '#scenario-1'")
    page.wait_for_function("() => document.getElementById('scenario-1').open")
    assert page.locator("#scenario-1 .time").is_visible() and shown(page) == len(CASES)


def test_a_page_without_scripts_says_so(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert "runs no scripts" in page.locator("noscript").inner_text()
    context.close()


def test_rows_of_a_long_list_are_made_as_they_are_reached(browser, tmp_path):
    many = HtmlReporter().write(sample(tmp_path, 250), tmp_path)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.goto(many.as_uri() + "#scenario-250")
    assert page.locator("#scenario-250 .time").is_visible()  # the linked one, of the last
    page.goto("about:blank")
    page.goto(many.as_uri())
    assert page.locator(".scenario").count() == 100 and page.locator("#count").inner_text() == "250 of 250"
    page.locator("#more").scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelectorAll('.scenario').length === 200")
    page.fill("#search", "berlin wall")
    assert page.locator(".scenario").count() == 21 and not page.locator("#more").is_visible()
    page.fill("#search", "")
    assert page.locator(".scenario").count() == 100
    page.locator("#more button").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.scenario').length >= 200")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".scenario").count() == 250
    context.close()
    assert noise == []


@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "beside"])
def test_playing_moves_the_playhead(page, embedded):
    """Audio plays from inside the file and, beyond the budget, from the folder beside it."""
    start = "data:" if embedded else "audio/"
    open_all(page)
    item = page.locator(f".scenario:has(audio[src^='{start}'])").first
    item.locator("audio").evaluate("(audio) => { audio.muted = true; return audio.play(); }")
    head = item.locator(".playhead")
    page.wait_for_function("(head) => parseFloat(head.style.left) > 3", arg=head.element_handle(), timeout=10_000)
    assert head.is_visible()
    item.locator("audio").evaluate("(audio) => audio.pause()")


def test_a_recording_that_is_gone_is_told_instead_of_a_dead_player(browser, report, tmp_path):
    moved = browser.new_page()
    moved.goto(Path(shutil.copy(report, tmp_path)).as_uri())
    open_all(moved)
    item = moved.locator(".scenario:has(audio[src^='audio/'])").first
    key = item.get_attribute("id")
    item.locator(".time").click()
    told = moved.locator(f"#{key} .player .absent")
    told.wait_for(timeout=10_000)
    assert told.inner_text().startswith("The recording cannot be played")
    assert moved.locator(f"#{key} audio").count() == 0
    moved.close()


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_table_of_several_runs_fits(browser, report, size, scheme):
    """Two runs stand beside each other, count and all, on a phone too; more of them scroll inside the table, not the page."""
    results = sample(report.parent)
    many = [replace(results, folder=report.parent / name) for name in ("a", "b", "c", "d", "e")]
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    for runs in (many[:2], many):
        page.goto(HtmlReporter().write_several(runs, report.parent / "several").as_uri())
        assert overflow(page) == 0
        beyond = page.eval_on_selector(".scroll", "(box) => box.scrollWidth - box.clientWidth")
        assert beyond == 0 or len(runs) > 2
        assert page.locator("#figures th.run").count() == len(runs)
    context.close()
    assert noise == []
