"""The simulator's TURN server does what a real one does to a client that it knows, and to one that it does not."""

from ntvl.sim.host import Host
from ntvl.sim.net import Net
from ntvl.sim.turn_relay import SimTurnRelay
from ntvl.sim.turn_server import LIFETIME_S, SimTurnServer
from ntvl.wire.address import Address


class Ear:
    """Keeps what comes to a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.heard: list[tuple[bytes, Address]] = []
        host.program = self

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        self.heard.append((data, source))

    def handle_wake(self) -> None: ...

    def handle_interfaces(self) -> None: ...


class Client(Ear):
    """Is a host with a relay and no node: hears what comes by each carrier."""

    def __init__(self, net: Net, server: SimTurnServer) -> None:
        super().__init__(net.host("client", "apdm-random"))
        self.relayed: list[Address | None] = []
        self.carriers: dict[Address, Address | None] = {}
        self.relay = SimTurnRelay(
            self.host,
            net.timeline,
            net.random("client/turn"),
            server=server.address,
            tell_relayed=self.relayed.append,
            tell_carrier=self.carriers.__setitem__,
        )


def test_data_goes_both_ways_for_who_is_permitted_and_no_further_than_the_allocation_lasts() -> None:
    net = Net(1)
    server = net.turn_server()
    client = Client(net, server)
    net.run(1.0)
    (relayed,) = client.relayed
    assert server.lent == (relayed,)
    assert relayed is not None
    peer, stranger = net.host("peer", port=5000), net.host("stranger", port=5000)
    ear = Ear(peer)
    there = Address(peer.addresses[0], 5000)
    client.relay.want([there])
    net.run(1.0)
    carrier = client.carriers[there]
    assert carrier is not None
    for number in range(8):  # first by indications, then by a channel
        client.host.send(b"there %d" % number, carrier)
        net.run(0.5)
        peer.send(b"back %d" % number, relayed)
        stranger.send(b"junk", relayed)
        net.run(0.5)
    assert ear.heard == [(b"there %d" % number, relayed) for number in range(8)]
    assert client.heard == [(b"back %d" % number, carrier) for number in range(8)]
    client.host.suspend(LIFETIME_S + 100.0)
    net.run(LIFETIME_S + 50.0)
    assert server.lent == ()
    peer.send(b"too late", relayed)
    net.run(100.0)
    assert client.relayed[1] is None
    assert server.lent == (client.relayed[2],)
    assert len(client.heard) == 8


def test_who_is_seen_elsewhere_is_a_stranger() -> None:
    net = Net(1)
    server = net.turn_server()
    client = Client(net, server)
    net.run(1.0)
    for router in client.host.interfaces[0].segment.gateway.box.chain():  # type: ignore[union-attr]
        router.reboot(new_address=False)
    client.relay.verify()
    net.run(3.0)
    assert len(server.lent) == 2, "the old one lasts until its time is over"
    assert client.relayed == [server.lent[0], None, server.lent[1]]
