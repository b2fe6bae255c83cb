"""Two real engines with real TAPs in namespaces: what an Ethernet carries, by kernels that know nothing of it."""

import hashlib
import socket
import struct
import time

import pytest
from tests.dataplane.conftest import Host, Hosts, wait_event
from tests.dataplane.frames import Segment, pattern

from ntvl.dataplane.choice import Engine
from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    Counters,
    InstallSession,
    RelayMember,
    SetAddresses,
    SetPath,
    Target,
)

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "ping", "ethtool", "sysctl", "nft"),
    pytest.mark.lab,
]

MACS = (bytes.fromhex("020000000a01"), bytes.fromhex("020000000b02"))
UNDERLAY = ("203.0.113.1", "203.0.113.2")
UNDERLAY6 = ("2001:db8::1", "2001:db8::2")
OVERLAY = ("10.77.0.1", "10.77.0.2")
OVERLAY6 = ("fd00:77::1", "fd00:77::2")
KEYS = (b"\x0a" * 32, b"\x0b" * 32)
UDP_SEGMENT = 103


class Network:
    """Is two hosts with an engine each."""

    def __init__(self, hosts: Hosts, *, mtu: int = 1360, ipv6: bool = False, cipher: str = "aes256gcm") -> None:
        self.hosts = hosts
        self.a, self.b = hosts.add("a"), hosts.add("b")
        hosts.wire(
            self.a, self.b, "wan", *[(f"{left}/24", f"{right}/24") for left, right in [UNDERLAY]],
            *[(f"{left}/64", f"{right}/64") for left, right in [UNDERLAY6]],
        )  # fmt: skip
        underlay = UNDERLAY6 if ipv6 else UNDERLAY
        self.engines: list[Engine] = []
        self.offloads: tuple[str, ...] = ()
        for me, host in enumerate((self.a, self.b)):
            engine = host.start()
            opened = host.open_tap(engine, MACS[me], [f"{OVERLAY[me]}/24", f"{OVERLAY6[me]}/64"], mtu=mtu)
            self.offloads = opened.offloads
            other = 1 - me
            engine.apply(
                [
                    SetAddresses(1, (OVERLAY[me], OVERLAY6[me])),
                    AddPeer(1, 1, (MACS[other],), (OVERLAY[other], OVERLAY6[other]), True),
                    InstallSession(1, cipher, 10 + other, 10 + me, KEYS[me], KEYS[other], True),
                    SetPath(1, (Target(underlay[other], 7000),)),
                ]
            )
            self.engines.append(engine)

    def drops(self, host: int) -> dict[str, int]:
        """Returns what an engine has counted, after enough time for it to say so."""
        last: dict[str, int] = {}
        deadline = time.monotonic() + 1.3
        while time.monotonic() < deadline:
            for event in self.engines[host].drain():
                if isinstance(event, Counters):
                    last = event.drops
            time.sleep(0.05)
        return last


@pytest.fixture
def network(hosts: Hosts) -> Network:
    return Network(hosts)


def ping(host: Host, target: str, *arguments: str) -> None:
    out = host.run("ping", "-n", "-c", "5", "-i", "0.05", "-w", "10", *arguments, target)
    assert " 0% packet loss" in out, out


def transfer(sender: Host, receiver: Host, target: str, size: int, port: int = 5000) -> None:
    """Sends known bytes over TCP and compares what arrives by hash."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET

    def listen() -> socket.socket:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((target, port))
        server.listen()
        server.settimeout(20)
        return server

    def send() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect((target, port))
            client.sendall(content)

    def receive() -> str:
        connection, _ = server.accept()
        connection.settimeout(20)
        digest = hashlib.sha256()
        with connection:
            while data := connection.recv(1 << 20):
                digest.update(data)
        return digest.hexdigest()

    content = pattern(1 << 16) * (size >> 16)
    server = receiver.call(listen)
    with server:
        sending = sender._executor.submit(send)
        assert receive() == hashlib.sha256(content).hexdigest()
        sending.result(20)


def send_datagrams(
    sender: Host, receiver: Host, target: str, payloads: list[bytes], *, segment: int = 0, port: int = 6000
) -> list[bytes]:
    """Sends datagrams, by single calls or `segment` bytes each from one buffer, and returns those that came."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET

    def bind() -> socket.socket:
        sink = socket.socket(family, socket.SOCK_DGRAM)
        sink.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sink.bind((target, port))
        sink.settimeout(3.0)
        return sink

    def send() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as source:
            source.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            for payload in payloads:
                ancillary = [(17, UDP_SEGMENT, struct.pack("H", segment))] if segment else []
                source.sendmsg([payload], ancillary, 0, (target, port))

    came: list[bytes] = []
    expected = sum(-(-len(payload) // (segment or len(payload))) for payload in payloads)
    with receiver.call(bind) as sink:
        sender.call(send)
        try:
            while len(came) < expected:
                came.append(sink.recv(65535))
        except TimeoutError:
            pass
    return came


def test_hosts_talk_over_ipv4_and_ipv6(network: Network) -> None:
    ping(network.a, OVERLAY[1])
    ping(network.b, OVERLAY6[0])
    ping(network.a, OVERLAY[1], "-s", "1300")
    ping(network.a, OVERLAY[1], "-s", "20000")
    assert "csum" in network.offloads
    assert network.drops(0).keys() | network.drops(1).keys() <= {"unknown-session"}, "but for what came too early"


def test_tcp_arrives_byte_for_byte_both_ways_over_both_families(network: Network) -> None:
    transfer(network.a, network.b, OVERLAY[1], 32 << 20)
    transfer(network.b, network.a, OVERLAY[0], 16 << 20)
    transfer(network.a, network.b, OVERLAY6[1], 16 << 20)


def test_udp_arrives_as_it_was_sent(network: Network) -> None:
    for target in (OVERLAY[1], OVERLAY6[1]):
        ping(network.a, target)
        small = [struct.pack("!I", index) + bytes(18) for index in range(3000)]
        assert send_datagrams(network.a, network.b, target, small) == small
        sizes = [struct.pack("!I", index) * (1 + index % 300) for index in range(600)]
        assert send_datagrams(network.a, network.b, target, sizes) == sizes
        trains = [pattern(30000, seed) for seed in range(20)]
        came = send_datagrams(network.a, network.b, target, trains, segment=1000)
        assert came == [train[start : start + 1000] for train in trains for start in range(0, 30000, 1000)]
        large = [pattern(40000, seed) for seed in range(5)]
        assert send_datagrams(network.a, network.b, target, large) == large, "fragmented by IP"


def test_broadcast_and_multicast_arrive(network: Network) -> None:
    def join() -> socket.socket:
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("", 5353))
        group = socket.inet_aton("224.0.0.251") + socket.inet_aton(OVERLAY[1])
        sink.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        sink.settimeout(5)
        return sink

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            source.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            source.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(OVERLAY[0]))
            source.sendto(b"to the group", ("224.0.0.251", 5353))
            source.sendto(b"to all", ("10.77.0.255", 5353))

    with network.b.call(join) as sink:
        network.a.call(send)
        assert [sink.recv(100), sink.recv(100)] == [b"to the group", b"to all"]


def test_unknown_ethertypes_arrive(network: Network) -> None:
    def listen() -> socket.socket:
        sink = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        sink.bind(("ntvl0", 0x88B5))
        sink.settimeout(5)
        return sink

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as source:
            source.bind(("ntvl0", 0))
            source.send(frame)

    frame = MACS[1] + MACS[0] + b"\x88\xb5" + pattern(1000)
    with network.b.call(listen) as sink:
        network.a.call(send)
        assert sink.recv(2000) == frame


def test_jumbo_frames_arrive(hosts: Hosts) -> None:
    network = Network(hosts, mtu=9000)
    ping(network.a, OVERLAY[1], "-M", "do", "-s", "8972")
    transfer(network.a, network.b, OVERLAY[1], 8 << 20)
    ping(network.a, OVERLAY6[1])
    payloads = [pattern(8900, seed) for seed in range(50)]
    assert send_datagrams(network.a, network.b, OVERLAY[1], payloads) == payloads
    assert send_datagrams(network.a, network.b, OVERLAY6[1], [pattern(8900 * 5)], segment=8900) == [
        pattern(8900 * 5)[start : start + 8900] for start in range(0, 8900 * 5, 8900)
    ]


def test_the_path_may_be_ipv6_and_the_cipher_chacha(hosts: Hosts) -> None:
    network = Network(hosts, ipv6=True, cipher="chacha20poly1305")
    ping(network.a, OVERLAY[1])
    transfer(network.a, network.b, OVERLAY[1], 8 << 20)
    activity = wait_event(network.engines[1], Activity)
    assert {path.target.host for path in activity.paths} == {UNDERLAY6[0]}


@pytest.mark.parametrize("where", ["tap", "wan"])
def test_kernels_without_offloads_do_slower(hosts: Hosts, where: str) -> None:
    network = Network(hosts)
    for host in (network.a, network.b):
        features = ["tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"]
        host.run("ethtool", "-K", "ntvl0" if where == "tap" else "wan", *features)
    transfer(network.a, network.b, OVERLAY[1], 4 << 20)
    payloads = [pattern(20000, seed) for seed in range(5)]
    came = send_datagrams(network.a, network.b, OVERLAY[1], payloads, segment=1000)
    assert came == [p[start : start + 1000] for p in payloads for start in range(0, 20000, 1000)]


def test_a_narrow_underlay_fragments_instead_of_swallowing(network: Network) -> None:
    for host in (network.a, network.b):
        host.run("ip", "link", "set", "wan", "mtu", "1300")
    transfer(network.a, network.b, OVERLAY[1], 4 << 20)
    assert "send-failed" not in network.drops(0)


def test_a_lossy_network_costs_what_it_lost(network: Network) -> None:
    for host in (network.a, network.b):
        # Trains come apart, or the loss would be of whole ones.
        host.run("ethtool", "-K", "wan", "gro", "off", "gso", "off", "tso", "off", "tx-udp-segmentation", "off")
    ping(network.a, OVERLAY[1])
    network.b.run("nft", "add table inet loss; add chain inet loss in { type filter hook input priority 0 ; }")
    network.b.run("nft", "add rule inet loss in udp dport 7000 numgen random mod 100 < 1 counter drop")
    payloads = [struct.pack("!I", index) * 300 for index in range(2000)]
    came = send_datagrams(network.a, network.b, OVERLAY[1], payloads)
    assert set(came) <= set(payloads)
    assert 1800 < len(set(came)) == len(came) < 2000
    trains = [pattern(30000, seed) for seed in range(20)]
    came = send_datagrams(network.a, network.b, OVERLAY[1], trains, segment=1000)
    sent = {train[start : start + 1000] for train in trains for start in range(0, 30000, 1000)}
    assert set(came) <= sent
    assert 500 < len(set(came)) == len(came) < 600
    transfer(network.a, network.b, OVERLAY[1], 2 << 20)


def test_checksums_hold_when_frames_leave_the_receiver_for_a_third_host(network: Network) -> None:
    hosts, a, b = network.hosts, network.a, network.b
    c = hosts.add("c")
    hosts.wire(b, c, "lan", ("192.168.9.1/24", "192.168.9.2/24"), ("fd00:9::1/64", "fd00:9::2/64"))
    for host in (b, c):
        # The wire to the third host is a plain one: what leaves is cut and summed up, what comes is verified.
        features = ["rx", "off", "tx", "off", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"]
        host.run("ethtool", "-K", "lan", *features)
    b.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    a.run("ip", "route", "add", "192.168.9.0/24", "via", OVERLAY[1])
    a.run("ip", "route", "add", "fd00:9::/64", "via", OVERLAY6[1])
    c.run("ip", "route", "add", "default", "via", "192.168.9.1")
    c.run("ip", "route", "add", "default", "via", "fd00:9::1")

    def capture() -> socket.socket:
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sniffer.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        sniffer.bind(("lan", 3))
        sniffer.settimeout(0.2)
        return sniffer

    with c.call(capture) as sniffer:
        transfer(a, c, "192.168.9.2", 4 << 20)
        transfer(a, c, "fd00:9::2", 4 << 20)
        for target in ("192.168.9.2", "fd00:9::2"):
            small = [struct.pack("!I", index) + bytes(18) for index in range(500)]
            assert send_datagrams(a, c, target, small) == small
            trains = [pattern(30000, seed) for seed in range(5)]
            came = send_datagrams(a, c, target, trains, segment=1000)
            assert came == [train[start : start + 1000] for train in trains for start in range(0, 30000, 1000)]
        verified = 0
        try:
            while True:
                frame, origin = sniffer.recvfrom(65535)
                protocol = {b"\x08\x00": 23, b"\x86\xdd": 20}.get(frame[12:14])
                if origin[2] == socket.PACKET_HOST and protocol and frame[protocol] in (6, 17):
                    Segment(frame)  # computes every checksum
                    verified += 1
        except TimeoutError:
            pass
    assert verified > 5000


def test_nodes_talk_through_a_supernode(network: Network) -> None:
    s = network.hosts.add("s")
    for index, host in enumerate((network.a, network.b)):
        network.hosts.wire(
            s, host, f"up{index}", (f"198.51.100.{16 * index + 1}/28", f"198.51.100.{16 * index + 2}/28")
        )
    supernode = s.start(1971, taps=False, relay=True)
    supernode.apply([RelayMember(1, 1, "198.51.100.2", 7000), RelayMember(2, 1, "198.51.100.18", 7000)])
    network.engines[0].apply([SetPath(1, (Target("198.51.100.1", 1971, 0, (2, 1)),))])
    network.engines[1].apply([SetPath(1, (Target("198.51.100.17", 1971, 0, (1, 2)),))])
    ping(network.a, OVERLAY[1])
    transfer(network.a, network.b, OVERLAY[1], 8 << 20)
    deadline = time.monotonic() + 3
    relayed = 0
    while relayed < 8 << 20:
        relayed = wait_event(supernode, Counters).relay_members.get(1, 0)
        assert time.monotonic() < deadline
