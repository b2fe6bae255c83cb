"""Keys that two peers renew, and certificates that are no good."""

import pytest
from tests.proto.peering import Net, Side, both_direct, joined, keep

from ntvl.dataplane.interface import Activity, AddPeer, InstallSession, RetireSession
from ntvl.proto.events import Notice
from ntvl.wire.address import Address
from ntvl.wire.header import Kind

DAY_S = 86400.0


def test_keys_are_renewed_every_two_minutes_and_nobody_notices() -> None:
    net = joined()
    begun = net.now
    keep(net, 610.0, step_s=1.0)
    installs = net.left.told(InstallSession)
    assert 5 <= len(installs) <= 8
    for side in net.sides:
        assert side.paths_shown() == ["relay", "direct"]
        assert not side.context.drops
        assert len(side.peer.link.sessions) <= 2
        assert {c.receive_index for c in side.told(InstallSession)} >= {
            c.receive_index for c in side.told(RetireSession)
        }
    assert net.sent(Kind.INITIATION, since=begun) == len(installs) - 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_lost_confirmation_of_new_keys_is_made_good(count: int) -> None:
    net = joined()
    lost = list[bytes]()

    def is_lost(data: bytes, relayed: bool, sender: Side, to: Address) -> bool:
        chosen = data[0] == Kind.CONTROL and net.sent(Kind.INITIATION) > 1 and len(lost) < count
        lost.extend([data] * chosen)
        return chosen

    net.lost = is_lost
    keep(net, 400.0, step_s=1.0)
    assert len(lost) == count
    assert all(side.paths_shown() == ["relay", "direct"] for side in net.sides)


def test_lost_answers_at_a_rekey_cost_nothing() -> None:
    net = joined()
    keep(net, 2.0)
    net.lost = lambda data, relayed, sender, to: data[0] == Kind.RESPONSE and net.now < 235.0
    keep(net, 400.0, step_s=1.0)
    assert all(side.paths_shown() == ["relay", "direct"] for side in net.sides)


def test_keys_are_renewed_when_a_session_has_sealed_its_share() -> None:
    net = joined()
    handshakes = net.sent(Kind.INITIATION)
    activity = Activity(net.left.peer.handle, 1, 1, 1, 1, net.now, (1 << 26) + 1, ())
    net.left.peer.handle_activity(activity, net.now)
    net.run(0.5)
    assert net.sent(Kind.INITIATION) == handshakes + 1
    assert len(net.left.told(InstallSession)) == 2


def test_an_engine_never_holds_more_than_four_sessions_of_a_peer() -> None:
    net = joined()
    for _ in range(12):
        net.run(1.5)
        net.left.peer.handle_reset(net.now)
        net.right.peer.handle_reset(net.now)
        net.run(0.5)
        for side in net.sides:
            held = list[int]()
            for command in side.commands:
                if isinstance(command, InstallSession):
                    held.append(command.receive_index)
                elif isinstance(command, RetireSession) and command.receive_index in held:
                    held.remove(command.receive_index)
                assert len(held) <= 4


def test_a_certificate_that_is_no_good_ends_in_no_session_and_is_said_once() -> None:
    net = Net()
    net.right.certifying_skew_s = -400 * DAY_S
    for _ in range(30):
        net.left.peer.handle_wanted(net.now)
        net.run(1.0)
    assert [e.code for e in net.left.said(Notice)] == ["certificate-expired"]
    assert net.left.peer.path[0] == "none"
    assert net.left.told(AddPeer) == []
    assert 3 <= net.sent(Kind.INITIATION) <= 6
    assert net.left.context.drops["certificate-expired"] == net.sent(Kind.RESPONSE)


def test_a_peer_that_mended_its_certificate_is_as_good_as_any_other() -> None:
    net = Net()
    net.right.certifying_skew_s = -400 * DAY_S
    for _ in range(260):
        net.left.peer.handle_wanted(net.now)
        net.run(1.0)
    assert 6 <= net.left.context.drops["certificate-expired"] <= 9
    net.right.certifying_skew_s = 0.0
    net.right.peer.handle_wanted(net.now)
    assert keep(net, 5.0, until=lambda: both_direct(net))
    # From now on the side that refused has to renew the keys.
    net.lost = lambda data, relayed, sender, to: data[0] == Kind.INITIATION and sender is net.right
    keep(net, 170.0, step_s=1.0)
    assert all(side.path == "direct" for side in net.sides)
    assert len(net.left.told(InstallSession)) == 2
