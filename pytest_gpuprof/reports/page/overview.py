"""The head of the page: what became of the budgets, and where, when and by what it was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pytest_gpuprof.reports.page.content import Content
from pytest_gpuprof.reports.page.facts import Device
from pytest_gpuprof.reports.page.markup import Markup, joined, tag
from pytest_gpuprof.reports.page.rows import icon

__all__ = ["filters", "overview"]

_ORDER = ("missed", "inconclusive", "not enforced", "met")


def overview(content: Content) -> Markup:
    """Return everything above the table."""
    return joined(
        tag("h1", content.title),
        *(tag("p", sentence, class_="banner", role="note") for sentence in content.banner),
        _verdicts(content.counts),
        _pairs(content.about, "about"),
        _devices(content),
        _comparison(content),
        _environment(content),
    )


def filters(content: Content) -> Markup:
    """Return a button for each way in which workloads stand, with their number."""
    return joined(
        *(
            tag("button", icon(outcome), outcome, tag("b", str(number)), type="button", data_show=outcome, aria_pressed="false")
            for outcome, number in content.standings.items()
        )
    )


def _verdicts(counts: Mapping[str, int]) -> Markup:
    """Return the budgets by outcome as numbers, and as one bar in which the parts can be seen."""
    order = [*_ORDER, *(name for name in counts if name not in _ORDER)]
    known = [(name, counts[name]) for name in order if name in counts]
    numbers = [
        tag("div", tag("dt", icon(name), name), tag("dd", str(number)), class_=_class(name, number)) for name, number in known
    ]
    return tag("section", tag("h2", "Budgets"), tag("dl", *numbers, class_="counts"), _bar(known), aria_label="Budgets")


def _class(name: str, number: int) -> str:
    return f"{name.replace(' ', '-')}{'' if number else ' none'}"


def _bar(known: list[tuple[str, int]]) -> Markup:
    total = sum(number for _, number in known)
    parts, at = [], 0.0
    for name, number in known:
        if number:
            width = 1000 * number / total
            parts.append(
                tag("rect", x=f"{at:.1f}", y="0", width=f"{max(width - 2, 1):.1f}", height="8", class_=name.replace(" ", "-"))
            )
            at += width
    return tag("svg", *parts, class_="bar", viewBox="0 0 1000 8", preserveAspectRatio="none", aria_hidden="true")


def _pairs(pairs: Iterable[tuple[str, str]], class_: str) -> Markup:

    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in pairs), class_=class_)


def _devices(content: Content) -> Markup | None:
    if not content.devices:
        return None
    lines = [tag("li", tag("b", each.label), " ", tag("small", ", ".join(_of(each)))) for each in content.devices]
    return tag("ul", *lines, class_="devices")


def _of(device: Device) -> Iterator[str]:
    yield device.id
    yield device.kind if device.kind != "gpu" else "GPU"
    yield device.backend
    if device.memory:
        yield device.memory
    yield f"{device.workloads} workload{'s' if device.workloads != 1 else ''}"


def _comparison(content: Content) -> Markup | None:
    if not content.comparison:
        return None
    first, *gone = content.comparison
    return tag("section", tag("h2", "Comparison"), tag("p", first), tag("ul", *(tag("li", each) for each in gone)))


def _environment(content: Content) -> Markup:
    parts = [
        tag("h3", "Identity: what must be equal to compare"),
        _pairs(content.identity.told.items(), "facts"),
        tag("h3", "State: what happened to be the case"),
        _pairs(content.state.told.items(), "facts"),
    ]
    if content.notes:
        parts += [tag("h3", "Words that figures carry"), tag("ul", *(tag("li", each) for each in content.notes))]
    count = len(content.identity.told) + len(content.state.told)
    return tag("details", tag("summary", f"Environment: {count} facts"), *parts, class_="environment")
