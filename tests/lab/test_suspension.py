"""A computer that sleeps, as far as a namespace can show it: every process stands still while the world goes on."""

import os
import signal
import time

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "conntrack")]

ASLEEP_S = 12.0
"""Longer than a dead path is believed in; an hour passes in the simulator."""


def test_a_node_that_slept_while_its_nat_forgot_it_goes_on_within_seconds() -> None:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"]})) as stage:
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        sleeper = overlay.members["b"].program
        echo = overlay.echo("a", "b", 0.05)
        os.killpg(sleeper.pid, signal.SIGSTOP)
        stage.reboot_router("b-router")
        time.sleep(ASLEEP_S)
        os.killpg(sleeper.pid, signal.SIGCONT)
        awake = time.monotonic()

        def answered() -> bool:
            report = echo.report
            return any(report.sent[sequence] > awake for sequence in list(report.answered))

        took_s = eventually(answered, 15.0, "a reply to what was sent after it woke")
        print(f"talks again {took_s:.1f} s after it woke")
        overlay.wait_path("a", "b", "direct", 20.0)
        echo.stop()
        assert took_s < 3.0
        assert sleeper.is_running
