"""What every test may ask for, and the rule that CI skips nothing."""

import os
import shutil
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
IN_CI: Final = os.environ.get("CI") == "true"
SKIPPED_IN_CI: Final[dict[str, str]] = {}
"""Tests that even CI may skip: the start of a node id, and why CI cannot run it."""

_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=int,
        default=0,
        help="fuzz all parsers for so many seconds in total, beside the other tests (0: only repeat the seeds)",
    )


def pytest_configure() -> None:
    """Takes Ctrl-C even where a shell started this in the background, for programs inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests with kernel namespaces behind all others, so that quick ones fail first and none disturbs timing."""
    for item in items:
        if _is_in(item, "lab") or _is_in(item, "interop"):
            item.add_marker(pytest.mark.lab)
    items.sort(key=lambda item: 2 if item.get_closest_marker("lab") else 1 if _is_in(item, "fuzz") else 0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_root") and not _may_build_networks():
        pytest.skip("needs root with the capabilities NET_ADMIN and SYS_ADMIN: run `sudo make test`")
    programs = [name for mark in item.iter_markers("needs_program") for name in mark.args]
    missing = [name for name in programs if shutil.which(name, path=_search_path()) is None]
    if missing:
        packages = _packages()
        words = " ".join(dict.fromkeys(packages.get(name, name) for name in missing))
        pytest.skip(f"needs {', '.join(missing)}: run `apt-get install {words}`, or `make test` as root, which does")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not _may_skip(item.nodeid):
        report.outcome = "failed"
        report.longrepr = f"CI must run this test, which was skipped: {_words(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI and report.skipped and not _may_skip(collector.nodeid):
        report.outcome = "failed"
        report.longrepr = f"CI must run this file, which was skipped: {_words(report.longrepr)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how long `make` took in all; pytest's own last line counts the tests and their time alone."""
    began = os.environ.get("NTVL_TEST_BEGAN")
    if began is not None:
        terminalreporter.line(f"make: {time.time() - int(began):.0f} s in all")


def _is_in(item: pytest.Item, directory: str) -> bool:
    return ROOT / "tests" / directory in item.path.parents


def _may_skip(nodeid: str) -> bool:
    return any(nodeid.startswith(start) for start in SKIPPED_IN_CI)


def _words(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def _may_build_networks() -> bool:
    """Returns whether this process may make namespaces and devices; a root without these capabilities may not."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return os.geteuid() == 0 and all(effective >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _packages() -> dict[str, str]:
    """Returns the package of each program that scripts/packages.txt lists."""
    lines = (ROOT / "scripts" / "packages.txt").read_text().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if line.strip() and not line.startswith("#")}
