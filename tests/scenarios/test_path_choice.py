"""Two ways whose quality changes: data goes by the better one, both ends agree, and never does it go to and fro."""

import random
from collections.abc import Callable

import pytest
from tests.proto.peering import Net, Side, joined, keep, lose_nothing

from ntvl.wire.address import Address

MINUTE_S = 60.0


def ways(net: Net, *, direct_s: float, relay_s: float) -> None:
    """Sets what each way takes in one direction."""
    net.delay_s = lambda relayed, sender, to: relay_s if relayed else direct_s


def losing(direct: float = 0.0, relay: float = 0.0, seed: int = 1) -> Callable[[bytes, bool, Side, Address], bool]:
    chance = random.Random(seed)
    return lambda data, relayed, sender, to: chance.random() < (relay if relayed else direct)


def shown(net: Net) -> tuple[str, str]:
    return net.left.path, net.right.path


def switches(net: Net) -> int:
    """Counts the changes that either side showed."""
    return max(len(side.paths_shown()) for side in net.sides)


def disagreement_s(net: Net, seconds: float, *, step_s: float = 0.25) -> float:
    """Has data flow for so long; returns the longest time in a row that the two ends showed different paths."""
    longest = current = 0.0
    for _ in range(int(seconds / step_s)):
        keep(net, step_s, step_s=step_s)
        current = current + step_s if len(set(shown(net))) > 1 else 0.0
        longest = max(longest, current)
    return longest


@pytest.mark.parametrize("relays", [1, 2])
def test_a_relay_that_is_really_better_wins_after_half_a_minute_and_both_ends_show_it(relays: int) -> None:
    net = joined(relays=relays)
    ways(net, direct_s=0.100, relay_s=0.020)
    keep(net, 25.0)
    assert shown(net) == ("direct", "direct")
    assert disagreement_s(net, 45.0) <= 0.5
    assert shown(net) == ("relay", "relay")
    assert disagreement_s(net, 300.0) == 0.0
    assert shown(net) == ("relay", "relay")
    for side in net.sides:
        assert not side.peer.pathfinder.negotiation.is_running, "a direct path is there, only worse"


@pytest.mark.parametrize("relay_s", [0.045, 0.050, 0.080])
def test_a_relay_that_is_hardly_better_does_not_win(relay_s: float) -> None:
    net = joined()
    ways(net, direct_s=0.050, relay_s=relay_s)
    before = switches(net)
    keep(net, 5 * MINUTE_S, step_s=0.5)
    assert shown(net) == ("direct", "direct")
    assert switches(net) == before


def test_a_few_milliseconds_are_no_reason_for_a_relay_whatever_the_share() -> None:
    net = joined()
    ways(net, direct_s=0.004, relay_s=0.001)
    keep(net, 2 * MINUTE_S, step_s=0.5)
    assert shown(net) == ("direct", "direct")


def test_a_direct_path_that_loses_a_fifth_is_left_for_a_longer_relay_and_taken_again_when_it_is_sound() -> None:
    net = joined()
    ways(net, direct_s=0.010, relay_s=0.040)
    net.lost = losing(direct=0.2)
    assert keep(net, 3 * MINUTE_S, until=lambda: shown(net) == ("relay", "relay"))
    net.lost = lose_nothing
    assert keep(net, 8 * MINUTE_S, step_s=0.5, until=lambda: shown(net) == ("direct", "direct"))


def test_one_packet_in_a_hundred_is_no_reason_to_change() -> None:
    net = joined()
    net.lost = losing(direct=0.01, relay=0.01)
    before = switches(net)
    keep(net, 5 * MINUTE_S, step_s=0.5)
    assert shown(net) == ("direct", "direct")
    assert switches(net) == before


@pytest.mark.parametrize("period_s", [7.0, 40.0, 90.0])
def test_ways_that_take_turns_in_being_better_make_no_traffic_go_to_and_fro(period_s: float) -> None:
    net = joined()
    before = switches(net)

    def delay_s(relayed: bool, sender: Side, to: Address) -> float:
        is_first = net.now % (2 * period_s) < period_s
        return 0.020 if relayed == is_first else 0.120

    net.delay_s = delay_s
    assert disagreement_s(net, 20 * MINUTE_S, step_s=0.5) <= 1.0
    assert switches(net) - before <= 5


@pytest.mark.parametrize("seed", range(3))
def test_ways_of_random_quality_are_changed_a_handful_of_times_in_twenty_minutes(seed: int) -> None:
    net = joined(seed + 1, relays=2)
    before, chance = switches(net), random.Random(seed)
    lost, delays = [0.0, 0.0], [0.02, 0.02]
    net.lost = lambda data, relayed, sender, to: chance.random() < lost[relayed]
    net.delay_s = lambda relayed, sender, to: delays[relayed]
    apart_s = 0.0
    for _ in range(120):
        lost[:] = [chance.choice((0.0, 0.0, 0.02, 0.15)) for _ in lost]
        delays[:] = [chance.choice((0.005, 0.02, 0.06, 0.15)) for _ in delays]
        apart_s = max(apart_s, disagreement_s(net, 10.0, step_s=0.5))
    assert switches(net) - before <= 8
    assert apart_s <= 2.0


def test_the_way_through_the_better_of_two_supernodes_is_found_where_no_direct_path_is() -> None:
    net = Net(relays=2, direct=False)
    first = net.left.peer.pathfinder.paths.relays()[0].target.host
    net.delay_s = lambda relayed, sender, to: 0.100 if to.host == first else 0.020
    net.left.peer.handle_wanted(net.now)
    keep(net, 5.0)
    assert {side.targets[0].host for side in net.sides} == {first}
    keep(net, MINUTE_S)
    (chosen,) = {side.targets[0].host for side in net.sides}
    assert chosen != first
