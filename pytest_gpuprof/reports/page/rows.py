"""The table, as HTML that can be read without the page's program: one row per workload. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.page.markup import Markup, joined, tag
from pytest_gpuprof.reports.page.standing import OUTCOMES, Place, headroom_text, place_of, share_of, standing, worst
from pytest_gpuprof.reports.page.telling import interval_text, quantity, rounded
from pytest_gpuprof.reports.workloads import ShownFigure, Workload
from pytest_gpuprof.stats.summary import summarize

__all__ = ["Table", "icon", "table_of"]

_FIGURES: Final[Mapping[str, str]] = {
    "speedup": "Speedup",
    "speedup_over_reference": "Over reference",
    "cpu_time": "CPU",
    "gpu_time": "GPU",
    "gpu_memory": "GPU memory",
    "energy": "Energy",
    "compute_utilization": "of peak FLOP/s",
    "bandwidth_utilization": "of peak B/s",
}
"""Columns that are shown if any row has something to say in them."""

_WIDEST: Final = 3.0
"""The strip of a row reaches from a third of the limit to three times: what is further away is no close call."""

_TOLD: Final = frozenset({"missed", "inconclusive", "unavailable", "not enforced"})
"""Outcomes whose sentence stands in the row: they ask for something."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table.

    Args:
        head: its row of headings.
        rows: the others.
        keys: per column, what each row is sorted by; ``None`` comes last.
    """

    head: Markup
    rows: Markup
    keys: Sequence[Sequence[Any]]


def icon(outcome: str) -> Markup:
    """Return the sign of an outcome: its form says it, not only its colour."""
    return tag("svg", tag("use", href=f"#{outcome.replace(' ', '-')}"), class_="sign", aria_hidden="true")


def table_of(found: Sequence[Workload]) -> Table:
    """Return the table of the workloads, in the order in which they are given."""
    figures = [{shown.name: shown for shown in each.figures} for each in found]
    shown = [name for name in _FIGURES if any(name in each for each in figures)]
    devices = {str(each.profile.gpu.device.id) for each in found if each.profile.gpu.device is not None}
    heads = ["Verdict", "Workload", "Headroom", *(_FIGURES[name] for name in shown)]
    kinds = ["v", "w", "h", *(_kind(name) for name in shown)]
    if len(devices) > 1:
        heads, kinds = [*heads, "On"], [*kinds, "o"]
    rows, keys = [], []
    for number, (each, has) in enumerate(zip(found, figures, strict=True)):
        verdict = worst(each.profile)
        place = None if verdict is None else place_of(verdict)
        on = "" if each.profile.gpu.device is None else str(each.profile.gpu.device.id)
        rows.append(
            _row(number, each, verdict, place, [(name, has.get(name)) for name in shown], on if "o" in kinds else None)
        )
        keys.append(
            [
                OUTCOMES.index(standing(each.profile)),
                each.row.name,
                rounded(max(share_of(verdict), -1e9)),  # beyond by no number is beyond all
                *(rounded(has[name].figure.value) if name in has else None for name in shown),
                *([on] if "o" in kinds else []),
            ]
        )
    head = joined(*(_head(*each) for each in zip(heads, kinds, strict=True)))
    return Table(tag("tr", head), joined(*rows), [list(column) for column in zip(*keys, strict=True)])


def _kind(figure: str) -> str:
    """Return how a column is shown: some only where there is room, as they are told below the row too."""
    if figure.endswith("utilization"):
        return "n wide"
    return "n mid" if figure == "speedup_over_reference" else "n"


def _head(title: str, kind: str) -> Markup:
    return tag("th", tag("button", title, type="button", disabled=""), class_=kind, scope="col")


def _row(
    number: int,
    workload: Workload,
    verdict: Verdict | None,
    place: Place | None,
    figures: Sequence[tuple[str, ShownFigure | None]],
    on: str | None,
) -> Markup:
    outcome = standing(workload.profile)
    return tag(
        "tr",
        tag("td", icon(outcome), tag("span", outcome), _of_test(workload.outcome, outcome), class_="v"),
        tag("th", *_name(workload), _why(verdict), class_="w", scope="row"),
        tag("td", *_headroom(verdict, place), class_="h"),
        *(_figure(name, shown, workload) for name, shown in figures),
        None if on is None else tag("td", on, class_="o"),
        class_=outcome.replace(" ", "-"),
        data_n=str(number),
    )


def _of_test(outcome: str, stands: str) -> Markup | None:
    """Return what became of the test where its budgets do not say it: its own assertion may have failed."""
    is_told = outcome in ("", "passed") or (outcome == "failed" and stands == "missed")
    return None if is_told else tag("small", f"test {outcome}")


def _name(workload: Workload) -> tuple[Markup, ...]:
    """Return the name of the row: the function large, where it is small above."""
    test = workload.test
    cut = test.rfind("::", 0, test.find("[") if "[" in test else len(test))
    folder, name = ("", test) if cut < 0 else (test[:cut], test[cut + 2 :])
    title = name or workload.profile.name
    more = workload.profile.name if workload.many and name else ""
    return (
        tag(
            "button",
            title,
            tag("i", more) if more else None,
            type="button",
            class_="open",
            aria_expanded="false",
            disabled="",  # until the program is there that opens it
        ),
        tag("small", folder) if folder else joined(),
    )


def _why(verdict: Verdict | None) -> Markup | None:
    return tag("p", verdict.sentence) if verdict is not None and verdict.outcome in _TOLD else None


# -- headroom -----------------------------------------------------------------------------------------------------


def _headroom(verdict: Verdict | None, place: Place | None) -> tuple[Markup | str, ...]:
    if verdict is None:
        return ("–",)
    text = headroom_text(verdict)
    return (
        "" if place is None else _strip(place),
        tag("b", text) if text else "",
        tag("small", _breakable(verdict.budget), None if verdict.enforce else ", not enforced"),
    )


def _breakable(keyword: str) -> Markup:
    """Return a keyword that may be broken after each underscore; the breaks are not copied with it."""
    first, *rest = keyword.split("_")
    return joined(first, *(part for word in rest for part in ("_", tag("wbr"), word)))


def _strip(place: Place) -> Markup:
    """Return the figure with its interval against its limit: the line in the middle. Inside is to the right."""
    at, low, high = (_x(each) for each in (place.ratio, place.low, place.high))
    beyond = abs(math.log(place.ratio)) > math.log(_WIDEST)
    mark = (
        tag("path", d=f"M{at - 4 if at > 50 else at + 4},2L{at},6L{at - 4 if at > 50 else at + 4},10", class_="far")
        if beyond
        else tag("circle", cx=_s(at), cy="6", r="3")
    )
    return tag(
        "svg",
        tag("line", x1="50", y1="0", x2="50", y2="12"),
        tag("rect", x=_s(low), y="4.5", width=_s(max(high - low, 1.0)), height="3", rx="1.5"),
        mark,
        class_="strip",
        viewBox="0 0 100 12",
        aria_hidden="true",
    )


def _x(ratio: float) -> float:
    share = math.log(min(max(ratio, 1 / _WIDEST), _WIDEST)) / math.log(_WIDEST)
    return round(50 + 46 * share, 1)


def _s(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


# -- figures ------------------------------------------------------------------------------------------------------


def _figure(name: str, shown: ShownFigure | None, workload: Workload) -> Markup:
    title, kind = _FIGURES[name], _kind(name)
    if shown is None:
        return tag("td", "–", class_=f"{kind} none", data_t=title)
    words = ", ".join(shown.words)
    spread = _noise(shown, workload) or interval_text(shown.figure.interval, shown.unit)
    return tag(
        "td",
        quantity(shown.figure.value, shown.unit).replace(" ", "\u202f"),
        tag("small", spread) if spread else None,
        tag("em", words) if words else None,
        class_=kind,
        data_t=title,
    )


def _noise(shown: ShownFigure, workload: Workload) -> str:
    """Return the noise of a time, as the terminal tells it; ratios are told by their interval."""
    if shown.leg is None or shown.unit != "s":
        return ""
    leg = workload.profile.cpu if shown.leg == "cpu" else workload.profile.gpu
    values = leg.per_round("wall_time")
    noise = summarize(values).noise if len(values) > 1 else None
    if noise is None:
        return ""
    return f"±{noise:.1%}" if 0.001 <= noise < 0.01 else f"±{noise:.0%}" if noise >= 0.01 else "±<0.1%"
