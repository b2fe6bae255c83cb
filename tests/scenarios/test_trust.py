"""A supernode is trusted with nothing: it cannot read, cannot add a member, cannot stand in for one."""

import itertools
from collections.abc import Callable

import pytest
from tests.scenarios.hostile import Impostor, LyingSupernode, foreign, forged

from ntvl.identity.keys import format_key
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.events import Notice
from ntvl.sim.net import Net, community
from ntvl.sim.node import SimNode
from ntvl.wire.address import Address
from ntvl.wire.header import Kind

PLAINTEXT = b"the quick brown fox jumps over the lazy dog, twice"


class LyingNet(Net):
    """Is a net whose only supernode lies."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.community = community("home", "a secret for simulations")
        self.liar = LyingSupernode(self.host("liar", port=1971), self.random("liar"), self.community)
        self.chance = self.random("impostor")

    def member(self, behind: str = "apdm-random") -> SimNode:
        node = self.node(behind=behind, supernodes=[])
        node.stop()
        node.supernodes = [self.liar.url]
        node.start()
        return node

    def resolve(self, url: SupernodeUrl) -> tuple[Address, ...]:
        return (self.liar.address,)


def test_the_lying_supernode_serves_honest_members_while_it_does_not_lie() -> None:
    net = LyingNet(seed=1)
    a, b = net.member("eim-apdf"), net.member("eim-apdf")
    net.join()
    assert net.ping(a, b) is not None
    net.run_until(lambda: net.is_direct(a, b), 5.0)


def test_it_cannot_read_what_it_relays() -> None:
    net = LyingNet(seed=2)
    a, b = net.member(), net.member()
    net.join()
    net.liar.host.capture = []
    for _ in range(20):
        net.send(a, b, PLAINTEXT)
        net.run(0.2)
    a.station.send_udp("255.255.255.255", 7, PLAINTEXT)
    net.run(2.0)
    assert [d.data for d in b.station.datagrams] == [PLAINTEXT] * 21
    seen = b"\n".join(captured.data for captured in net.liar.host.capture)
    assert len(net.liar.relayed) > 20
    assert not any(PLAINTEXT[start : start + 8] in seen for start in range(len(PLAINTEXT) - 8))
    # Nor in the clear: the addresses and MACs that talk.
    assert a.station.mac not in seen
    assert b.station.mac not in seen


def certificates(net: LyingNet, name: str, address: str) -> dict[str, Callable[[bytes], bytes]]:
    return {
        "foreign": foreign(net.chance, name, address),
        "forged": forged(net.chance, net.community, name, address),
        "stolen": lambda _: net.liar.guest(net.nodes[1].key.public).certificate,
    }


REASONS = {"foreign": "unknown-community", "forged": "signature", "stolen": "certificate-key"}


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("knows_psk", [False, True])
def test_it_cannot_add_a_member_that_calls(kind: str, knows_psk: bool) -> None:
    net = LyingNet(seed=3)
    a, _ = net.member(), net.member()
    net.join()
    psk = net.community.psk if knows_psk else bytes(32)
    impostor = Impostor(net.liar, net.chance, psk=psk, certificate=certificates(net, "b", "10.77.66.6/16")[kind])
    honest = net.liar.honest_roster
    net.liar.roster = lambda guest: [*honest(guest), impostor.member("10.77.66.6/16")]
    net.liar.tell_rosters()
    net.run(1.0)
    impostor.initiate(net.liar.guest(a.key.public))
    net.run(5.0)
    # Not even an answer: who shows no certificate of the community learns nothing but that somebody is there.
    assert impostor.sessions == []
    assert Kind.RESPONSE not in impostor.kinds
    assert a.drops()[REASONS[kind]] >= 1
    assert REASONS[kind] in a.notices()


@pytest.mark.parametrize(("kind", "knows_psk"), [*((kind, True) for kind in REASONS), ("forged", False)])
def test_it_cannot_stand_in_for_a_member_that_is_called(kind: str, knows_psk: bool) -> None:
    net = LyingNet(seed=4)
    a, b = net.member(), net.member()
    net.join()
    address = b.ipv4
    psk = net.community.psk if knows_psk else bytes(32)
    impostor = Impostor(net.liar, net.chance, psk=psk, certificate=certificates(net, b.name, address)[kind])
    # To a, the impostor is who has b's address; b itself is not there.
    net.liar.roster = lambda guest: [impostor.member(f"{address}/16")] if guest.key == a.key.public else []
    net.liar.tell_rosters()
    net.run(5.0)
    for _ in range(5):
        net.send(a, b, PLAINTEXT)
        assert net.ping_address(a, address, limit_s=2.0) is None
    assert Kind.INITIATION in impostor.kinds
    assert impostor.kinds <= {Kind.INITIATION}
    assert a.drops()[REASONS[kind] if knows_psk else "authentication"] >= 1
    assert format_key(impostor.key.public) not in [p["id"] for p in a.peers().values() if p["path"] != "none"]
    # It could only withhold: when it stops, all is well.
    net.liar.roster = net.liar.honest_roster
    net.liar.tell_rosters()
    net.run(5.0)
    net.run_until(lambda: net.ping(a, b, limit_s=1.0) is not None, 30.0)


def test_what_it_relays_and_keeps_opens_nothing_later() -> None:
    net = LyingNet(seed=5)
    a, b = net.member(), net.member()
    net.join()
    net.send(a, b, PLAINTEXT)
    net.run(2.0)
    assert len(b.station.datagrams) == 1
    recorded = list(net.liar.relayed)
    for data in recorded:
        guest = next(g for g in net.liar.guests.values() if g.relay_id == int.from_bytes(data[4:8], "big"))
        net.liar.host.send(data, guest.address)
    net.run(5.0)
    assert len(b.station.datagrams) == 1
    drops = {**b.drops(), **a.drops()}
    assert drops.get("replay", 0) + drops.get("replayed-handshake", 0) >= 2
    assert net.ping(a, b) is not None


def test_altered_datagrams_are_dropped_and_counted() -> None:
    net = LyingNet(seed=6)
    a, b = net.member(), net.member()
    net.join()
    net.ping(a, b)
    net.liar.relayed.clear()
    net.send(a, b, PLAINTEXT)
    net.run(1.0)
    data = next(d for d in net.liar.relayed if d[12] == Kind.DATA)
    fresh = bytearray(data)
    fresh[12 + 8 : 12 + 16] = (int.from_bytes(data[20:28], "big") + 1000).to_bytes(8, "big")
    fresh[-1] ^= 1
    net.liar.host.send(bytes(fresh), net.liar.guest(b.key.public).address)
    net.run(2.0)
    assert b.drops()["authentication"] == 1
    assert net.ping(a, b) is not None


def test_a_wrong_secret_is_said_in_words_within_five_seconds_and_tried_ever_less_often() -> None:
    net = Net(seed=7)
    supernode = net.supernode()
    a = net.node()
    net.run(2.0)
    wrong = net.node(secret="a secret that is not the right one")
    start = net.now
    net.run_until(lambda: "community-key" in wrong.notices(), 5.0)
    notice = next(event for event in wrong.said(Notice) if event.code == "community-key")
    assert "secret" in notice.text
    assert wrong.failed is None
    supernode.host.capture = []
    net.run(3600.0)
    tries = [
        c.at - start
        for c in supernode.host.capture
        if not c.outgoing and c.source.host == wrong.host.addresses[0] and len(c.data) > 250
    ]
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert len(tries) < 60
    assert gaps[-1] > 2 * gaps[0]
    assert wrong.notices().count("community-key") == 1
    assert wrong.ipv4 == ""
    assert a.peers() == {}


def test_who_does_not_know_the_secret_is_no_member_even_where_the_name_is_unclaimed() -> None:
    net = Net(seed=8)
    first, second = net.supernode(), net.supernode()
    a = net.node(supernodes=[first])
    b = net.node(supernodes=[second], secret="a secret that is not the right one")
    net.run(5.0)
    assert a.ipv4
    assert b.ipv4
    assert a.peers() == b.peers() == {}
