"""It is an Ethernet: everything goes through it, and nobody speaks in another's name."""

from ntvl.identity.keys import derive_mac
from ntvl.proto.settings import CommunitySettings
from ntvl.sim.net import Net, community
from ntvl.sim.station import build_udp_frame
from ntvl.wire.ethernet import BROADCAST

KINDS = ("open", "eim-apdf", "apdm-random", "double", "cgn", "firewall")


def test_broadcast_and_multicast_reach_every_member_once() -> None:
    net = Net(seed=1)
    net.supernode()
    nodes = [net.node(behind=kind) for kind in KINDS]
    net.join()
    for destination in ("255.255.255.255", "224.0.0.251", "10.77.255.255"):
        nodes[0].station.send_udp(destination, 5353, destination.encode())
        net.run(3.0)
    for node in nodes[1:]:
        assert [d.data for d in node.station.datagrams] == [b"255.255.255.255", b"224.0.0.251", b"10.77.255.255"]
    assert nodes[0].station.datagrams == []


def test_any_ethertype_arrives_byte_for_byte() -> None:
    net = Net(seed=2)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    payloads = {0x88B5: b"experimental" * 5, 0x8863: b"pppoe discovery" * 4, 0x0600: bytes(range(256)) * 5}
    for ethertype, payload in payloads.items():
        a.station.send_frame(b.station.mac, ethertype, payload)
    net.run(2.0)
    got = {int.from_bytes(f[12:14], "big"): f for f in b.station.frames if f[:6] == b.station.mac}
    for ethertype, payload in payloads.items():
        assert got[ethertype] == b.station.mac + a.station.mac + ethertype.to_bytes(2, "big") + payload


def test_each_has_an_address_of_its_own_and_the_same_mac_everywhere() -> None:
    net = Net(seed=3)
    net.supernode()
    nodes = [net.node() for _ in range(6)]
    net.join()
    assert len({node.ipv4 for node in nodes}) == len({node.station.ipv6 for node in nodes}) == 6
    for node in nodes:
        assert node.station.mac == derive_mac(node.communities[0].community.id, node.key.public)


def test_a_frame_that_claims_another_members_mac_is_dropped_and_counted() -> None:
    net = Net(seed=4)
    net.supernode()
    a, b, c = net.node(), net.node(), net.node()
    net.join()
    for node in (a, c):
        net.ping(node, b)
    a.station.send_frame(b.station.mac, 0x88B5, b"spoofed", source=c.station.mac)
    a.station.send_frame(b.station.mac, 0x88B5, b"as yourself", source=b.station.mac)
    a.station.send_frame(BROADCAST, 0x88B5, b"spoofed broadcast", source=c.station.mac)
    a.station.send_frame(b.station.mac, 0x88B5, b"honest")
    net.run(3.0)
    got = [f[14:].rstrip(b"\0") for f in b.station.frames if f[12:14] == b"\x88\xb5"]
    assert got == [b"honest"]
    assert b.drops()["mac-claimed"] == 3
    assert net.ping(c, b) is not None


def test_a_frame_that_claims_another_members_address_is_dropped_and_counted() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b, c = net.node(), net.node(), net.node()
    net.join()
    for node in (a, c):
        net.ping(node, b)
    b.station.datagrams.clear()
    for claimed in (c.ipv4, b.ipv4):
        forged = build_udp_frame(b.station.mac, a.station.mac, (claimed, b.ipv4), (9000, 7), b"from another, says a")
        a.station.send_frame(forged[:6], 0x0800, forged[14:])
    net.run(3.0)
    assert b.station.datagrams == []
    assert b.drops()["address-claimed"] == 2


def test_communities_do_not_see_each_other() -> None:
    net = Net(seed=6)
    net.supernode()
    red, blue = community("red", "secret of red"), community("blue", "secret of blue")
    a = net.node(
        communities=[CommunitySettings(red, 0, "red0"), CommunitySettings(blue, 1, "blue0", subnet="10.78.0.0/16")]
    )
    b = net.node(communities=[CommunitySettings(red, 0, "red0")])
    c = net.node(communities=[CommunitySettings(blue, 0, "blue0", subnet="10.78.0.0/16")])
    net.run(3.0)
    assert len(a.peers(0)) == len(a.peers(1)) == len(b.peers()) == len(c.peers()) == 1
    a.station_of(0).send_udp("255.255.255.255", 7, b"to red")
    a.station_of(1).send_udp("255.255.255.255", 7, b"to blue")
    net.run(3.0)
    assert [d.data for d in b.station.datagrams] == [b"to red"]
    assert [d.data for d in c.station.datagrams] == [b"to blue"]
    assert net.ping_address(b, c.ipv4) is None


def test_an_address_is_static_when_told_and_refused_when_taken() -> None:
    net = Net(seed=7)
    net.supernode()
    a = net.node(lease="static", address="10.77.1.1/16")
    net.run(2.0)
    b = net.node(lease="static", address="10.77.1.1/16")
    c = net.node(lease="static", address="10.99.1.1/16")
    net.run(5.0)
    assert a.ipv4 == "10.77.1.1"
    assert b.failed is not None
    assert b.failed.code == "address-taken"
    assert c.failed is not None
    assert c.failed.code == "address-outside"
    d = net.node()
    net.join(a, d)
    assert net.ping(d, a) is not None


def test_a_node_with_another_subnet_than_its_community_is_told_so() -> None:
    net = Net(seed=9)
    net.supernode()
    home = community("home", "a secret for simulations")
    a = net.node()
    net.run(2.0)
    b = net.node(communities=[CommunitySettings(home, 0, "ntvl0", subnet="10.99.0.0/16")])
    net.run(5.0)
    assert "subnet-differs" in b.notices() or (b.failed is not None and b.failed.code == "subnet-differs")
    assert a.ipv4.startswith("10.77.")


def test_a_large_frame_arrives_whole_over_relay_and_direct() -> None:
    net = Net(seed=10)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    jumbo = bytes(range(256)) * 35
    for direct in (False, True):
        if direct:
            net.run_until(lambda: net.is_direct(a, b), 5.0)
        b.station.frames.clear()
        a.station.send_frame(b.station.mac, 0x88B5, jumbo)
        net.run(1.0)
        assert [f[14:] for f in b.station.frames if f[12:14] == b"\x88\xb5"] == [jumbo]


def test_without_lease_a_node_has_no_ipv4_address_and_still_carries_frames() -> None:
    net = Net(seed=8)
    net.supernode()
    a, b = net.node(lease="none"), net.node()
    net.run(3.0)
    assert a.ipv4 == ""
    a.station.send_frame(BROADCAST, 0x0800, b"dhcp discover")
    net.run(2.0)
    assert any(b"dhcp discover" in frame for frame in b.station.frames)
