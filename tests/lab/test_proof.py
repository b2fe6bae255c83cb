"""The proof of the demonstration, where it must not hold: in the clear."""

from pathlib import Path

import pytest

from ntvl.lab.capture import Capture
from ntvl.lab.proof import TEXTS, prove_unreadable
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "tcpdump")]


def test_a_text_that_passes_in_the_clear_is_found(tmp_path: Path) -> None:
    with Stage(build_sites({}, publics=("supernode", "other"))) as stage:
        capture = Capture(stage.namespace("supernode"), "eth0", tmp_path)
        ends = [(machine, stage.address(machine)) for machine in ("other", "supernode")]
        proof = prove_unreadable(stage, capture, "supernode", ends[0], ends[1])
    assert proof.delivered == TEXTS
    assert proof.text_found
    assert proof.clear_text_found
    assert "can be read" in proof.failure


def test_a_text_that_passes_elsewhere_proves_nothing(tmp_path: Path) -> None:
    with Stage(build_sites({}, publics=("supernode", "one", "other"))) as stage:
        capture = Capture(stage.namespace("supernode"), "eth0", tmp_path)
        ends = [(machine, stage.address(machine)) for machine in ("one", "other")]
        proof = prove_unreadable(stage, capture, "supernode", ends[0], ends[1])
    assert proof.delivered == TEXTS
    assert not proof.text_found
    assert "0 relayed datagrams" in proof.failure
