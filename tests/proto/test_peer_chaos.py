"""Two peers to whom anything may happen at any time."""

import contextlib
import random

import pytest
from tests.proto.peering import Net, Side, joined, keep, lose_all, lose_direct, lose_nothing, lose_relayed

from ntvl.dataplane.interface import InstallSession, RetireSession
from ntvl.errors import PeerError
from ntvl.wire.address import Address


@pytest.mark.parametrize("seed", range(12))
def test_while_the_relay_works_no_change_of_the_network_stops_data_for_four_seconds(seed: int) -> None:
    chance = random.Random(seed)
    net = joined(seed, relays=chance.choice((1, 2)))
    if chance.random() < 0.5:
        for place, side in enumerate(net.sides, 1):
            side.others = [Address(f"192.168.7.{place}", 5000 + place)]
            side.peer.handle_network_change(net.now)
    quiet_s = dict.fromkeys(net.sides, 0.0)
    for _ in range(10):
        _change_network(net, chance)
        end = net.now + chance.uniform(3, 40)
        while net.now < end:
            for side in net.sides:
                quiet_s[side] = 0.0 if any(net.arriving(side, net.other(side))) else quiet_s[side] + 0.2
                assert quiet_s[side] < 4.0
            net.exchange()
            net.run(0.2)


def _change_network(net: Net, chance: random.Random) -> None:
    """Does one thing to the straight ways; relays always work."""
    side = chance.choice(net.sides)
    used = {(target.host, target.port) for s in net.sides for target in s.targets}
    share = chance.random() * 0.4
    match chance.choice(("heal", "cut", "cut what is used", "move", "loss")):
        case "heal":
            net.lost = lose_nothing
        case "cut":
            net.lost = lose_direct
        case "cut what is used":
            net.lost = lambda data, relayed, sender, to: not relayed and to in used
        case "move" if not side.others:
            side.address = Address(f"198.51.100.{chance.randrange(10, 200)}", chance.randrange(1024, 60000))
        case "loss":
            net.lost = lambda data, relayed, sender, to: chance.random() < share


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happened_two_peers_talk_again_when_the_network_is_well(seed: int) -> None:
    chance = random.Random(seed)
    net = Net(seed, relays=chance.choice((1, 2)))
    for _ in range(chance.randrange(3, 30)):
        _let_happen(net, chance)
        net.run(chance.random())
    net.lost = lose_nothing
    for side in net.sides:
        side.use_relays(net.other(side))
    for _ in range(40):
        for side in net.sides:
            sending = side.peer.link.sending
            if sending is None:
                side.peer.handle_wanted(net.now)
            elif sending.keys.send_index not in _installed(net.other(side)):
                # The other side's engine hears data for no session, and its node says so.
                with contextlib.suppress(PeerError):
                    side.peer.handle_reset(net.now)
        keep(net, 0.5)
    assert all(any(net.arriving(side, net.other(side))) for side in net.sides)
    for side in net.sides:
        sending = side.peer.link.sending
        assert sending is not None
        assert sending.keys.send_index in _installed(net.other(side))
        assert len(_installed(side)) <= 4


def _installed(side: Side) -> set[int]:
    """Returns the indices of the sessions that a side's data plane holds."""
    held = set[int]()
    for command in side.commands:
        if isinstance(command, InstallSession):
            held.add(command.receive_index)
        elif isinstance(command, RetireSession):
            held.discard(command.receive_index)
    return held


def _let_happen(net: Net, chance: random.Random) -> None:
    side = chance.choice(net.sides)
    other = net.other(side)
    share = chance.random()
    match chance.randrange(12):
        case 0:
            side.peer.handle_wanted(net.now)
        case 1:
            side.peer.ping(chance.getrandbits(50) | 1, net.now)
        case 2:
            net.lost = chance.choice((lose_direct, lose_relayed, lose_all, lose_nothing))
        case 3:
            net.lost = lambda data, relayed, sender, to: chance.random() < share
        case 4:
            keep(net, chance.randrange(60), step_s=0.5)
        case 5:
            net.run(chance.choice((5, 30, 200, 1000)))
        case 6:
            net.now += chance.choice((5, 200, 4000))
        case 7:
            side.peer.handle_network_change(net.now)
        case 8:
            other.start(side)
            other.commands.clear()
            other.use_relays(side)
        case 9:
            with contextlib.suppress(PeerError):
                side.peer.handle_reset(net.now)
        case 10:
            side.peer.close(net.now)
        case 11:
            side.address = Address(f"198.51.100.{chance.randrange(10, 200)}", chance.randrange(1024, 60000))
