from itertools import pairwise

import pytest
from tests.proto.peering import SUPERNODE, Net, Side, both_direct, joined, keep, lose_all, lose_direct, lose_nothing

from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    ConfirmSession,
    InstallSession,
    PathActivity,
    RetireSession,
    SetPath,
    Target,
)
from ntvl.errors import PeerError
from ntvl.proto.events import PathChanged, PingReply
from ntvl.proto.handshake import Listener
from ntvl.wire.address import Origin, Relay
from ntvl.wire.control import Probe, ProbeReply, build_message
from ntvl.wire.header import Kind

STUN_REQUEST, STUN_SUCCESS = 0x00, 0x01


# --- getting together ---


def test_the_first_frames_go_by_relay_after_one_round_trip() -> None:
    net = Net()
    net.left.peer.handle_wanted(net.now)
    net.run(0.045)
    assert [(sender, relayed, data[0]) for _, sender, relayed, data in net.log[:3]] == [
        ("left", True, Kind.INITIATION),
        ("right", True, Kind.RESPONSE),
        ("left", True, Kind.CONTROL),
    ]
    assert net.left.paths_shown() == ["relay"]
    assert net.left.targets == (Target(*SUPERNODE, 0, (net.right.relay_id, net.left.relay_id)),)
    assert net.left.told(InstallSession)


def test_the_data_planes_of_both_sides_get_matching_keys() -> None:
    net = joined()
    (ours,), (theirs,) = net.left.told(InstallSession), net.right.told(InstallSession)
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert (ours.send_index, ours.receive_index) == (theirs.receive_index, theirs.send_index)
    assert ours.cipher == theirs.cipher == "aes256gcm"
    assert (ours.confirmed, theirs.confirmed) == (True, False)
    assert net.right.told(ConfirmSession) == [ConfirmSession(theirs.receive_index)]


def test_two_open_hosts_are_direct_within_half_a_second_and_say_so() -> None:
    net = Net()
    net.left.peer.handle_wanted(net.now)
    assert net.run(0.5, until=lambda: both_direct(net))
    net.run(0.1)
    for side, other in ((net.left, net.right), (net.right, net.left)):
        assert side.targets == (Target(*other.address),)
        shown = side.said(PathChanged)
        assert [(e.path, e.remote, e.via) for e in shown] == [
            ("relay", "", "supernode-0"),
            ("direct", str(other.address), ""),
        ]
        assert {(e.community, e.peer, e.name) for e in shown} == {("lan", other.key.public, other.name)}


def test_offers_travel_sealed_by_the_relay_and_both_sides_fire_at_one_moment() -> None:
    net = Net()
    net.left.peer.handle_wanted(net.now)
    net.run(1.0)
    first = {
        side.name: min(at for at, sender, relayed, data in net.log if sender == side.name and not relayed)
        for side in net.sides
    }
    assert first["left"] == pytest.approx(first["right"], abs=0.001)
    before = [data for at, _, relayed, data in net.log if relayed and at < first["left"]]
    assert {data[0] for data in before} == {Kind.INITIATION, Kind.RESPONSE, Kind.CONTROL}
    for side in net.sides:
        checks = side.peer.pathfinder.checks
        assert not any(checks.password.encode() in data or checks.ufrag.encode() in data for data in before)


def test_each_side_certifies_the_other_only_once_it_is_proven() -> None:
    net = Net()
    net.lost = lambda data, relayed, sender, to: data[0] == Kind.CONTROL
    net.left.peer.handle_wanted(net.now)
    net.run(0.2)
    (certified,) = net.left.told(AddPeer)
    assert certified.certified
    assert certified.macs == (net.right.membership.mac,)
    assert certified.addresses == ("10.77.0.2", net.right.membership.ipv6.split("/")[0])
    assert net.right.told(AddPeer) == []
    assert net.right.peer.path[0] == "none"
    net.lost = lose_nothing
    net.run(1.0)
    assert net.right.told(AddPeer)[0].macs == (net.left.membership.mac,)
    assert (net.right.peer.name, net.left.peer.name) == ("left", "right")


@pytest.mark.parametrize("lost", range(16))
def test_any_single_lost_datagram_costs_only_time(lost: int) -> None:
    net = Net()
    net.lost = lambda data, relayed, sender, to: len(net.log) - 1 == lost
    net.left.peer.handle_wanted(net.now)
    assert keep(net, 4.0, until=lambda: both_direct(net))
    net.run(1.0)
    assert both_direct(net)


@pytest.mark.parametrize("seed", range(8))
def test_a_third_of_all_datagrams_lost_costs_only_time(seed: int) -> None:
    net = Net(seed)
    net.lost = lambda data, relayed, sender, to: net.left.random.random() < 0.33
    net.left.peer.handle_wanted(net.now)
    assert keep(net, 60.0, until=lambda: both_direct(net))


@pytest.mark.parametrize("seed", range(4))
def test_when_both_sides_begin_at_once_one_attempt_stands_and_both_are_direct(seed: int) -> None:
    net = Net(seed)
    for side in net.sides:
        side.peer.handle_wanted(net.now)
    assert net.run(1.0, until=lambda: both_direct(net))
    net.run(2.0)
    for side in net.sides:
        assert side.targets == (Target(*net.other(side).address),)
        assert [o.verdict for o in side.peer.pathfinder.negotiation.outcomes] == ["direct"]
        assert not side.context.drops


@pytest.mark.parametrize("relays", [1, 2])
def test_where_no_direct_way_exists_the_relay_goes_on_carrying(relays: int) -> None:
    net = Net(relays=relays)
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    keep(net, 120.0, step_s=1.0)
    for side in net.sides:
        assert side.paths_shown() == ["relay"]
        assert side.targets == (Target(*SUPERNODE, 0, (net.other(side).relay_id, side.relay_id)),)
        assert side.peer.path == ("relay", "", "supernode-0")


def test_without_a_way_to_the_peer_nothing_is_sent_and_nothing_shown() -> None:
    net = Net(relays=0)
    net.left.peer.handle_wanted(net.now)
    net.run(60.0)
    assert net.log == []
    assert net.left.peer.path == ("none", "", "")
    assert net.left.events == []


def test_when_told_to_stay_on_relays_neither_side_offers_nor_checks() -> None:
    net = Net(direct=False)
    net.left.peer.handle_wanted(net.now)
    keep(net, 30.0, step_s=1.0)
    assert net.sent(relayed=False) == 0
    assert [side.path for side in net.sides] == ["relay", "relay"]


def test_a_side_that_stays_on_relays_keeps_the_other_there() -> None:
    net = Net()
    net.right.direct = False
    net.right.start(net.left)
    net.right.use_relays(net.left)
    net.left.peer.handle_wanted(net.now)
    keep(net, 20.0, step_s=1.0)
    assert [side.path for side in net.sides] == ["relay", "relay"]
    outcomes = net.left.peer.pathfinder.negotiation.outcomes
    assert {o.verdict for o in outcomes} == {"not-applicable"}
    assert outcomes[0].detail == "the peer offered no address"


def test_the_first_try_takes_one_relay_and_the_next_all() -> None:
    net = Net(relays=2)
    net.lost = lambda data, relayed, sender, to: to == SUPERNODE
    net.left.peer.handle_wanted(net.now)
    net.run(0.1)
    assert net.sent(Kind.INITIATION) == 1
    assert net.run(3.0, until=lambda: net.left.peer.link.sending is not None)
    assert net.sent(Kind.INITIATION) == 3


def test_a_peer_under_load_is_reached_with_its_cookie() -> None:
    net = Net()
    net.right.listener = Listener(net.right.key, net.right.random.randbytes, aes=True, load_limit_per_s=1)
    eve = Side("eve", 3, net)
    eve.start(net.right)
    initiation = eve.peer.link.start(net.now)
    assert initiation is not None
    net.right.handle(initiation, Origin(eve.address), net.now)
    net.left.peer.handle_wanted(net.now)
    assert net.run(0.2, until=lambda: net.left.peer.link.sending is not None)
    assert net.sent(Kind.COOKIE) == 1
    assert net.sent(Kind.INITIATION) == 2


# --- hints, goodbyes and rest ---


def test_a_reset_makes_us_shake_hands_once_a_second_and_is_believed_no_further() -> None:
    net = joined()
    session = net.left.peer.link.sending
    net.left.peer.handle_reset(net.now)
    assert net.left.peer.link.sending is session
    with pytest.raises(PeerError, match="rate"):
        net.left.peer.handle_reset(net.now + 0.9)
    assert net.sent(Kind.INITIATION, since=net.now) == 0
    net.flush()
    assert net.sent(Kind.INITIATION, since=net.now) == 1
    net.run(0.5)
    assert both_direct(net)


def test_a_goodbye_ends_the_session_on_both_sides_and_shows() -> None:
    net = joined()
    keep(net, 2.0)
    index = net.right.peer.link.sessions[0].keys.receive_index
    net.left.peer.close(net.now)
    net.run(0.1)
    for side in net.sides:
        assert side.path == "none"
        assert not side.peer.is_live()
        assert side.paths_shown()[-1] == "none"
        assert side.context.timers.next() is None
    assert RetireSession(index) in net.right.told(RetireSession)
    assert net.right.targets == (Target(*SUPERNODE, 0, (net.left.relay_id, net.right.relay_id)),)


def test_after_a_goodbye_the_next_frame_starts_anew() -> None:
    net = joined()
    net.left.peer.close(net.now)
    net.run(0.1)
    net.right.peer.handle_wanted(net.now)
    assert net.run(1.0, until=lambda: both_direct(net))


def test_a_peer_without_data_is_let_go_after_five_minutes() -> None:
    net = joined()
    keep(net, 2.0)
    quiet = net.now
    net.run(7200.0)
    assert net.sent(since=quiet + 310.0) == 0
    for side in net.sides:
        assert side.path == "none"
        assert not side.peer.is_live()
        assert side.context.timers.next() is None


@pytest.mark.parametrize("pace_s", [10.0, 20.0, 50.0])
def test_while_data_rests_a_direct_path_is_checked_as_often_as_our_nat_needs(pace_s: float) -> None:
    net = joined()
    for side in net.sides:
        side.context.keepalive_s = pace_s
    keep(net, 2.0)
    net.run(20.0)
    since = net.now
    net.run(200.0)
    assert both_direct(net)
    checks = net.sent(STUN_REQUEST, since=since)
    assert abs(checks - 2 * 200.0 / pace_s) <= 2


def test_while_data_flows_a_direct_path_is_checked_every_2_s() -> None:
    net = joined()
    keep(net, 4.0)
    since = net.now
    keep(net, 100.0)
    assert 90 <= net.sent(STUN_REQUEST, since=since) <= 110


def test_the_first_frame_after_a_long_rest_takes_the_relay_at_once() -> None:
    net = joined()
    keep(net, 2.0)
    net.run(7200.0)
    net.lost = lose_direct
    begun = net.now
    net.left.peer.handle_wanted(net.now)
    assert net.run(0.1, until=lambda: net.left.path != "none")
    assert any(target.relay is not None for target in net.left.targets)
    alone_s = 0.0
    for _ in range(100):
        keep(net, 0.1, step_s=0.1)
        if net.left.targets and all(target.relay is None for target in net.left.targets):
            alone_s += 0.1
    assert alone_s == 0.0
    assert net.now > begun


def test_after_a_long_rest_peers_are_direct_again() -> None:
    net = joined()
    keep(net, 2.0)
    net.run(7200.0)
    net.left.peer.handle_wanted(net.now)
    assert keep(net, 3.0, until=lambda: both_direct(net))
    assert keep(net, 10.0, until=lambda: [len(side.targets) for side in net.sides] == [1, 1])


# --- pings and probes ---


def test_a_ping_tells_the_round_trip_and_the_way_it_went() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.ping(1, net.now)
    net.run(1.0)
    assert net.left.said(PingReply) == [PingReply(1, pytest.approx(0.04), "relay", "")]
    net.lost = lose_nothing
    assert keep(net, 30.0, until=lambda: both_direct(net))
    net.left.peer.ping(3, net.now)
    net.run(0.1)
    assert net.left.said(PingReply)[1] == PingReply(3, pytest.approx(0.01), "direct", str(net.right.address))


def test_a_ping_answered_by_relay_is_not_called_direct_while_in_doubt() -> None:
    net = joined()
    keep(net, 3.0)
    net.lost = lose_direct
    keep(net, 3.5)
    assert len(net.left.targets) == 2
    net.left.peer.ping(1, net.now)
    net.run(0.1)
    replies = net.left.said(PingReply)
    assert all((reply.path, reply.remote) == ("relay", "") for reply in replies)


def test_pings_that_nobody_answers_are_forgotten_and_wake_nobody_for_ever() -> None:
    net = joined()
    net.lost = lose_all
    for number in range(1, 129, 2):
        net.left.peer.ping(number, net.now)
    net.left.peer.ping(999, net.now)
    assert net.left.context.drops["queue-full"] == 1
    net.run(11.0)
    net.lost = lose_nothing
    net.left.peer.ping(1001, net.now)
    net.run(1.0)
    assert [reply.id for reply in net.left.said(PingReply)] == [1001]


def test_pings_without_any_way_are_forgotten_too() -> None:
    net = Net(relays=0)
    for number in range(1, 129, 2):
        net.left.peer.ping(number, net.now)
    net.run(60.0)
    net.left.peer.ping(1001, net.now)
    assert net.left.context.drops["queue-full"] == 0


def test_a_probe_is_answered_by_the_way_that_it_came() -> None:
    net = joined()
    net.run(1.0)
    since = net.now
    data = net.left.peer.link.seal(build_message(Probe(42)))
    assert data is not None
    net.right.handle(data, Origin(SUPERNODE, 0, Relay(net.right.relay_id, net.left.relay_id)), net.now)
    net.flush()
    assert [relayed for at, sender, relayed, _ in net.log if at >= since and sender == "right"] == [True]


def test_a_reply_to_no_ping_is_counted() -> None:
    net = joined()
    for number in (7, 8):
        data = net.right.peer.link.seal(build_message(ProbeReply(number)))
        assert data is not None
        net.left.handle(data, Origin(net.right.address), net.now)
    assert net.left.context.drops["transaction"] == 2
    assert net.left.said(PingReply) == []


# --- what else may come ---


def test_an_unknown_message_is_answered_as_unsupported_and_garbage_is_counted() -> None:
    net = joined()
    since = net.now
    for body in (b"\x92\xcd\x03\xe7\x01", b"garbage"):
        data = net.left.peer.link.seal(body)
        assert data is not None
        net.right.handle(data, Origin(net.left.address), net.now)
    net.flush()
    assert [data[0] for at, sender, _, data in net.log if at >= since and sender == "right"] == [Kind.CONTROL]
    assert net.right.context.drops == {"format": 1}
    net.run(0.1)
    assert not net.left.context.drops


def test_a_datagram_come_twice_is_taken_once() -> None:
    net = joined()
    data = net.left.peer.link.seal(build_message(Probe(42)))
    assert data is not None
    since = net.now
    for _ in range(2):
        net.right.handle(data, Origin(net.left.address), net.now)
    net.flush()
    assert net.sent(Kind.CONTROL, since=since) == 1
    assert net.right.context.drops == {"replay": 1}


def test_a_first_message_that_makes_no_sense_still_confirms_the_session() -> None:
    net = Net()
    net.lost = lambda data, relayed, sender, to: data[0] == Kind.CONTROL
    net.left.peer.handle_wanted(net.now)
    net.run(0.05)
    net.lost = lose_nothing
    data = net.left.peer.link.seal(b"garbage")
    assert data is not None
    net.right.handle(data, Origin(SUPERNODE, 0, Relay(net.right.relay_id, net.left.relay_id)), net.now)
    net.flush()
    assert net.right.told(ConfirmSession)
    assert net.right.paths_shown() == ["relay"]
    assert net.right.context.timers.next() is not None


def test_an_engine_that_hears_by_an_unknown_relay_or_a_useless_address_changes_nothing() -> None:
    net = joined()
    paths = {path.target for path in net.left.peer.pathfinder.paths}
    for target in (Target("203.0.113.9", 1971, 0, (7, 8)), Target("127.0.0.1", 53), Target("224.0.0.1", 9)):
        activity = Activity(net.left.peer.handle, 1, 1, 1, 1, net.now, 1, (PathActivity(target, net.now, 1),))
        net.left.peer.handle_activity(activity, net.now)
    assert {path.target for path in net.left.peer.pathfinder.paths} == paths


def test_data_heard_by_the_relay_spares_it_the_question_whether_it_works() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    net.run(60.0)
    since = net.now
    relay = Target(*SUPERNODE, 0, (net.right.relay_id, net.left.relay_id))
    for _ in range(40):
        net.left.move(relay)
        net.run(0.25)
    probes = sum(at >= since and sender == "left" for at, sender, relayed, data in net.log if data[0] == Kind.CONTROL)
    assert probes <= 7


def test_the_data_plane_is_told_of_paths_only_when_they_change() -> None:
    net = joined()
    keep(net, 60.0)
    for side in net.sides:
        told = [c.targets for c in side.told(SetPath)]
        assert all(one != two for one, two in pairwise(told))
        assert len(told) <= 3
