import json

import pytest
from tests.proto.home import ANN, BOB, DAY_S, EVE, Home, alone, pair, together
from tests.proto.scripted import COMMUNITY, OTHER_COMMUNITY, World, member

from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    Counters,
    DeviceClosed,
    DeviceOpened,
    InstallSession,
    OpenDevice,
    OpenSocket,
    RemovePeer,
    SetAddresses,
    SetPath,
    Wanted,
)
from ntvl.identity.community import Community
from ntvl.identity.keys import derive_ipv6, derive_mac, format_key
from ntvl.proto.classification import SOCKETS
from ntvl.proto.events import (
    AddressAssigned,
    Failed,
    Notice,
    PathChanged,
    PeerGone,
    PeerSeen,
    PingReply,
    SupernodeState,
)
from ntvl.proto.nat_probe import SETTLE_S
from ntvl.wire.address import Address
from ntvl.wire.control import Leave, Register, Roster

# --- starting and ending ---


def test_at_the_start_a_device_is_opened_for_each_community() -> None:
    _, _, home = alone(communities=(COMMUNITY, OTHER_COMMUNITY))
    assert home.told(OpenDevice) == [
        OpenDevice(0, "ntvl0", derive_mac(COMMUNITY.id, home.key), 1360),
        OpenDevice(1, "ntvl1", derive_mac(OTHER_COMMUNITY.id, home.key), 1360),
    ]


def test_a_leased_address_is_assigned_with_the_derived_ipv6_one_and_guarded() -> None:
    _, _, home = alone()
    ipv6 = derive_ipv6(COMMUNITY.id, derive_mac(COMMUNITY.id, home.key))
    assert home.said(AddressAssigned) == [AddressAssigned(0, ("10.77.0.5/16", ipv6))]
    assert home.told(SetAddresses) == [SetAddresses(0, ("10.77.0.5", ipv6.split("/")[0]))]


@pytest.mark.parametrize(("lease", "address", "count"), [("static", "10.77.3.4/16", 2), ("none", "", 1)])
def test_an_address_that_needs_no_lease_is_assigned_before_any_supernode_answers(
    lease: str, address: str, count: int
) -> None:
    world = World()
    home = Home(world, start=False, lease=lease, address=address)
    world.flush()
    (assigned,) = home.said(AddressAssigned)
    assert len(assigned.addresses) == count
    assert assigned.addresses[0] == address or not address


def test_a_device_that_comes_late_gets_its_addresses_then() -> None:
    world, _, home = alone()
    home.node.handle_plane_event(DeviceOpened(0, "tap7", ("csum",)), world.now)
    world.flush()
    assert len(home.said(AddressAssigned)) == 2
    assert home.status()["communities"][0]["device"] == "tap7"  # type: ignore[index]
    home.node.handle_plane_event(DeviceClosed(0, "gone"), world.now)


@pytest.mark.parametrize("lease", ["8.8.8.8/0", "198.51.100.7/1", "10.99.0.5/16", "10.77.0.5", "garbage", "fd00::1/64"])
def test_a_lease_that_would_turn_the_machines_routing_around_is_refused_in_words(lease: str) -> None:
    world = World()
    world.supernodes[0].lease = lease
    home = Home(world)
    world.run(2.0)
    assert home.said(AddressAssigned) == []
    (notice,) = home.said(Notice)
    assert (notice.level, notice.code) == ("error", "address-outside")
    assert lease in notice.text
    assert home.drops == {"address-outside": 1}
    assert home.supernode()["state"] == "registered"


def test_closing_says_goodbye_to_peers_and_supernodes_and_nothing_more() -> None:
    world, ann, bob = together()
    supernode = world.supernodes[0]
    ann.node.close(world.now)
    world.run(0.5)
    assert supernode.count(Leave) == 1
    assert bob.peer(ann.key)["path"] == "none"
    since = world.now
    world.run(120.0)
    assert [source for at, source, _ in world.sent if at > since and source == ANN] == []


# --- members ---


def test_members_of_the_roster_are_seen_and_claimed_but_not_ourselves() -> None:
    _, ann, bob = pair()
    assert ann.said(PeerSeen) == [PeerSeen("lan", bob.key, "bob")]
    (claim,) = ann.told(AddPeer)
    assert (claim.addresses, claim.certified) == (("10.77.0.2",), False)
    assert ann.peer(bob.key)["path"] == "none"
    assert ann.told(SetPath) == []


def test_a_member_that_leaves_is_gone() -> None:
    world, ann, bob = pair()
    handle = ann.handle_of(bob.key)
    world.supernodes[0].say(Roster(COMMUNITY.id, 500, 501, (), (bob.key,)), to=ANN)
    world.run(0.1)
    assert ann.said(PeerGone) == [PeerGone("lan", bob.key, "bob")]
    assert ann.told(RemovePeer) == [RemovePeer(handle)]
    assert ann.status()["communities"][0]["peers"] == []  # type: ignore[index]
    ann.node.handle_plane_event(Wanted(handle), world.now)
    ann.node.handle_plane_event(Activity(handle, 1, 1, 1, 1, world.now, 1, ()), world.now)


def test_a_member_that_left_and_comes_again_has_another_handle() -> None:
    world, ann, bob = pair()
    supernode = world.supernodes[0]
    first = ann.handle_of(bob.key)
    supernode.say(Roster(COMMUNITY.id, 500, 501, (), (bob.key,)), to=ANN)
    world.run(0.1)
    supernode.say(Roster(COMMUNITY.id, 501, 502, (member(bob.key, 72, "bob"),)), to=ANN)
    world.run(0.1)
    handles = {c.peer for c in ann.told(AddPeer)}
    assert len(handles) == 2
    assert first in handles


def test_a_supernode_that_started_anew_tells_who_is_there_now() -> None:
    world, supernode, home = alone()
    bob, eve = member(bytes(range(32)), 8, "bob"), member(bytes(range(1, 33)), 9, "eve")
    supernode.version = 500
    supernode.roster = lambda request: [Roster(COMMUNITY.id, 0, 500, (bob,))] if request.since == 0 else []
    world.run(25.0)
    assert [e.name for e in home.said(PeerSeen)] == ["bob"]
    supernode.start()
    supernode.unknown.add(COMMUNITY.id)
    supernode.version = 900
    supernode.roster = lambda request: [Roster(COMMUNITY.id, 0, 900, (eve,))] if request.since != 900 else []
    world.run(30.0)
    assert [e.name for e in home.said(PeerSeen)] == ["bob", "eve"]
    assert [e.name for e in home.said(PeerGone)] == ["bob"]


def test_a_peer_that_we_talk_to_is_kept_though_the_supernode_forgot_it() -> None:
    world, ann, bob = together()
    world.supernodes[0].version = 501
    world.supernodes[0].roster = lambda request: []
    world.supernodes[0].say(Roster(COMMUNITY.id, 500, 501, (), (bob.key,)), to=ANN)
    world.run(5.0)
    assert ann.peer(bob.key)["path"] == "direct"
    assert ann.said(PeerGone) == []
    world.run(900.0)
    assert ann.said(PeerGone) == [PeerGone("lan", bob.key, "bob")]


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_a_made_up_member_with_an_impossible_key_hurts_nobody(key: bytes) -> None:
    world, supernode, home = alone()
    supernode.say(Roster(COMMUNITY.id, 0, 1, (member(key, 8, "ghost", "garbage", "10.77.0.9/16"),)))
    world.run(0.1)
    home.want(key)
    assert home.node.ping("lan", key, world.now) is not None
    world.run(60.0)
    assert home.peer(key)["path"] == "none"


# --- peers ---


def test_frames_for_a_member_bring_a_session_by_relay_and_then_a_direct_path() -> None:
    world, ann, bob = pair()
    ann.want(bob.key)
    world.run(0.1)
    assert ann.peer(bob.key)["path"] == "relay"
    assert ann.peer(bob.key)["via"] == str(world.supernodes[0].url)
    assert world.run(1.0, until=lambda: ann.peer(bob.key)["path"] == "direct")
    world.run(0.1)
    assert (ann.peer(bob.key)["remote"], ann.peer(bob.key)["via"]) == (str(BOB), None)
    for home, other in ((ann, bob), (bob, ann)):
        assert [e.path for e in home.said(PathChanged)][:2] == ["relay", "direct"]
        certified = [c for c in home.told(AddPeer) if c.certified]
        assert [c.macs for c in certified] == [(derive_mac(COMMUNITY.id, other.key),)]
        assert not home.drops


def test_a_ping_is_answered_by_the_path_of_now_and_nobody_unknown_is_pinged() -> None:
    world, ann, bob = together()
    number = ann.node.ping("lan", bob.key, world.now)
    world.run(0.1)
    (reply,) = ann.said(PingReply)
    assert (reply.id, reply.path, reply.remote) == (number, "direct", str(BOB))
    assert reply.rtt_s == pytest.approx(0.02)
    assert ann.node.ping("office", bob.key, world.now) is None
    assert ann.node.ping("lan", bytes(range(32)), world.now) is None


def test_a_member_that_no_roster_named_may_shake_hands_all_the_same() -> None:
    world, supernode, home = alone()
    supernode.relay_ids = {BOB: 72}
    bob = Home(world, BOB, name="bob")
    world.run(1.0)
    supernode.members = {11: home, 72: bob}
    supernode.say(Roster(COMMUNITY.id, 0, 500, (member(home.key, 11, "ann"),)), to=BOB)
    world.run(0.1)
    bob.want(home.key)
    assert world.run(2.0, until=lambda: bob.peer(home.key)["path"] == "direct")
    world.run(0.5)
    assert home.said(PeerSeen) == [PeerSeen("lan", bob.key, "bob")]
    assert home.peer(bob.key)["path"] == "direct"


def test_a_supernode_cannot_put_another_key_in_a_members_place() -> None:
    world, ann, bob = pair()
    thief = Home(world, EVE, name="thief", communities=(Community.from_seed("lan", b"another secret, same name"),))
    supernode = world.supernodes[0]
    supernode.members[73] = thief
    supernode.version = 501
    supernode.say(Roster(COMMUNITY.id, 500, 501, (member(thief.key, 73, "bob", "10.77.0.2/16"),), (bob.key,)), to=ANN)
    world.run(0.1)
    ann.want(thief.key)
    world.run(30.0)
    assert ann.peer(thief.key)["path"] == "none"
    assert not any(c.certified for c in ann.told(AddPeer))
    assert ann.told(InstallSession) == []


def test_a_supernode_cannot_send_one_members_handshakes_to_another() -> None:
    world, ann, bob = pair()
    world.supernodes[0].members[72] = ann
    world.supernodes[0].members[71] = bob
    ann.want(bob.key)
    world.run(30.0)
    assert ann.peer(bob.key)["path"] == "none"
    assert set(ann.drops) <= {"mac1", "unknown-session"}


def test_two_communities_of_one_node_are_two_worlds() -> None:
    world = World()
    supernode = world.supernodes[0]
    both, other = (COMMUNITY, OTHER_COMMUNITY), (OTHER_COMMUNITY,)
    ann = Home(world, ANN, name="ann", communities=both)
    bob = Home(world, BOB, name="bob", communities=other)
    supernode.relay_ids = {ANN: 71, BOB: 72}
    supernode.members = {71: ann, 72: bob}
    world.run(1.0)
    supernode.say(Roster(OTHER_COMMUNITY.id, 0, 5, (member(bob.key, 72, "bob"),)), to=ANN)
    world.run(0.1)
    assert ann.node.ping("office", bob.key, world.now) is not None
    assert ann.node.ping("lan", bob.key, world.now) is None
    world.run(1.0)
    assert len(ann.said(PingReply)) == 1
    lan, office = ann.status()["communities"]  # type: ignore[misc]
    assert (lan["peers"], len(office["peers"])) == ([], 1)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_member_of_one_community_cannot_aim_us_into_the_subnet_of_another(is_ours: bool) -> None:
    inside = ("10.88.0.9", derive_ipv6(OTHER_COMMUNITY.id, b"\x02" + bytes(5)).partition("/")[0])
    both = (COMMUNITY, OTHER_COMMUNITY) if is_ours else (COMMUNITY,)
    world, ann, bob = pair(communities=both, subnets=("10.77.0.0/16", "10.88.0.0/16"), lease="none")
    bob.node.handle_interfaces([BOB.host, "2001:db8::2"], world.now)
    ann.node.handle_interfaces([ANN.host, *inside], world.now)
    world.is_lost = lambda transmit, source: transmit.address in (ANN, BOB)  # so that all is tried
    ann.want(bob.key)
    world.run(30.0)
    asked = {transmit.address.host for _, source, transmit in world.sent if source == BOB}
    assert ANN.host in asked
    assert asked & set(inside) == (set() if is_ours else set(inside))


# --- several supernodes ---


def test_the_second_supernode_takes_over_when_the_first_is_gone() -> None:
    world, ann, bob = pair(supernodes=2)
    world.is_lost = lambda transmit, source: transmit.address in (ANN, BOB)
    ann.want(bob.key)
    world.run(1.0)
    assert ann.peer(bob.key)["via"] == str(world.supernodes[0].url)
    world.supernodes[0].is_silent = True
    ann.node.handle_plane_event(Activity(ann.handle_of(bob.key), 1, 1, 1, 1, world.now, 1, ()), world.now)
    world.run(40.0)
    assert [ann.supernode(via)["state"] for via in (0, 1)] == ["unreachable", "registered"]
    assert ann.peer(bob.key)["via"] == str(world.supernodes[1].url)
    assert SupernodeState(0, str(world.supernodes[0].url), "unreachable") in ann.events


def test_members_that_only_the_standby_knows_are_members_too() -> None:
    world, ann, bob = pair(supernodes=2)
    world.supernodes[0].say(Roster(COMMUNITY.id, 500, 501, (), (bob.key,)), to=ANN)
    world.run(0.1)
    assert ann.said(PeerGone) == []
    ann.want(bob.key)
    world.run(0.2)
    assert ann.peer(bob.key)["path"] in ("relay", "direct")


def test_supernodes_that_lease_different_addresses_are_told_apart_and_the_first_is_kept() -> None:
    world = World(supernodes=2)
    world.supernodes[1].lease = "10.77.9.9/16"
    home = Home(world)
    world.run(8.0)
    assert [e.addresses[0] for e in home.said(AddressAssigned)] == ["10.77.0.5/16"]
    (notice,) = home.said(Notice)
    assert (notice.level, notice.code) == ("warning", "address-taken")
    assert "10.77.9.9/16" in notice.text
    assert world.supernodes[1].messages(Register)[0].address == "10.77.0.5/16"


def test_the_supernode_that_leased_our_address_may_lease_us_another() -> None:
    world, supernode, home = alone()
    supernode.start()
    supernode.unknown.add(COMMUNITY.id)
    supernode.lease = "10.77.0.6/16"
    world.run(30.0)
    assert [e.addresses[0] for e in home.said(AddressAssigned)] == ["10.77.0.5/16", "10.77.0.6/16"]
    assert supernode.messages(Register)[-1].address == "10.77.0.6/16"
    assert home.status()["communities"][0]["addresses"][0] == "10.77.0.6/16"  # type: ignore[index]


def test_all_supernodes_away_leaves_a_direct_path_as_it_is() -> None:
    world, ann, bob = together()
    for supernode in world.supernodes:
        supernode.is_silent = True
    for second in range(400):
        for home, other in ((ann, bob), (bob, ann)):
            count = 1000 * (second + 1)
            activity = Activity(home.handle_of(other.key), count, count, 1, 1, world.now, 1, ())
            home.node.handle_plane_event(activity, world.now)
        world.run(1.0)
    assert (ann.peer(bob.key)["path"], bob.peer(ann.key)["path"]) == ("direct", "direct")
    assert [e.path for e in ann.said(PathChanged)] == ["relay", "direct"]
    assert ann.supernode()["state"] == "unreachable"


# --- moving ---


def test_a_change_of_interfaces_is_shown_to_supernodes_and_peers() -> None:
    world, ann, bob = together()
    moved = Address("198.51.100.50", 4000)
    del world.machines[ANN]
    ann.at = moved
    world.machines[moved] = ann
    ann.node.handle_interfaces([moved.host], world.now)
    assert world.run(5.0, until=lambda: bob.peer(ann.key)["remote"] == str(moved))
    assert ann.supernode()["observed"] == str(moved)
    assert ann.peer(bob.key)["path"] == "direct"


def test_the_first_word_about_interfaces_is_no_change() -> None:
    world, _, home = alone()
    assert home.supernode()["state"] == "registered"
    sent = len(world.sent)
    world.run(5.0)
    assert len(world.sent) == sent


def test_a_default_route_that_moved_is_looked_at_like_another_address() -> None:
    _, _, home = alone()
    taken: list[object] = []

    def looks(now: float) -> int:
        home.node.handle_timeout(now)
        taken.clear()
        while (command := home.node.poll_command()) is not None:
            taken.append(command)
        return sum(isinstance(command, OpenSocket) for command in taken)

    now = 1000.0
    looks(now)
    home.node.handle_interfaces([ANN.host], now)
    assert looks(now + SETTLE_S) == SOCKETS


# --- status ---


def test_status_has_the_keys_that_are_documented_and_is_plain() -> None:
    world, ann, bob = together()
    ann.node.handle_plane_event(Activity(ann.handle_of(bob.key), 1000, 2000, 1, 2, world.now, 1, ()), world.now)
    status = ann.status()
    assert json.loads(json.dumps(status)) == status
    assert set(status) == {"node", "communities", "supernodes", "drops"}
    assert status["node"] == {
        "id": format_key(ann.key),
        "name": "ann",
        "version": "1.2.3",
        "punch": "all",
        "mapping_lifetime_s": None,
        "keepalive_s": 15.0,
    }
    (community,) = status["communities"]  # type: ignore[misc]
    assert set(community) == {"name", "id", "device", "mac", "addresses", "mtu", "peers"}
    assert (community["name"], community["id"], community["mtu"]) == ("lan", format_key(COMMUNITY.id), 1360)
    (peer,) = community["peers"]
    assert set(peer) == {
        "name",
        "id",
        "addresses",
        "mac",
        "path",
        "remote",
        "via",
        "technique",
        "nat",
        "rtt_ms",
        "loss",
        "rx_bytes",
        "tx_bytes",
        "handshake_age_s",
        "attempts",
    }
    assert (peer["name"], peer["path"], peer["remote"], peer["via"]) == ("bob", "direct", str(BOB), None)
    assert (peer["rx_bytes"], peer["tx_bytes"]) == (1000, 2000)
    assert peer["rtt_ms"] == pytest.approx(20.0, abs=1.0)
    assert peer["loss"] == 0.0
    assert 0 < peer["handshake_age_s"] < 2
    (supernode,) = status["supernodes"]  # type: ignore[misc]
    assert supernode == {
        "url": str(world.supernodes[0].url),
        "state": "registered",
        "rtt_ms": pytest.approx(20.0),
        "observed": str(ANN),
        "over": "udp",
    }


def test_drops_of_both_planes_are_added_up_by_reason() -> None:
    world, _, home = alone()
    home.node.handle_plane_event(Counters({"replay": 3, "short": 2}, 0, 0, {}), world.now)
    home.hear(b"")
    home.node.handle_plane_event(Counters({"replay": 4, "short": 2}, 0, 0, {}), world.now)
    assert home.drops == {"replay": 4, "short": 3}


# --- certificates ---


def test_a_certificate_is_renewed_and_shown_before_it_expires() -> None:
    world, supernode, home = alone()
    registers = supernode.count(Register)
    home.skew_s += 4 * DAY_S
    world.run(70.0)
    assert supernode.count(Register) == registers
    home.skew_s += DAY_S
    world.run(70.0)
    assert supernode.count(Register) == registers + 1


def test_a_clock_that_was_set_right_brings_a_certificate_that_is_valid() -> None:
    world = World()
    supernode = world.supernodes[0]
    home = Home(world, skew_s=30 * DAY_S)
    supernode.refusals[COMMUNITY.id] = ("certificate-not-yet-valid", "")
    world.run(3.0)
    assert {n.code for n in home.said(Notice)} == {"certificate-not-yet-valid", "clock"}
    home.skew_s = 0.0
    supernode.refusals.clear()
    world.run(20.0)
    assert home.supernode()["state"] == "registered"
    assert home.said(Failed) == []
