"""An Ethernet with jumbo frames: larger than any datagram that carries them, and the smallest frames as well."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay
from tests.lab.tcp import GIB, send_file

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "ping")]

LOCAL_EXPERIMENT = 0x88B5
"""IEEE 802: an ethertype that means nothing to anybody."""


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"], "c": KINDS["apdm-random"]})) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", arguments=("--mtu", "9000"), relayed=("c",))
        built.wait_path("a", "b", "direct")
        yield built


@pytest.mark.parametrize("target", ["b", "c"])
def test_a_ping_of_nine_thousand_bytes_is_not_cut_by_ip(overlay: Overlay, target: str) -> None:
    command = ["ping", "-c", "3", "-i", "0.2", "-W", "2", "-M", "do", "-s", "8972", overlay.address(target)]
    assert " 0% packet loss" in overlay.stage.run("a", command).stdout


@pytest.mark.parametrize("target", ["b", "c"])
@pytest.mark.parametrize("length", [50, 1400, 9000])
def test_frames_from_the_smallest_to_the_largest_arrive_byte_for_byte(
    overlay: Overlay, target: str, length: int
) -> None:
    ends = {}
    for machine in ("a", target):
        end = overlay.stage.open_socket(machine, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(LOCAL_EXPERIMENT))
        end.bind(("ntvl0", LOCAL_EXPERIMENT))
        end.settimeout(3.0)
        ends[machine] = end
    macs = {machine: end.getsockname()[4] for machine, end in ends.items()}
    for _ in range(10):
        frame = macs[target] + macs["a"] + struct.pack("!H", LOCAL_EXPERIMENT) + os.urandom(length)
        ends["a"].send(frame)
        assert ends[target].recv(16384) == frame
    for end in ends.values():
        end.close()


def test_a_file_over_jumbo_frames_arrives_unchanged(overlay: Overlay) -> None:
    sent, received, _ = send_file(overlay.stage, "a", "b", overlay.address("b"), GIB // 16)
    assert received == sent
