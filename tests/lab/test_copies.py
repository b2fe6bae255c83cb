"""One state directory on two machines: the newer program stays, the older one ends with a sentence."""

import shutil

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.member import Member
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]


def test_of_two_nodes_with_one_state_the_older_ends_with_a_sentence_and_the_newer_takes_its_place() -> None:
    sites = {"a": KINDS["eim-apdf"], "b": KINDS["open"], "c": KINDS["apdm-random"]}
    with Stage(build_sites(sites)) as stage:
        overlay = Overlay(stage)
        overlay.join("a", "b")
        older = overlay.members["a"]
        shutil.copytree(older.state, stage.directory / "c.state")
        newer = Member(stage, "c", community="lab", supernode=overlay.urls[0], secret_file=overlay.secret)
        assert newer.wait_address(20.0) == older.address
        assert older.program.wait(30.0) == 1
        said = [line for line in older.program.log if line and not line.startswith("{")]
        assert len(said) == 1
        assert "give each its own state directory with --state DIR" in said[0]
        echo = overlay.echo("b", "a")
        try:
            newer.wait_peers(["b"])
            overlay.members["b"].program.wait_event(
                lambda fields: fields.get("event") == "path-changed" and fields["name"] == "c", 15.0, "reach the newer"
            )
        finally:
            report = echo.stop()
        assert report.answered, "the address is the newer one's"
        assert newer.program.is_running
