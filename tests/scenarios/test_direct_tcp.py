"""Networks that drop UDP: peers are reached directly by TCP, where the NATs let a connection through."""

from collections.abc import Callable

import pytest

from ntvl.nat import NatBehaviour, Passage
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.packet import Packet
from ntvl.sim.segment import Attachment

NO_UDP = (NatBehaviour(passes=Passage.NO_UDP),)
KNOWN_S = 12.0
"""Until a node knows that UDP does not get out."""
TECHNIQUE = "tcp-simultaneous-open"


def two(right: object = NO_UDP, seed: int = 5, **options: object) -> tuple[Net, SimNode, SimNode]:
    net = Net(seed=seed, **options)  # type: ignore[arg-type]
    net.supernode()
    a, b = net.node("a", behind=NO_UDP), net.node("b", behind=right)  # type: ignore[arg-type]
    net.join()
    net.run(KNOWN_S)
    return net, a, b


def talk(net: Net, a: SimNode, b: SimNode, seconds: float) -> None:
    net.stream(a, b, packets=round(seconds * 5), spacing_s=0.2)
    net.run(seconds)


def techniques(a: SimNode, b: SimNode) -> set[str]:
    return {peer["technique"] for node in (a, b) for peer in node.peers().values()}


@pytest.mark.parametrize("right", [NO_UDP, "open", "firewall", "eim-apdf", "double", "apdm-sequential"])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_they_go_direct_within_five_seconds_and_lose_nothing(right: object, loss: float) -> None:
    net, a, b = two(right, loss=loss)
    began = net.now
    net.stream(a, b, packets=100, spacing_s=0.1)
    net.run_until(lambda: net.is_direct(a, b), 5.0 if not loss else 15.0, "direct by TCP")
    assert techniques(a, b) == {TECHNIQUE}
    net.run(began + 12.0 - net.now)
    if not loss:
        assert sorted(set(net.received(b))) == list(range(100))
    remote = net.path(b, a).remote
    assert remote is not None
    assert remote.startswith(f"{net.routers(a)[-1].address}:")
    (supernode,) = net.supernodes
    supernode.stop()
    net.stream(a, b, packets=50, spacing_s=0.1, port=7002)
    net.run(8.0)
    if not loss:
        assert sorted(set(net.received(b, port=7002))) == list(range(50))


@pytest.mark.parametrize("right", ["apdm-random", "cgn", (NatBehaviour(passes=Passage.TCP_443),)])
def test_where_ports_are_drawn_or_barred_the_relay_stays_and_little_is_spent(right: object) -> None:
    net, a, b = two(right)
    before = a.host.sent
    talk(net, a, b, 60.0)
    assert net.path(a, b).path == "relay"
    assert a.host.sent - before < 60 * 20
    assert len(set(net.received(b))) == 300


def test_without_leave_to_guess_a_counting_nat_stays_on_the_relay() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node("a", behind=NO_UDP, guesses=False), net.node("b", behind="apdm-sequential")
    net.join()
    net.run(KNOWN_S)
    talk(net, a, b, 30.0)
    assert net.path(a, b).path == "relay"


def test_with_direct_paths_off_no_port_is_bound() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node("a", behind=NO_UDP, direct=False), net.node("b", behind="open")
    net.join()
    net.run(KNOWN_S)
    talk(net, a, b, 30.0)
    assert net.path(a, b).path == "relay"
    assert not [event for node in (a, b) for _, event in node.events if type(event).__name__ == "DialPortWanted"]


def test_where_something_drops_udp_between_just_these_two_the_second_attempt_is_by_tcp() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node("a", behind="eim-apdf"), net.node("b", behind="double")
    net.join()
    net.run(KNOWN_S)
    take = b.host.handle_packet

    def lose_udp_of_a(packet: Packet, attachment: Attachment) -> None:
        if packet.is_tcp or packet.sender is not a.host:
            take(packet, attachment)

    b.host.handle_packet = lose_udp_of_a  # type: ignore[method-assign]
    net.stream(a, b, packets=200, spacing_s=0.1)
    net.run(20.0)
    assert net.is_direct(a, b)
    assert techniques(a, b) == {TECHNIQUE}
    assert sorted(set(net.received(b))) == list(range(200))


def move(net: Net, a: SimNode) -> None:
    net.move(a, behind=NO_UDP)


def reboot(net: Net, a: SimNode) -> None:
    net.reboot_nat(a, new_address=True)


def sleep(net: Net, a: SimNode) -> None:
    net.suspend(a, 3600.0)
    net.run(3600.0)


@pytest.mark.parametrize("what", [move, reboot, sleep])
def test_traffic_is_back_within_three_seconds_and_the_connection_soon_after(
    what: Callable[[Net, SimNode], None],
) -> None:
    net, a, b = two()
    talk(net, a, b, 10.0)
    assert net.is_direct(a, b)
    what(net, a)
    began = net.now
    talk(net, a, b, 20.0)
    back = [d.at for d in b.station.datagrams if d.at > began and d.port == 7001]
    assert back
    assert min(back) - began < 3.0
    net.run_until(lambda: net.is_direct(a, b), 30.0, "direct again")


def test_a_peer_that_is_killed_is_missed_and_found_again() -> None:
    net, a, b = two()
    talk(net, a, b, 10.0)
    assert net.is_direct(a, b)
    b.restart()
    net.join()
    net.run(KNOWN_S)
    talk(net, a, b, 20.0)
    assert net.is_direct(a, b)
    assert techniques(a, b) == {TECHNIQUE}


def test_where_udp_comes_back_by_another_network_it_is_used() -> None:
    net, a, b = two("eim-apdf")
    talk(net, a, b, 10.0)
    assert net.is_direct(a, b)
    net.move(a, behind="eim-apdf")
    talk(net, a, b, 20.0)
    assert net.is_direct(a, b)
    assert techniques(a, b) == {"simultaneous-udp"}


def test_an_hour_of_silence_keeps_neither_connection_nor_port() -> None:
    net, a, b = two()
    talk(net, a, b, 10.0)
    net.run(3600.0)
    began = net.now
    talk(net, a, b, 20.0)
    back = [d.at for d in b.station.datagrams if d.at > began and d.port == 7001]
    assert min(back) - began < 3.0
    assert net.is_direct(a, b)
