"""The hooks that are there in every run: options, hook specifications, and switching the rest on. Nothing else."""

from __future__ import annotations

import pytest

__all__ = ["OPTIONS", "pytest_addhooks", "pytest_addoption", "pytest_configure"]

# name, ini type, metavar or choices, help. Each is --gpu-profile-NAME on the command line and gpu_profile_NAME in ini;
# an ini key of type "bool" is a flag. Defaults are None, so that the ini can speak where the command line is silent.
OPTIONS: tuple[tuple[str, str, object, str], ...] = (
    ("only", "bool", None, "run only tests that measure something or have a budget; implies --gpu-profile"),
    ("plan", "bool", None, "show what would be measured and how long it takes at most, and measure nothing"),
    ("devices", "string", "LIST",
     "accelerators, e.g. cuda:0,cuda:1 or opencl:0; 'any' takes a stand-in where there is no GPU (default: the GPU)"),
    ("backend", "string", "NAME", "backend for builders that could mean several, e.g. torch or jax"),
    ("metrics", "string", "LIST",
     "what to measure besides what budgets need, of time,memory,energy,net-energy (default: time without a budget)"),
    ("energy", "string", ("quick", "standard", "strict"),
     "how long energy is measured: 3 windows of 2 s, 3 of 5 s or 5 of 10 s, each under load (default: standard)"),
    ("rounds", "int", "N", "take exactly N rounds (default: until every budget is decided, 3 to 24)"),
    ("min-rounds", "int", "N", "take at least N rounds (default: 3)"),
    ("max-time", "float", "SEC", "most seconds for the rounds of one profile, without compilation (default: 30)"),
    ("session-time", "float", "SEC", "most seconds for all profiles; the rest is inconclusive (default: no limit)"),
    ("warmup", "float", "SEC", "most seconds of warm-up per leg, without compilation (default: 2)"),
    ("cache", "string", ("hot", "cold"),
     "call back to back (hot), or evict the caches of both devices before each call (cold) (default: hot)"),
    ("inconclusive", "string", ("warn", "fail", "skip"), "what an inconclusive budget does (default: warn)"),
    ("unavailable", "string", ("skip", "warn", "fail"),
     "what an unavailable budget does (default: skip without a GPU, fail where only the reading is missing)"),
    ("strict", "bool", None,
     "for a gate: inconclusive and unavailable fail, a GPU is required, xdist is refused; implies --gpu-profile where "
     "it is on the command line"),
    ("export", "linelist", "FORMAT:PATH", "write the records, e.g. json:gpu.json; may be given several times"),
    ("html", "string", "PATH", "write a report page: one file that opens in any browser, offline"),
    ("store", "string", "URL",
     "where the records of every run are kept: a SQLite file, postgresql://…, or none (default: "
     ".gpuprof/history.sqlite3)"),
    ("baselines", "string", "PATH", "the file of accepted baselines (default: gpuprof-baselines.json)"),
    ("compare", "string", "REF",
     "compare each workload with what it was before, and fail its test if it got worse: baseline, latest, "
     "latest:BRANCH, a commit, or a file; implies --gpu-profile where it is on the command line"),
    ("compare-figures", "string", "LIST",
     "what --gpu-profile-compare compares, e.g. gpu_time,gpu_memory,energy (default: gpu_time)"),
    ("max-regression", "string", "SHARE",
     "how much worse --gpu-profile-compare lets a figure become before its test fails (default: 5%)"),
    ("missing-baseline", "string", ("warn", "fail"),
     "what comparing with nothing does: no baseline was accepted, or no run is stored (default: warn)"),
    ("changed-since", "string", "REV",
     "measure only tests whose files, or files they import, changed since this commit; others run once, unmeasured, "
     "and their budgets are not judged, also under --gpu-profile-strict; implies --gpu-profile where it is on the "
     "command line"),
    ("from", "string", "PATH",
     "measure nothing; judge the records in this file, which were measured elsewhere from the same sources; implies "
     "--gpu-profile where it is on the command line"),
    ("github", "string", ("auto", "off"),
     "write a step summary and annotations when GitHub Actions runs the tests (default: auto)"),
    ("progress", "string", ("auto", "off"),
     "show on a terminal how far a long measurement is; never in CI, with -q, -s or xdist (default: auto)"),
    ("peaks", "linelist", "DEVICE: RATE=…",
     "the highest rates of a device, for utilization: e.g. 'NVIDIA H200: bandwidth=4.8 TB/s, bf16=989 TFLOP/s'; may be "
     "given several times (default: calibrated, else derived from the device)"),
    ("columns", "string", "LIST",
     "columns of the table, of cpu,gpu,device,speedup,reference,over-reference,first,memory,cpu-memory,energy,"
     "net-energy,power,workspace,reserved,leak,throughput,flop-rate,bandwidth,compute-utilization,"
     "bandwidth-utilization,verdict,headroom "
     "(default: those with something to say)"),
    ("sort", "string", ("name", "speedup", "time", "headroom"),
     "order of the table's rows; by headroom, missed budgets come first (default: as they ran)"),
    ("group-by", "string", ("file", "device"), "one table per file or per device (default: one table)"),
    ("xdist", "string", ("lock", "assign", "off"),
     "with xdist: measure one at a time per device (lock), give each worker a device (assign), or run once, unmeasured "
     "(off) (default: lock)"),
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    group = parser.getgroup("gpuprof", "measuring GPU workloads against the CPU (pytest-gpuprof)")
    group.addoption(
        "--gpu-profile", dest="gpu_profile", action="store_true", default=None, help="measure, and judge the budgets"
    )
    group.addoption(
        "--no-gpu-profile", dest="gpu_profile", action="store_false", default=None,
        help="run each workload once, unmeasured, whatever the ini says (this is the default)",
    )  # fmt: skip
    parser.addini("gpu_profile", "measure, and judge the budgets (default: false)", type="bool", default=None)
    for name, kind, values, text in OPTIONS:
        dest = f"gpu_profile_{name.replace('-', '_')}"
        told = text.replace("%", "%%")  # argparse formats it
        if kind == "bool":
            group.addoption(f"--gpu-profile-{name}", dest=dest, action="store_true", default=None, help=told)
        elif kind == "linelist":
            group.addoption(
                f"--gpu-profile-{name}", dest=dest, action="append", metavar=values, default=None, help=told
            )
        elif isinstance(values, tuple):
            group.addoption(f"--gpu-profile-{name}", dest=dest, choices=values, default=None, help=told)
        else:
            number = {"int": int, "float": float}.get(kind, str)
            group.addoption(f"--gpu-profile-{name}", dest=dest, type=number, metavar=values, default=None, help=told)
        parser.addini(dest, text, type=kind, default=None)  # type: ignore[arg-type]  # the kinds of the table
    parser.addini(
        "gpu_profile_budgets",
        "budgets by test, one per line: PATTERN: keyword=value, …; in a pattern * matches anything and [ is literal",
        type="linelist",
        default=None,
    )
    parser.addini(
        "gpu_profile_quarantine",
        "flaky gates that are judged without failing, one per line: PATTERN: reason=…, until=YYYY-MM-DD; after that "
        "day they fail again",
        type="linelist",
        default=None,
    )
    parser.addini(
        "gpu_profile_evidence_paths",
        "files and folders that must be unchanged for --gpu-profile-from and pytest-gpuprof check to accept a record "
        "(default: everything)",
        type="linelist",
        default=None,
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks by which others bring backends, meters, budgets and reports."""
    from pytest_gpuprof import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Tell the markers, and switch profiling on if it is wanted."""
    from pytest_gpuprof.plugin.switch import marker_help, switch_off, switch_on, wanted

    for line in marker_help():
        config.addinivalue_line("markers", line)
    if wanted(config):
        switch_on(config)
    else:
        switch_off(config)
