"""The page as a text: whole in itself, closed to everything from outside, and of a size that can be sent."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import random
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.reports.page.page import page_text
from pytest_gpuprof.reports.text import write_text

from ..documents import document, record, verdict
from .made import many, one, run_of

EVIL = "<script>alert(1)</script>\"'`&<img src=x onerror=alert(1)>\u2028\ud800</script><!--"
"""What a test's parameter may hold."""


class _Elements(HTMLParser):
    """Gathers the elements of a page, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)


def elements(text: str, name: str) -> list[tuple[dict[str, str | None], str]]:
    return [(attributes, inner) for tag, attributes, inner in _Elements(text).found if tag == name]


def data_of(text: str) -> dict[str, Any]:
    """Return what the page's program reads, as it reads it."""
    ((_, stored),) = [each for each in elements(text, "script") if each[0].get("id") == "data"]
    read = json.loads(stored)

    def whole(value: Any) -> Any:
        if isinstance(value, str):
            return read["texts"][int(value[1:])] if value.startswith("~") else value
        if isinstance(value, dict):
            return {key: whole(each) for key, each in value.items()}
        return [whole(each) for each in value] if isinstance(value, list) else value

    found: dict[str, Any] = whole(read["value"])
    return found


def evil_document() -> dict[str, Any]:
    made = record(
        f"tests/test_a.py::test_a[{EVIL}]",
        name=EVIL,
        verdicts=[verdict(sentence=EVIL)],
        outcome=EVIL,
        location={"file": EVIL, "line": 1},
    )
    for leg in made["legs"].values():
        if leg["device"]:
            leg["device"]["name"] = EVIL
    made["environment"] = {"identity": {EVIL: EVIL}, "state": {"load": EVIL}}
    made["params"] = {EVIL: EVIL}
    made["cautions"] = [{"code": EVIL, "message": EVIL, "remedy": EVIL, "spoils": [], "legs": None}]
    made["stop_reason"] = EVIL
    other = {**json.loads(json.dumps(made)), "name": f"{EVIL} again"}
    source = {"commit": "0" * 40, "branch": EVIL, "dirty": True, "project": EVIL}
    told = {"reference": EVIL, "changes": {EVIL: 1}, "gone": [EVIL]}
    history = {"unavailable": EVIL}
    return document(made, other, source=source, comparison=told, history=history, settings={EVIL: EVIL}, machine=EVIL)


@pytest.fixture(scope="module")
def whole() -> str:
    """The page of 200 workloads with 24 rounds each and 49 earlier runs."""
    return page_text(many())


def test_two_hundred_workloads_fit(whole: str) -> None:
    """In less than 2 MB, with all samples of both legs, energies and history; what comes with every page is 350 kB."""
    assert len(whole.encode()) < 2_000_000
    assert len(page_text(run_of([])).encode()) < 350_000


def test_nothing_is_fetched(whole: str) -> None:
    """There is no element that names an address, and the policy would let none through."""
    for name, attributes, _ in _Elements(whole).found:
        for attribute in ("src", "srcset", "action", "data", "poster", "background", "formaction"):
            assert attribute not in attributes, (name, attribute)
        href = attributes.get("href") or attributes.get("xlink:href") or "#"
        assert href.startswith("#") or href == "data:,", (name, href)
    style = "".join(inner for _, inner in elements(whole, "style"))
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_lets_in_what_is_there_and_nothing_else(whole: str) -> None:
    """Every script and style of ours is told by its hash; there is no unsafe word, and no address."""
    (policy,) = [a["content"] for a, _ in elements(whole, "meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    parts = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    assert parts["default-src"] == ["'none'"]
    assert "unsafe" not in policy
    assert "http" not in policy

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    run = [inner for attributes, inner in elements(whole, "script") if "type" not in attributes]
    assert [hashed(each) for each in run] == parts["script-src"]
    assert {hashed(inner) for _, inner in elements(whole, "style")} < set(parts["style-src"])
    assert len(run) == 2
    assert not re.search(r"<[^>]+ (style|on\w+)=", whole.partition("<script")[0])


def test_whatever_a_run_holds_is_text() -> None:
    """Names, sentences, facts and reasons with markup in them add no element, and are shown as they are."""
    text = page_text(evil_document())
    plain = page_text(json.loads(json.dumps(evil_document()).replace(json.dumps(EVIL)[1:-1], "plain")))

    def names(page: str) -> list[str]:
        return [name for name, *_ in _Elements(page).found]

    assert names(text) == names(plain)
    assert "alert(1)</script>" not in text
    assert "\u2028" not in text.partition('id="data"')[2].partition("</script>")[0]
    (workload, _) = data_of(text)["workloads"]
    assert workload["verdicts"][0]["sentence"] == EVIL
    assert (workload["test"], workload["name"]) == (f"tests/test_a.py::test_a[{EVIL}]", EVIL)
    assert html.escape(EVIL.replace("\ud800", "\\ud800"), quote=True) in text


def test_half_a_surrogate_pair_can_be_written(tmp_path: Any) -> None:
    """UTF-8 has none, so it is named."""
    write_text(page_text(evil_document()), str(tmp_path / "page.html"))
    assert r"\ud800" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_text_that_looks_like_the_number_of_a_text_is_itself() -> None:
    """What is stored once has a mark, and a name may begin with it."""
    found = data_of(page_text(document(record("~1", name="~0", verdicts=[verdict(sentence="~2")]))))
    assert found["workloads"][0]["test"] == "~1"
    assert found["workloads"][0]["verdicts"][0]["sentence"] == "~2"


def test_the_program_makes_no_markup_of_text() -> None:
    """No way by which text could become elements, or be run, is used anywhere."""
    program = "".join(
        each.read_text(encoding="utf-8")
        for each in files("pytest_gpuprof.reports.page").iterdir()
        if each.name.endswith(".js")
    )
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "localStorage"):
        assert way not in program, way
    assert "fetch(" not in program
    assert "XMLHttpRequest" not in program


def test_the_chart_library_is_what_its_readme_says() -> None:
    """It can be made again from what is written there, and ends no script."""
    vendor = files("pytest_gpuprof.reports.page").joinpath("vendor")
    library = vendor.joinpath("plot.min.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() in vendor.joinpath("README.md").read_text(encoding="utf-8")
    for mark in (b"</script", b"<script", b"<!--", b"\r"):
        assert mark not in library


def test_the_table_can_be_read_without_the_program() -> None:
    """Verdicts, names, figures with their words, and the sentences that ask for something are in the HTML itself."""
    made = record(simulated=True, verdicts=[verdict("missed", sentence="GPU time 1 ms misses max_gpu_time 500 µs")])
    text = page_text(document(made)).partition("<script")[0]
    cells = re.sub(r"<[^>]+>", "|", text)
    for told in (
        "missed",
        "test_a",
        "GPU time 1 ms misses max_gpu_time 500 µs",
        "20.1x",
        "derived, simulated",
        "1\u202fms",
    ):
        assert told in cells, told
    assert "<noscript>" in text
    buttons = [attributes for attributes, _ in elements(page_text(document(made)), "button") if "id" not in attributes]
    table = [each for each in buttons if "data-show" not in each]
    assert table
    assert all("disabled" in each for each in table)


def test_a_failed_test_whose_budgets_are_met_is_no_plain_success() -> None:
    """Its own assertion may have failed; a miss says it by itself."""
    met, missed = verdict("met", limit=2e-3), verdict("missed")
    text = page_text(document(record(verdicts=[met], outcome="failed"))).partition("<script")[0]
    assert "<span>met</span><small>test failed</small>" in text
    for told in (record(verdicts=[met]), record(verdicts=[missed], outcome="failed")):
        assert "<small>test " not in page_text(document(told)).partition("<script")[0]


def test_a_figure_without_a_place_has_its_headroom() -> None:
    """A figure of zero cannot be drawn against its limit, and leaves all of it."""
    nothing = verdict("met", "max_gpu_workspace", limit=1e6, observed=0.0, interval=None, enforce=False)
    text = page_text(document(record(verdicts=[nothing]))).partition("<script")[0]
    (cell,) = re.findall(r'<td class="h">(.*?)</td>', text)
    assert "<b>+100%</b>" in cell
    assert ", not enforced" in cell
    assert "<svg" not in cell


def test_what_could_not_be_judged_is_counted_apart() -> None:
    """As the buttons below count it, and not among those that were not to be enforced."""
    made = document(record("a", verdicts=[verdict("unavailable")]), record("b", verdicts=[verdict("not enforced")]))
    text = page_text({**made, "counts": {**made["counts"], "not enforced": 5}}).partition("<script")[0]
    assert "</svg>unavailable</dt><dd>1</dd>" in text
    assert "</svg>not enforced</dt><dd>4</dd>" in text


def test_rounds_that_were_pruned_are_missing() -> None:
    """Their charts are not there, and the page says why."""
    made = record()
    for leg in made["legs"].values():
        if leg["rounds"]:
            leg["readings"]["wall_time"] = {"value": 1e-3, "interval": None, "quality": "measured", "gain_error": 0.0}
            leg["rounds"] = []
    for given, reasons in ((record(), []), (made, [["Rounds", "their samples were pruned from the store"]])):
        (workload,) = data_of(page_text(document(given)))["workloads"]
        assert [each for each in workload.get("missing", []) if each[0] == "Rounds"] == reasons


def test_an_empty_run_has_a_page() -> None:
    """It says that there is nothing."""
    text = page_text(run_of([]))
    assert data_of(text)["workloads"] == []
    assert ">0<" in text


def test_a_record_of_before_environments_had_facts_is_shown() -> None:
    """What is missing leaves a gap, not an error."""
    made = record()
    made["environment"] = {"identity": dict(Environment().identity), "state": {}}
    del made["figures"], made["conditions"], made["budgets"], made["baselines"]
    assert "test_a" in page_text(document(made))


def test_a_workload_without_a_gpu_says_why() -> None:
    """Figures that are missing have their reason below the row."""
    text = page_text(run_of([one(3, random.Random(1), has_gpu=False)]))
    (workload,) = data_of(text)["workloads"]
    assert [reason for _, reason in workload["missing"]] == ["torch finds no GPU here"]
    assert "min_speedup cannot be judged: torch finds no GPU here" in html.unescape(text)
