"""How people end a node: Ctrl-C reaches every process of it at once, and so does the end of its terminal."""

import os
import signal

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]


def test_a_signal_to_all_processes_of_a_node_is_a_clean_leave() -> None:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"]})) as stage:
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        supernode, watcher = overlay.supernodes["supernode"], overlay.members["a"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            member = overlay.members["b"]
            seen, left = len(watcher.program.events), len(supernode.events)
            os.killpg(member.program.pid, number)
            assert member.program.wait(5.0) == 0
            assert "Traceback" not in "\n".join(member.program.log)
            supernode.wait_event(
                lambda fields: fields.get("event") == "member-left" and fields["reason"] == "left", 5.0, since=left
            )
            watcher.program.wait_event(lambda fields: fields.get("event") == "peer-gone", 5.0, since=seen)
            assert "ntvl0" not in stage.run("b", ["ip", "-br", "link"]).stdout
            assert not member.socket.exists()
            member.restart()
            eventually(lambda member=member: member.address, 15.0, "it is back")
            overlay.wait_path("a", "b", "direct")
