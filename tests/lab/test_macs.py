"""MACs that no certificate names are learned, as a bridge learns them; those of members are theirs alone."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

LOCAL_EXPERIMENT = 0x88B5
"""IEEE 802: an ethertype that means nothing to anybody."""
GUEST = bytes.fromhex("02000000beef")
"""Of a computer behind a member, as on a bridge."""


class Wire:
    """Is raw frames on every member's device."""

    def __init__(self, overlay: Overlay) -> None:
        self.ends = {
            machine: overlay.stage.open_socket(
                machine, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(LOCAL_EXPERIMENT)
            )
            for machine in overlay.members
        }
        for end in self.ends.values():
            end.bind(("ntvl0", LOCAL_EXPERIMENT))
            end.settimeout(3.0)
        self.macs = {machine: end.getsockname()[4] for machine, end in self.ends.items()}

    def send(self, machine: str, target: bytes, source: bytes) -> bytes:
        frame = target + source + struct.pack("!H", LOCAL_EXPERIMENT) + os.urandom(50)
        self.ends[machine].send(frame)
        return frame

    def receive(self, machine: str) -> bytes:
        return self.ends[machine].recv(2048)

    def is_silent(self, machine: str) -> bool:
        self.ends[machine].settimeout(0.7)
        try:
            self.ends[machine].recv(2048)
        except TimeoutError:
            return True
        finally:
            self.ends[machine].settimeout(3.0)
        return False


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"], "c": KINDS["apdm-random"]})) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        built.wait_path("a", "c", "relay")
        yield built


@pytest.fixture
def wire(overlay: Overlay) -> Iterator[Wire]:
    wire = Wire(overlay)
    yield wire
    for end in wire.ends.values():
        end.close()


def test_a_computer_behind_a_member_is_learned_and_reached_there_alone(wire: Wire) -> None:
    first = wire.send("a", GUEST, wire.macs["a"])
    assert wire.receive("b") == wire.receive("c") == first, "nobody knows where it is, so all get it"
    frame = wire.send("b", wire.macs["a"], GUEST)
    assert wire.receive("a") == frame
    assert wire.is_silent("c")
    answer = wire.send("a", GUEST, wire.macs["a"])
    assert wire.receive("b") == answer
    assert wire.is_silent("c"), "a knows by now behind whom it is"


def test_a_frame_that_claims_another_members_mac_is_dropped_and_counted(overlay: Overlay, wire: Wire) -> None:
    wire.send("b", wire.macs["a"], wire.macs["c"])
    assert wire.is_silent("a")
    eventually(lambda: overlay.members["a"].status()["drops"].get("mac-claimed"), 5.0, "the claim is counted")
    frame = wire.send("c", wire.macs["a"], wire.macs["c"])
    assert wire.receive("a") == frame, "its owner still speaks with it"
