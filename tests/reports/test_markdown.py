"""Markdown: what matters first, nothing that becomes markup or a mention, and never too long."""

from __future__ import annotations

from pytest_gpuprof.core.results import Caution
from pytest_gpuprof.core.scaling import NOT_SWEPT, Crossover, Scaling
from pytest_gpuprof.reports.markdown import COMMENT_BYTES, MARKER, markdown, markdown_text
from pytest_gpuprof.storage.sweeps import scaling_of

from .documents import document, record, verdict


def test_a_comment_says_what_matters_first() -> None:
    """The marker, the counts, what was missed, what is in doubt, then all figures, the worst workload first."""
    busy = Caution("busy", "the host is busy", "wait until it is idle")
    text = markdown_text(
        document(
            record("t.py::fine", verdicts=[verdict("met")]),
            record("t.py::unsure", verdicts=[verdict("inconclusive", sentence="too close to call")], cautions=[busy]),
            record("t.py::slow", verdicts=[verdict("missed", sentence="GPU time 1 ms misses max_gpu_time 0.5 ms")]),
        )
    )
    lines = text.splitlines()
    assert lines[0] == MARKER == "<!-- pytest-gpuprof -->"
    assert lines[1] == "### GPU budgets: 1 met, 1 missed, 1 inconclusive, 0 not enforced"
    order = [
        "**Missed**",
        "misses max",
        "**Inconclusive**",
        "too close",
        "**Doubts**",
        "the host is busy",
        "|---|---:|",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    rows = [line for line in lines if line.startswith("| t.py::")]
    assert [row.split()[1] for row in rows] == ["t.py::slow", "t.py::unsure", "t.py::fine"]
    assert "- `t.py::slow`: GPU time 1 ms misses max_gpu_time 0.5 ms" in lines


def test_a_sweep_is_told() -> None:
    """With the word of a stand-in, and nothing in it that is markup."""
    scaling = Scaling("n_items", (), Crossover(310.0, 256.0, 390.0, 64, 4096), {"cpu": NOT_SWEPT, "gpu": NOT_SWEPT})
    text = markdown_text(document(record("t.py::a", name="mm[n=4096]", simulated=True, sweep=scaling_of(scaling))))
    assert "**Sweeps**\n\n- t.py::a mm over n_items (simulated): the GPU wins from n_items = 310 (256 to 390)\n" in text


def test_every_row_has_as_many_cells_as_the_head() -> None:
    """Also where a name holds what separates cells."""
    text = markdown_text(document(record("t.py::a[x|y]"), record("t.py::b")))
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1


def test_nothing_of_a_test_becomes_markup() -> None:
    """No mention of a person, no HTML, no link, no code span that ends early."""
    text = markdown_text(
        document(
            record(
                "t.py::a[`b`]",
                verdicts=[verdict(sentence="<img src=x> @octocat _slanted_ *bold* [a](b) &lt;\nnext")],
            )
        )
    )
    (line,) = [line for line in text.splitlines() if line.startswith("- ")]
    assert line == "- `t.py::a['b']`: &lt;img src=x\\> @\u200boctocat \\_slanted\\_ \\*bold\\* \\[a\\](b) &amp;lt; next"


def test_words_stand_below_the_figures() -> None:
    """Which figures are simulated, and which derived."""
    text = markdown_text(document(record(simulated=True)))
    assert "derived: speedup; simulated: speedup, gpu time, cpu time" in text
    assert "simulated:0 (simulated)" in text


def test_a_watched_budget_says_so() -> None:
    """It was missed, and failed nothing."""
    text = markdown_text(document(record(verdicts=[verdict("missed", enforce=False)])))
    assert "max_gpu_time is missed (not enforced)" in text


def test_a_comment_is_never_too_long() -> None:
    """What is left out is counted, from the end; the table is whole or closed, and a character is never cut."""
    verdicts = [verdict("missed", sentence="Ω" * 50)]
    text = markdown_text(document(*(record(f"t.py::a[{number}]", verdicts=verdicts) for number in range(1000))))
    assert COMMENT_BYTES - 200 < len(text.encode()) <= COMMENT_BYTES
    kept = text.count("- `t.py::a[")
    assert text.rstrip().endswith(f"_{2000 - kept} lines left out, because a page here may not be longer; "
                                  "the exports have them._")  # fmt: skip
    assert text.count("<details") == text.count("</details>")


def test_a_cut_table_is_closed() -> None:
    """So that what follows in a page is not inside it."""
    made = document(*(record(f"t.py::a[{number}]") for number in range(100)))
    text = markdown(made, 3000)
    assert len(text.encode()) <= 3000
    assert "|---" in text
    assert text.index("</details>") < text.index("lines left out")
    rows = text.count("| t.py::")
    assert 0 < rows < 100
    assert f"_{100 - rows} lines left out" in text


def test_one_endless_sentence_does_not_take_the_room_of_all() -> None:
    """It is cut."""
    text = markdown_text(document(record(verdicts=[verdict(sentence="x" * 10**6), verdict(sentence="second")])))
    assert "second" in text
    assert len(text) < 6000


def test_a_run_without_records_says_so() -> None:
    """With its counts."""
    assert markdown(document(), 10**6) == "### GPU budgets: 0 met, 0 missed, 0 inconclusive, 0 not enforced\n"
