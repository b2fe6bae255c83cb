"""A path to a peer that breaks, heals or moves, and relays that go."""

from tests.proto.peering import (
    STANDBY,
    SUPERNODE,
    Net,
    Side,
    both_direct,
    joined,
    keep,
    lose_all,
    lose_direct,
    lose_nothing,
    lose_relayed,
)

from ntvl.dataplane.interface import Target
from ntvl.proto.events import PathChanged
from ntvl.wire.address import Address
from ntvl.wire.header import Kind


def test_a_cut_path_is_doubted_in_seconds_then_left_for_the_relay() -> None:
    net = joined()
    keep(net, 10.0)
    net.lost = lose_direct
    cut = net.now
    assert keep(net, 4.0, step_s=0.1, until=lambda: all(len(s.targets) == 2 for s in net.sides))
    assert net.now - cut < 3.5
    assert both_direct(net)
    for side in net.sides:
        assert side.targets[0] == Target(*net.other(side).address)
        assert side.targets[1].relay == (net.other(side).relay_id, side.relay_id)
    assert keep(net, 6.0, step_s=0.1, until=lambda: all(s.path == "relay" for s in net.sides))
    assert net.now - cut < 8.0
    assert all(side.refreshes > 0 for side in net.sides)


def test_a_path_that_was_only_away_for_a_moment_is_kept() -> None:
    net = joined()
    keep(net, 10.0)
    net.lost = lose_direct
    keep(net, 4.0)
    net.lost = lose_nothing
    keep(net, 5.0)
    for side in net.sides:
        assert side.targets == (Target(*net.other(side).address),)
        assert side.paths_shown() == ["relay", "direct"]


def test_no_moment_between_cut_and_relay_leaves_data_without_the_relay_for_long() -> None:
    net = joined()
    keep(net, 10.0)
    net.lost = lose_direct
    alone_s = {side.name: 0.0 for side in net.sides}
    for _ in range(200):
        keep(net, 0.1, step_s=0.1)
        for side in net.sides:
            if all(target.relay is None for target in side.targets):
                alone_s[side.name] += 0.1
    assert max(alone_s.values()) < 3.5


def test_a_direct_path_comes_back_by_itself() -> None:
    net = joined()
    keep(net, 5.0)
    net.lost = lose_direct
    keep(net, 15.0)
    assert [side.path for side in net.sides] == ["relay", "relay"]
    net.lost = lose_nothing
    assert keep(net, 30.0, until=lambda: both_direct(net))


def test_the_loss_of_every_supernode_does_not_touch_a_direct_path() -> None:
    net = joined()
    keep(net, 5.0)
    net.lost = lose_relayed
    for side in net.sides:
        side.peer.handle_relay_silent(0, net.now)
    handshakes = net.sent(Kind.INITIATION)
    keep(net, 600.0, step_s=1.0)
    assert all(side.paths_shown() == ["relay", "direct"] for side in net.sides)
    assert all(side.targets == (Target(*net.other(side).address),) for side in net.sides)
    assert 4 <= net.sent(Kind.INITIATION) - handshakes <= 10


def test_when_all_is_cut_and_heals_both_sides_find_each_other_again() -> None:
    net = joined()
    keep(net, 5.0)
    net.lost = lose_all
    keep(net, 300.0, step_s=1.0)
    net.lost = lose_nothing
    for side in net.sides:
        side.peer.handle_wanted(net.now)
    assert keep(net, 15.0, until=lambda: all(side.path != "none" for side in net.sides))
    assert keep(net, 60.0, until=lambda: both_direct(net))


def test_the_second_relay_carries_when_the_first_goes_silent() -> None:
    net = Net(relays=2)
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    keep(net, 5.0)
    net.lost = lambda data, relayed, sender, to: not relayed or to == SUPERNODE
    cut = net.now
    assert keep(
        net, 5.0, step_s=0.1, until=lambda: all(s.targets and s.targets[0].host == STANDBY.host for s in net.sides)
    )
    assert net.now - cut < 4.0
    assert all(side.peer.path == ("relay", "", "supernode-1") for side in net.sides)


def test_a_supernode_that_is_told_to_be_silent_loses_its_peers_to_the_other() -> None:
    net = Net(relays=2)
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    keep(net, 5.0)
    net.left.peer.handle_relay_silent(0, net.now)
    net.flush()
    assert net.left.peer.path == ("relay", "", "supernode-1")
    net.left.peer.drop_relay(1, net.now)
    net.flush()
    assert net.left.peer.path == ("relay", "", "supernode-0")


# --- moving ---


def test_after_a_change_of_address_the_peers_are_direct_again_and_keep_their_session() -> None:
    net = joined()
    keep(net, 5.0)
    session = net.left.peer.link.sending
    net.left.address = Address("198.51.100.77", 5555)
    net.left.peer.handle_network_change(net.now)
    net.flush()
    assert len(net.left.targets) == 2
    assert keep(net, 3.0, step_s=0.1, until=lambda: net.right.targets == (Target("198.51.100.77", 5555),))
    assert keep(net, 10.0, until=lambda: net.left.targets == (Target(*net.right.address),))
    assert net.left.peer.link.sending is session
    assert net.right.said(PathChanged)[-1].remote == "198.51.100.77:5555"


def test_a_side_whose_nat_moved_it_is_followed_by_what_it_sends() -> None:
    net = joined()
    keep(net, 5.0)
    net.left.address = Address("198.51.100.78", 6666)
    net.right.move(Target("198.51.100.78", 6666))
    assert keep(net, 4.0, step_s=0.1, until=lambda: Target("198.51.100.78", 6666) in net.right.targets)
    keep(net, 10.0)
    assert both_direct(net)
    assert net.right.targets == (Target("198.51.100.78", 6666),)


def test_a_peer_that_started_anew_is_direct_again_at_once() -> None:
    for who in ("left", "right"):
        net = joined(6)
        keep(net, 3.0)
        stays: Side = getattr(net, who)
        restarted = net.other(stays)
        restarted.start(stays)
        restarted.use_relays(stays)
        stays.peer.handle_reset(net.now)
        assert net.run(1.0, until=lambda restarted=restarted: restarted.path == "direct")
        keep(net, 5.0)
        assert both_direct(net)
        assert [len(side.targets) for side in net.sides] == [1, 1]
        assert "none" not in stays.paths_shown()


def test_a_peer_that_started_anew_and_speaks_first_is_direct_again_at_once() -> None:
    net = joined(6)
    keep(net, 3.0)
    net.right.address = Address("198.51.100.9", 9999)
    net.right.start(net.left)
    net.right.use_relays(net.left)
    net.right.peer.handle_wanted(net.now)
    assert keep(net, 3.0, step_s=0.1, until=lambda: net.left.targets == (Target("198.51.100.9", 9999),))
    keep(net, 5.0)
    assert both_direct(net)
