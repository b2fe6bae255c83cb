"""A failed scenario says with which seed it can be seen again."""

from collections.abc import Generator
from typing import Any

import pytest

from ntvl.sim.world import World


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[Any]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and report.failed:
        frames = [entry.frame.f_locals for entry in call.excinfo.traceback]
        worlds = {id(value): value for names in frames for value in names.values() if isinstance(value, World)}
        for world in worlds.values():
            report.sections.append(("simulated internet", repr(world)))
    return report
