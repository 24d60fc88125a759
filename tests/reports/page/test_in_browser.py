"""The page in a real browser, headless: what people do with it, and that nothing goes wrong or out meanwhile."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.reports.page.page import page_text
from pytest_gpuprof.reports.text import write_text

from ...conftest import has
from .made import many, run_of
from .test_page import evil_document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that asks nobody for anything; containers have no sandbox to offer it."""

WORKLOADS = 24


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one for all tests of this file."""
    if not has("playwright"):
        pytest.skip("NOT TESTED: the report page is not tested in a browser, because playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("NOT TESTED: the report page is not tested in a browser, because there is no chromium on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages that are looked at."""
    folder = tmp_path_factory.mktemp("pages")
    documents = {"some": many(WORKLOADS, runs=20), "evil": evil_document(), "none": run_of([])}
    for name, document in documents.items():
        write_text(page_text(document), str(folder / f"{name}.html"))
    return {name: folder / f"{name}.html" for name in documents}


Open = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser, files: dict[str, Path]) -> Iterator[Open]:
    """Open a page; at the end nothing may have been written to the console, and nothing asked of any network."""
    wrong: list[str] = []
    contexts = []

    def opened(name: str = "some", hash_: str = "", width: int = 1280, **how: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **how)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: None if is_local(request.url) else wrong.append(f"request: {request.url}"))
        page.route("**/*", lambda route: route.continue_() if is_local(route.request.url) else route.abort())
        page.goto(f"{files[name].as_uri()}{hash_}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def is_local(url: str) -> bool:
    return url.startswith(("file:", "data:"))


def names(page: Page) -> list[str]:
    """Return the workloads that are shown, in their order."""
    return page.locator("tbody tr[data-n] .open").all_inner_texts()


def column(page: Page, title: str) -> list[Any]:
    """Return what the rows are sorted by in a column, in the order in which they are shown."""
    return page.evaluate(  # type: ignore[no-any-return]  # JSON
        """(title) => {
            const { value } = JSON.parse(document.getElementById("data").textContent);
            const heads = [...document.querySelectorAll("#workloads > thead th")];
            const keys = value.keys[heads.findIndex((each) => each.textContent === title)];
            return [...document.querySelectorAll("tr[data-n]")].map((row) => keys[Number(row.dataset.n)]);
        }""",
        title,
    )


def test_the_missed_come_first(visit: Open) -> None:
    """Then the others, in the order in which they ask for something."""
    verdicts = visit().locator("tbody .v").all_inner_texts()
    order = ["missed", "inconclusive", "unavailable", "not enforced", "met", "no budget"]
    assert verdicts == sorted(verdicts, key=order.index)
    assert verdicts[0] == "missed"
    assert len(verdicts) == WORKLOADS


def test_each_column_sorts_both_ways_and_back(visit: Open) -> None:
    """What has no value comes last either way; the head says the direction to those who do not see the arrow."""
    page = visit(width=1700)
    before = names(page)
    titles = page.locator("#workloads > thead button").all_inner_texts()
    assert titles[:5] == ["Verdict", "Workload", "Headroom", "Speedup", "Over reference"]
    for place, title in enumerate(titles):
        head = page.locator("#workloads > thead th").nth(place)
        seen = set()
        for _ in range(2):
            head.get_by_role("button").click()
            seen.add(head.get_attribute("aria-sort"))
            keys = column(page, title)
            known = [each for each in keys if each is not None]
            assert keys == known + [None] * (len(keys) - len(known))
            if title != "Workload":  # names are sorted as people read numbers in them
                assert known == sorted(known, reverse=head.get_attribute("aria-sort") == "descending")
        assert seen == {"ascending", "descending"}
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") is None
        assert names(page) == before


def test_text_and_verdicts_filter(visit: Open) -> None:
    """Together, and the number that is left is said."""
    page = visit()
    page.locator("#find").fill("MATMUL models")
    left = names(page)
    assert left
    assert all("matmul" in each for each in left)
    page.locator("#find").fill("")
    page.get_by_role("button", name="missed").click()
    assert set(page.locator("tbody .v").all_inner_texts()) == {"missed"}
    page.get_by_role("button", name="inconclusive").click()
    assert set(page.locator("tbody .v").all_inner_texts()) == {"missed", "inconclusive"}
    count = page.locator("tbody tr[data-n]").count()
    assert page.locator("#shown").inner_text() == f"{count} of {WORKLOADS} workloads"
    page.locator("#find").fill("no such workload")
    assert "No workload is meant" in page.locator("#workloads > tbody").inner_text()


def test_a_workload_opens_with_sentences_and_charts(visit: Open) -> None:
    """All kinds of charts are drawn, each with a text that says the same."""
    page = visit(hash_="#find=attention%5Bbf16-512%5D")
    page.locator("tr[data-n] .open").click()
    article = page.locator("tr.detail article")
    assert "min_speedup" in article.locator(".sentences").inner_text()
    titles = " | ".join(article.locator("figcaption b").all_inner_texts())
    wanted = ("Time per call", "Over rounds", "Speedup, ×", "Memory", "Energy", "Roofline", "Time over n", "over runs")
    assert [each for each in wanted if each not in titles] == []
    charts = article.locator("figure .chart > svg")
    assert charts.count() >= len(wanted)
    for chart in charts.all():
        assert chart.get_attribute("role") == "img"
        assert len(chart.get_attribute("aria-label") or "") > 10
        assert (chart.bounding_box() or {"height": 0})["height"] > 40
    assert "could not be drawn" not in article.inner_text()
    article.get_by_text("All figures").click()
    assert article.locator(".figures em", has_text="simulated").first.is_visible()


def test_every_workload_opens(visit: Open) -> None:
    """Whatever is missing in it: without a GPU, without energy, throttled, without a budget."""
    page = visit()
    for button in page.locator("tbody .open").all():
        button.click()
    page.wait_for_function(f"document.querySelectorAll('tr.detail figure svg').length > {2 * WORKLOADS}")
    text = page.locator("#workloads > tbody").inner_text()
    assert "could not be drawn" not in text
    assert "Caution, throttled: the GPU was throttled" in text
    assert page.locator("figure text", has_text="low clock").count() > 0
    assert "undefined" not in text
    assert "NaN" not in page.evaluate("[...document.querySelectorAll('figure')].map((each) => each.innerHTML).join()")


def test_everything_can_be_done_by_keyboard(visit: Open) -> None:
    """Move, open, close, filter."""
    page = visit()
    order = names(page)

    def focused() -> str:
        return str(page.evaluate("document.activeElement.innerText"))

    page.keyboard.press("j")
    assert focused() == order[0]
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    assert focused() == order[1]
    page.keyboard.press("Enter")
    assert page.locator("tr.detail").count() == 1
    assert page.locator("tbody .open").nth(1).get_attribute("aria-expanded") == "true"
    page.keyboard.press("j")
    assert focused() == order[2]
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert page.locator("tr.detail").count() == 0
    assert focused() == order[1]
    page.keyboard.press("/")
    page.keyboard.type("fft/")
    assert page.locator("#find").input_value() == "fft/"
    page.keyboard.press("Escape")
    assert names(page) == order


def test_the_address_shows_the_same_again(visit: Open) -> None:
    """Filter, order, theme and what is open are in it."""
    page = visit()
    page.locator("#find").fill("fft")
    page.locator("thead").get_by_role("button", name="GPU", exact=True).click()
    page.locator("#theme").click()
    page.locator("tbody .open").nth(0).click()
    address = page.evaluate("location.hash")
    shown, background = names(page), page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    again = visit(hash_=address)
    assert names(again) == shown
    assert again.locator("tr.detail article").get_attribute("aria-label") == page.locator(
        "tr.detail article"
    ).get_attribute("aria-label")
    assert again.evaluate("getComputedStyle(document.documentElement).backgroundColor") == background
    assert again.locator("#theme").inner_text() == "Theme: dark"


def test_a_wrong_address_shows_the_whole_page(visit: Open) -> None:
    """A link may be older than the page."""
    page = visit(hash_="#sort=99&show=nothing&workload=gone&order=x&theme=pink&find=")
    assert len(names(page)) == WORKLOADS
    assert len(names(visit(hash_="#workload=gone&sort=x"))) == WORKLOADS


def luminance(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return sum(map(float, colour.strip("rgb()").split(","))) / 3


def test_dark_and_light(visit: Open) -> None:
    """As the system has it, and as the button says."""
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert luminance(light) > 200
    assert luminance(dark) < 50
    light.locator("#theme").click()
    assert luminance(light) < 50
    light.locator("#theme").click()
    light.emulate_media(color_scheme="dark")
    assert luminance(light) > 200


def test_nothing_is_wider_than_the_screen(visit: Open) -> None:
    """With workloads and everything in them open; charts follow when a phone is turned or a window is made smaller."""
    page = visit(width=1700)
    for n in range(3):
        page.locator("tbody .open").nth(n * 6).click()
    for summary in page.locator("summary").all():
        summary.click()
    for width in (1600, 1280, 1060, 1030, 700, 390, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"Number(document.querySelector('figure svg').getAttribute('width')) < {width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


def test_paper_has_all_rows_and_no_controls(visit: Open) -> None:
    """In light colours, also for those who read in the dark."""
    page = visit(color_scheme="dark", hash_="#theme=dark")
    page.locator("tbody .open").nth(0).click()
    page.emulate_media(media="print")
    assert luminance(page) > 250
    assert not page.locator(".controls").is_visible()
    assert page.locator("tbody .w").count() == WORKLOADS
    assert page.locator("tr.detail figure svg").first.is_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_markup_in_a_run_is_harmless(visit: Open) -> None:
    """It is shown as text, everywhere; nothing of it runs, and no element comes of it."""
    page = visit("evil")
    for button in page.locator("tbody .open").all():
        button.click()
    for summary in page.locator("summary").all():
        summary.click()
    text = page.locator("main").inner_text()
    assert text.count("<script>alert(1)</script>") > 20
    assert page.locator("img, main script").count() == 0
    page.locator("#find").fill("<img src=x")
    assert page.locator("tbody tr[data-n]").count() == 2


def test_an_empty_run_is_no_error(visit: Open) -> None:
    """It says that there is no workload."""
    page = visit("none")
    assert page.locator("#shown").inner_text() == "0 workloads"
    assert page.locator("#workloads > tbody").inner_text().strip() == "This run has no record of a workload."


def test_without_the_program_the_table_is_read(visit: Open) -> None:
    """Where programs are switched off, as in a mail, there are the overview and all rows, and no dead controls."""
    page = visit(java_script_enabled=False)
    assert page.locator("noscript p, .banner").first.is_visible()
    assert len(page.locator("tbody tr[data-n]").all()) == WORKLOADS
    assert not page.locator(".controls").is_visible()
    assert page.locator("#workloads button:enabled").count() == 0
    assert page.locator("tr.missed .w p").first.evaluate("(each) => getComputedStyle(each).webkitLineClamp") == "none"


def test_a_checker_of_accessibility_finds_nothing(browser: Browser, files: dict[str, Path]) -> None:
    """Contrast, names, roles, in the dark too; by axe-core, which the page's own policy would not let in."""
    if not has("axe_playwright_python"):
        pytest.skip("NOT TESTED: accessibility of the report page, because axe-playwright-python is not installed")
    from axe_playwright_python.sync_playwright import Axe

    for scheme, width in (("light", 1280), ("dark", 390)):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]  # a literal
            bypass_csp=True,
        )
        page = context.new_page()
        page.goto(files["some"].as_uri())
        for n in (0, 4, 8):
            page.locator("tbody .open").nth(n).click()
        for summary in page.locator("summary").all():
            summary.click()
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:2]]) for each in found] == []
        context.close()


def test_two_hundred_workloads_are_there_at_once(
    browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """How long it takes is recorded and not judged: machines differ."""
    write_text(page_text(many()), str(tmp_path / "page.html"))
    page = browser.new_page()
    began = time.perf_counter()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#shown", has_text="200 workloads").wait_for()
    loaded = time.perf_counter() - began
    timing = page.evaluate("JSON.stringify(performance.getEntriesByType('navigation')[0])")
    record_property("loaded_s", round(loaded, 3))
    record_property("dom_complete_ms", json.loads(timing)["domComplete"])
    assert page.locator("tbody tr[data-n]").count() == 200
    page.close()
