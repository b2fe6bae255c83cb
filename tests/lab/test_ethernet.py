"""What a real Ethernet carries crosses the virtual one: IPv6, multicast, any ethertype, DHCP, files, routed traffic."""

import os
import secrets
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.overlay import Overlay, eventually
from tests.lab.tcp import GIB, send_file

from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Topology, build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

MDNS = ("224.0.0.251", 5353)
LOCAL_EXPERIMENT = 0x88B5
"""IEEE 802: an ethertype that means nothing to anybody."""
DHCP_SCRIPT = """\
#!/bin/sh
[ "$1" = bound ] && ip address add "$ip/$mask" dev "$interface"
exit 0
"""


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    """Has a and b directly connected, c behind the relay, and on b's LAN a host "third" that is no member."""
    base = build_sites({"a": KINDS["eim-apdf"], "b": KINDS["double"], "c": KINDS["apdm-random"]})
    topology = Topology(base.networks, (*base.hosts, Host("third", ("b-lan",))), base.routers)
    with Stage(topology) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        yield built


def ipv6_addresses(overlay: Overlay, machine: str, scope: str) -> list[str]:
    said = overlay.stage.run(machine, ["ip", "-6", "-o", "address", "show", "dev", "ntvl0", "scope", scope]).stdout
    return [line.split()[3].partition("/")[0] for line in said.splitlines() if "tentative" not in line]


@pytest.mark.parametrize("target", ["b", "c"])
@pytest.mark.parametrize("scope", ["global", "link"])
def test_ipv6_crosses_directly_and_by_relay(overlay: Overlay, target: str, scope: str) -> None:
    eventually(lambda: ipv6_addresses(overlay, target, scope), 5.0, "an address that is not tentative")
    eventually(lambda: ipv6_addresses(overlay, "a", scope), 5.0, "an address that is not tentative")
    address = ipv6_addresses(overlay, target, scope)[0]
    zone = "%ntvl0" if scope == "link" else ""
    overlay.stage.run("a", ["ping", "-6", "-c", "3", "-i", "0.2", "-W", "2", f"{address}{zone}"])


@pytest.mark.parametrize(("source", "listeners"), [("a", ("b", "c")), ("c", ("a", "b"))])
def test_multicast_reaches_every_member(overlay: Overlay, source: str, listeners: tuple[str, ...]) -> None:
    received = []
    for machine in listeners:
        listener = overlay.stage.open_socket(machine, socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("", MDNS[1]))
        member = socket.inet_aton(MDNS[0]) + socket.inet_aton(overlay.address(machine))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        listener.settimeout(3.0)
        received.append(listener)
    with overlay.udp(source) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(overlay.address(source)))
        sender.sendto(b"who has printer.local?", MDNS)
        for listener in received:
            data, (host, port) = listener.recvfrom(2048)
            assert (data, host) == (b"who has printer.local?", overlay.address(source))
            listener.sendto(b"printer.local is here", (host, port))
            assert sender.recv(2048) == b"printer.local is here"
            listener.close()


@pytest.mark.parametrize("length", [46, 1360])
def test_a_frame_of_any_ethertype_arrives_byte_for_byte(overlay: Overlay, length: int) -> None:
    body = os.urandom(length)
    ends = {}
    for machine in ("a", "b"):
        end = overlay.stage.open_socket(machine, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(LOCAL_EXPERIMENT))
        end.bind(("ntvl0", LOCAL_EXPERIMENT))
        end.settimeout(3.0)
        ends[machine] = end
    macs = {machine: end.getsockname()[4] for machine, end in ends.items()}
    frame = macs["b"] + macs["a"] + struct.pack("!H", LOCAL_EXPERIMENT) + body
    ends["a"].send(frame)
    assert ends["b"].recv(4096) == frame
    ends["b"].send(b"\xff" * 6 + macs["b"] + frame[12:])
    assert ends["a"].recv(4096)[14:] == body
    for end in ends.values():
        end.close()


def test_a_broadcast_reaches_every_member(overlay: Overlay) -> None:
    with overlay.udp("b") as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        listeners = []
        for machine in ("a", "c"):
            listener = overlay.stage.open_socket(machine, socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind(("", 6000))
            listener.settimeout(3.0)
            listeners.append(listener)
        sender.sendto(b"anybody there?", ("10.77.255.255", 6000))
        for listener in listeners:
            assert listener.recv(100) == b"anybody there?"
            listener.close()


@pytest.mark.parametrize("length", [1, 1332, 1333, 9000, 65507])
def test_datagrams_of_every_size_arrive_whole(overlay: Overlay, length: int) -> None:
    body = secrets.token_bytes(length)
    with overlay.udp("a") as sender, overlay.udp("b", 6001) as receiver:
        for _ in range(3):
            sender.sendto(body, receiver.getsockname())
            assert receiver.recv(65535) == body


def test_a_file_of_a_gigabyte_arrives_unchanged(overlay: Overlay) -> None:
    sent, received, seconds = send_file(overlay.stage, "a", "b", overlay.address("b"), GIB)
    assert received == sent
    print(f"1 GiB in {seconds:.1f} s, {8 * GIB / seconds / 1e9:.2f} Gbit/s")


def test_a_large_file_arrives_unchanged_through_the_relay(overlay: Overlay) -> None:
    sent, received, _ = send_file(overlay.stage, "a", "c", overlay.address("c"), GIB // 8)
    assert received == sent


@pytest.mark.needs_program("ethtool")
def test_what_is_routed_on_to_a_third_host_has_valid_checksums(overlay: Overlay) -> None:
    stage = overlay.stage
    lan = stage.address("b")
    third = stage.address("third")
    # Without offloads on the way out the kernel must finish every checksum itself, and the third host checks them.
    stage.run("b", ["ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off"])
    stage.run("b", ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    stage.run("a", ["ip", "route", "add", f"{third}/32", "via", overlay.address("b")])
    stage.run("third", ["ip", "route", "add", "10.77.0.0/16", "via", lan])
    sent, received, _ = send_file(stage, "a", "third", third, GIB // 8)
    assert received == sent
    with (
        overlay.udp("a") as sender,
        stage.open_socket("third", socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((third, 6002))
        receiver.settimeout(3.0)
        for length in (1, 1200, 4000):
            body = os.urandom(length)
            sender.sendto(body, (third, 6002))
            assert receiver.recv(65535) == body
    counters = stage.run("third", ["cat", "/proc/net/snmp"]).stdout
    assert snmp(counters, "Tcp", "InCsumErrors") == 0
    assert snmp(counters, "Udp", "InCsumErrors") == 0
    assert snmp(counters, "Tcp", "InSegs") > 1000


def snmp(text: str, protocol: str, counter: str) -> int:
    names, values = (line.split() for line in text.splitlines() if line.startswith(f"{protocol}:"))
    return int(values[names.index(counter)])


@pytest.mark.needs_program("dnsmasq", "udhcpc")
def test_a_dhcp_server_on_one_node_addresses_another(tmp_path: Path) -> None:
    script = tmp_path / "bound"
    script.write_text(DHCP_SCRIPT)
    script.chmod(0o755)
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["apdm-random"]})) as stage:
        overlay = Overlay(stage)
        overlay.join("a", arguments=("--address", "static", "10.77.0.1/16"))
        overlay.join("b", arguments=("--address", "dhcp"), ready=False)
        overlay.members["b"].wait_peers(["a"])
        server = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", f"--pid-file={tmp_path}/pid"]
        server += ["--port=0", "--interface=ntvl0", "--bind-interfaces", "--dhcp-authoritative", "--no-ping"]
        server += ["--dhcp-range=10.77.5.10,10.77.5.20,255.255.0.0,1h", f"--dhcp-leasefile={tmp_path}/leases"]
        dhcp = stage.start("a", server)
        eventually(lambda: any("DHCP, IP range" in line for line in dhcp.log), 5.0, "dnsmasq serves")
        stage.run("b", ["udhcpc", "-i", "ntvl0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", str(script)])
        said = stage.run("b", ["ip", "-4", "-o", "address", "show", "dev", "ntvl0"]).stdout
        address = said.split()[3].partition("/")[0]
        assert address.startswith("10.77.5.")
        assert address in (tmp_path / "leases").read_text()
        stage.run("a", ["ping", "-c", "3", "-i", "0.2", "-W", "2", address])
