"""What passes a device is recorded from the first frame on, and can be searched."""

import socket
import struct
from pathlib import Path

import pytest
from tests.lab.udp import open_udp

from ntvl.errors import UsageError
from ntvl.lab.capture import Capture, parse_pcap
from ntvl.lab.stage import Stage
from ntvl.lab.throughput import measure_tcp_bps
from ntvl.lab.topology import build_sites

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def record(data: bytes) -> bytes:
    return struct.pack("<IIII", 100, 500_000, len(data), len(data)) + data


def test_records_are_read_in_order_and_a_cut_off_one_is_left_out() -> None:
    whole = HEADER + record(b"one") + record(b"second")
    assert list(parse_pcap(whole)) == [(100.5, b"one"), (100.5, b"second")]
    assert list(parse_pcap(whole[:-1])) == [(100.5, b"one")]


def test_both_byte_orders_are_read() -> None:
    data = struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack(">IIII", 7, 0, 1, 1) + b"x"
    assert list(parse_pcap(data)) == [(7.0, b"x")]


@pytest.mark.parametrize("data", [b"", b"not a capture at all, but long enough", HEADER[:20] + b"\x71\x00\x00\x00"])
def test_what_is_no_capture_of_ethernet_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="not a pcap file"):
        list(parse_pcap(data))


@pytest.mark.lab
@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "tcpdump")
def test_what_was_sent_after_the_start_is_found_and_nothing_else(tmp_path: Path) -> None:
    with Stage(build_sites({}, publics=("a", "b"))) as stage:
        with open_udp(stage, "a", 5000) as one, open_udp(stage, "b", 5000) as other:
            target = (stage.address("b"), 5000)
            one.sendto(b"before the capture", target)
            other.recv(100)
            capture = Capture(stage.namespace("b"), "eth0", tmp_path)
            one.sendto(b"\x90 like a relayed datagram", target)
            other.recv(100)
            one.sendto(b"an open secret", target)
            other.recv(100)
        capture.stop()
        assert capture.contains(b"an open secret")
        assert not capture.contains(b"before the capture")
        assert [(one.source, one.target, one.is_relayed) for one in capture.datagrams()] == [
            (stage.address("a"), stage.address("b"), True),
            (stage.address("a"), stage.address("b"), False),
        ]
        assert capture.dropped == 0


@pytest.mark.lab
@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "tcpdump")
def test_a_capture_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Stage(build_sites({}, publics=("a",))) as stage, pytest.raises(UsageError, match="nothing0"):
        Capture(stage.namespace("a"), "nothing0", tmp_path)


@pytest.mark.lab
@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "nft", "iperf3")
def test_throughput_is_measured_and_a_deaf_server_named() -> None:
    with Stage(build_sites({}, publics=("a", "b"))) as stage:
        assert measure_tcp_bps(stage, "a", "b", stage.address("b")) > 1e8
        rules = "add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }"
        stage.run("b", ["nft", rules])
        with pytest.raises(UsageError, match=r"iperf3 on a did not end|iperf3 from a to b failed"):
            measure_tcp_bps(stage, "a", "b", stage.address("b"))
        with stage.open_socket("a", socket.AF_INET, socket.SOCK_STREAM) as busy:
            busy.bind((stage.address("a"), 5201))
            busy.listen()
            with pytest.raises(UsageError, match="iperf3 did not start on a"):
                measure_tcp_bps(stage, "b", "a", stage.address("a"))
