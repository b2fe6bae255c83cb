"""The first packet goes by relay at once."""

import pytest

from ntvl.sim.net import Net
from ntvl.wire.header import Kind

HOP_S = 0.020
RELAY_S = 2 * HOP_S


def test_the_first_reply_waits_for_no_punching() -> None:
    net = Net(seed=1)
    supernode = net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    supernode.host.capture = []
    rtt_s = net.ping(a, b)
    # A handshake, an address resolution and the ping, each there and back over the relay, and nothing else.
    assert rtt_s == pytest.approx(6 * RELAY_S, abs=0.02)
    assert net.path(a, b).path == "relay"
    relayed = [c for c in supernode.host.capture if not c.outgoing and c.data[0] == Kind.RELAY]
    assert {c.data[12] for c in relayed} >= {Kind.INITIATION, Kind.RESPONSE, Kind.DATA}


def test_a_pair_that_can_never_be_direct_talks_just_as_soon() -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="cgn")
    net.join()
    assert net.ping(a, b) == pytest.approx(6 * RELAY_S, abs=0.04)
    net.run(30.0)
    assert net.path(a, b).path == net.path(b, a).path == "relay"
    assert net.ping(b, a) == pytest.approx(2 * RELAY_S, abs=0.02)


def test_both_may_start_at_the_same_moment() -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.send(a, b, b"from a")
    net.send(b, a, b"from b")
    net.run(0.6)
    assert [d.data for d in b.station.datagrams] == [b"from a"]
    assert [d.data for d in a.station.datagrams] == [b"from b"]


def test_members_who_never_talk_cost_each_other_nothing() -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(), net.node()
    net.join()
    net.run(5.0)
    a.host.capture = []
    net.run(60.0)
    assert {c.source.host for c in a.host.capture if not c.outgoing} == {net.supernodes[0].host.addresses[0]}
    main = [c for c in a.host.capture if a.host.ports[0] in (c.source.port, c.destination.port)]
    assert len(main) <= 2 * 5
    assert len(a.host.capture) - len(main) <= 16, "to learn how long its NAT remembers"
    assert net.path(a, b).path == "none"
