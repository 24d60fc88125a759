"""The head of the page: what became of the budgets, and where, when and by what it was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_gpuprof.reports.page.content import Content
from pytest_gpuprof.reports.page.facts import Device
from pytest_gpuprof.reports.page.markup import Markup, joined, tag
from pytest_gpuprof.reports.page.rows import icon

__all__ = ["filters", "overview"]

_ORDER = ("missed", "inconclusive", "unavailable", "not enforced", "met")


def overview(content: Content) -> Markup:
    """Return everything above the table."""
    return joined(
        tag("h1", content.title),
        *(tag("p", sentence, class_="banner", role="note") for sentence in content.banner),
        tag(
            "div",
            _verdicts(content.counts),
            _pairs([*_devices(content.devices), *content.about, *_compared(content.comparison)], "about"),
            class_="two",
        ),
        _gone(content.comparison[1:]),
        _environment(content),
    )


def filters(content: Content) -> Markup:
    """Return a button for each way in which workloads stand, with their number."""
    return joined(
        *(
            tag(
                "button",
                icon(outcome),
                outcome,
                tag("b", str(number)),
                type="button",
                data_show=outcome,
                aria_pressed="false",
            )
            for outcome, number in content.standings.items()
        )
    )


def _verdicts(counts: Mapping[str, int]) -> Markup:
    """Return the budgets by outcome as numbers, and as one bar in which the parts can be seen."""
    order = [*_ORDER, *(name for name in counts if name not in _ORDER)]
    known = [(name, counts[name]) for name in order if name in counts]
    numbers = [
        tag("div", tag("dt", icon(name), name), tag("dd", str(number)), class_=_class(name, number))
        for name, number in known
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
                tag(
                    "rect",
                    x=f"{at:.1f}",
                    y="0",
                    width=f"{max(width - 2, 1):.1f}",
                    height="8",
                    class_=name.replace(" ", "-"),
                )
            )
            at += width
    return tag("svg", *parts, class_="bar", viewBox="0 0 1000 8", preserveAspectRatio="none", aria_hidden="true")


def _pairs(pairs: Iterable[tuple[str, str]], class_: str) -> Markup:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in pairs), class_=class_)


_KINDS = {"gpu": "GPU", "stand-in": "In place of a GPU", "cpu": "CPU"}


def _devices(devices: Sequence[Device]) -> Iterator[tuple[str, Markup]]:
    for each in devices:
        more = (each.id, each.backend, each.memory, f"{each.workloads} workload{'s' if each.workloads != 1 else ''}")
        parts = dict.fromkeys(part for part in more if part and not each.id.startswith(f"{part}:"))
        yield _KINDS[each.kind], joined(each.label, " ", tag("small", ", ".join(parts)))


def _compared(comparison: Sequence[str]) -> Iterator[tuple[str, str]]:
    if comparison:
        yield "Comparison", comparison[0]


def _gone(gone: Sequence[str]) -> Markup | None:
    """Return what the reference has and the run has not: nobody may overlook it."""
    return tag("ul", *(tag("li", each) for each in gone), class_="gone") if gone else None


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
