"""A peer may speak for itself and what is behind it, and for nobody else."""

import pytest
from tests.dataplane.frames import (
    IP6_A,
    IP6_B,
    IP6_C,
    IP_A,
    IP_B,
    IP_C,
    MAC_A,
    MAC_B,
    MAC_C,
    PLAIN,
    arp,
    icmpv6,
    ip_header,
    pattern,
    plain_frame,
    tcp_super,
    udp_packet,
)
from tests.dataplane.pair import ADDRESS_A, DEVICE, Pair, drain_sends, drops

from ntvl.dataplane.interface import AddPeer, RemovePeer, SetAddresses

BEHIND = bytes.fromhex("02beef000001")
PRIORITY_TAG = bytes.fromhex("8100 0000")


def guarded() -> Pair:
    """Returns a pair whose B knows a third member C, and its own addresses; A may send anything."""
    pair = Pair()
    pair.b.apply(
        [AddPeer(2, DEVICE, (MAC_C,), (IP_C, IP6_C), True), SetAddresses(DEVICE, (IP_B, IP6_B))],
        0.0,
    )
    return pair


def ip_frame(source: str, *, source_mac: bytes = MAC_A, tags: bytes = b"", protocol: int = 1) -> bytes:
    v6 = ":" in source
    ethertype = b"\x86\xdd" if v6 else b"\x08\x00"
    ip = ip_header(source, IP6_B if v6 else IP_B, protocol, 20)
    return PLAIN + MAC_B + source_mac + tags + ethertype + ip + bytes(20)


def outcome(pair: Pair, frame: bytes) -> str:
    """Returns "delivered" or the reason for the drop, the same by the short way and by the long one."""
    datagrams = pair.datagrams([frame])
    pair.receive(datagrams)
    long = "delivered" if pair.received() else "".join(drops(pair.b))
    if len(datagrams) == 1:
        other = guarded()
        for datagram in other.datagrams([frame]):
            written = other.b.handle_datagram(datagram, 0, ADDRESS_A, 1.0)
            assert (written is not None) == (long == "delivered")
            if written is None:
                assert "".join(drops(other.b)) == long
    return long


@pytest.mark.parametrize(
    "frame",
    [
        plain_frame(),
        plain_frame(source=BEHIND),
        ip_frame(IP_A),
        ip_frame(IP6_A),
        ip_frame("192.0.2.7"),
        ip_frame("192.0.2.7", source_mac=BEHIND),
        ip_frame("0.0.0.0"),
        PLAIN + arp(1, IP_A, IP_B),
        PLAIN + arp(1, "0.0.0.0", IP_B),
        PLAIN + arp(2, "10.77.3.3", IP_B),
        PLAIN + icmpv6(136, IP6_A, IP6_B, IP6_A),
        PLAIN + icmpv6(135, "::", IP6_B, IP6_C),
        tcp_super(pattern(5000)),
        ip_frame(IP_C, tags=bytes.fromhex("8100 0007")),
    ],
    ids=[
        "itself",
        "a MAC behind it",
        "its IPv4",
        "its IPv6",
        "an address behind it",
        "address and MAC behind it",
        "DHCP",
        "its ARP",
        "an ARP probe",
        "ARP for one behind it",
        "its advertisement",
        "a solicitation while it has no address",
        "its super-frame",
        "another VLAN's address",
    ],
)
def test_what_is_its_own_or_nobodys_passes(frame: bytes) -> None:
    assert outcome(guarded(), frame) == "delivered"


@pytest.mark.parametrize(
    "frame",
    [
        plain_frame(source=MAC_C),
        plain_frame(source=MAC_B),
        PLAIN + arp(2, IP_A, IP_B, sender_mac=MAC_C),
        tcp_super(pattern(5000), source_mac=MAC_C),
        ip_frame(IP_A, source_mac=MAC_C),
    ],
    ids=["another's", "our own", "in ARP", "in a super-frame", "with its own address"],
)
def test_another_members_mac_is_refused(frame: bytes) -> None:
    assert outcome(guarded(), frame) == "mac-claimed"


@pytest.mark.parametrize(
    "frame",
    [
        ip_frame(IP_C),
        ip_frame(IP6_C),
        ip_frame(IP_B),
        ip_frame(IP6_B),
        ip_frame(IP_C, tags=PRIORITY_TAG),
        ip_frame(IP6_C, tags=PRIORITY_TAG * 2),
        PLAIN + arp(1, IP_C, IP_B),
        PLAIN + arp(2, IP_C, IP_B),
        PLAIN + arp(2, IP_B, IP_C),
        PLAIN + icmpv6(136, IP6_A, IP6_B, IP6_C),
        PLAIN + icmpv6(136, IP6_A, IP6_B, IP6_C, extensions=2),
        PLAIN + icmpv6(135, IP6_C, IP6_B, IP6_B),
        tcp_super(pattern(5000), source=IP_C),
        tcp_super(pattern(5000), source=IP6_C, target=IP6_B),
        udp_packet(b"x", source=IP_C),
    ],
    ids=[
        "IPv4",
        "IPv6",
        "our IPv4",
        "our IPv6",
        "behind a priority tag",
        "behind two",
        "ARP request",
        "ARP reply",
        "ARP for us",
        "advertisement",
        "advertisement behind extension headers",
        "solicitation",
        "super-frame",
        "IPv6 super-frame",
        "UDP",
    ],
)
def test_another_members_address_is_refused(frame: bytes) -> None:
    assert outcome(guarded(), frame) == "address-claimed"


@pytest.mark.parametrize("source", [b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01"])
def test_a_group_address_as_source_is_refused(source: bytes) -> None:
    assert outcome(guarded(), plain_frame(source=source)) == "header"


def test_a_source_that_passed_is_looked_at_again_when_members_change() -> None:
    pair = Pair()
    frame = ip_frame(IP_C)
    for _ in range(3):
        pair.receive(pair.datagrams([frame]))
    assert len(pair.received()) == 3
    pair.b.apply([AddPeer(2, DEVICE, (MAC_C,), (IP_C,), True)], 1.0)
    pair.receive(pair.datagrams([frame]))
    assert pair.received() == []
    pair.b.apply([RemovePeer(2)], 1.0)
    pair.receive(pair.datagrams([frame]))
    assert len(pair.received()) == 1
    pair.b.apply([SetAddresses(DEVICE, (IP_C,))], 1.0)
    pair.receive(pair.datagrams([frame]))
    assert pair.received() == []


def test_a_claim_by_the_supernode_is_no_certificate() -> None:
    pair = Pair()
    pair.b.apply([AddPeer(2, DEVICE, (MAC_C,), (IP_C,), False)], 0.0)
    pair.receive(pair.datagrams([ip_frame(IP_C, source_mac=MAC_C)]))
    assert len(pair.received()) == 1
    pair.b.handle_frames(DEVICE, [plain_frame(source=MAC_B, target=MAC_C)], 1.0)
    assert drain_sends(pair.b) == [], "frames for C still wait for C"
