"""The machines that know the NAT, on a simulated host."""

from ntvl.proto.binding_lifetime import BindingLifetime, LifetimeReport
from ntvl.proto.classification import SOCKETS, Classification
from ntvl.proto.nat_report import NatReport
from ntvl.sim.host import Host
from ntvl.sim.net import Net
from ntvl.sim.timeline import Timer
from ntvl.wire.address import Address, Origin

__all__ = ["netcheck", "search_lifetime"]


class Asking:
    """Is the program on a host that drives one machine with sockets of its own; `start` begins."""

    def __init__(self, net: Net, host: Host, machine: Classification | BindingLifetime) -> None:
        self.host = host
        self.machine = machine
        self._net = net
        self._timer: Timer | None = None
        host.program = self

    def start(self) -> None:
        self.machine.start(self.host.now)
        self._pump()

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        self.machine.handle_datagram(data, Origin(source, socket), self.host.now)
        self._pump()

    def handle_wake(self) -> None:
        self._pump()

    def handle_interfaces(self) -> None:
        pass

    def _pump(self) -> None:
        now = self.host.now
        due = self.machine.poll_timeout()
        if due is not None and due.at <= now:
            self.machine.handle_timeout(now)
        while (sent := self.machine.poll_transmit()) is not None:
            self.host.send(sent.data, sent.address, sent.socket)
        if self._timer is not None:
            self._timer.cancel()
        due = self.machine.poll_timeout()
        if due is not None:
            self._timer = self._net.timeline.at(self.host.moment(due.at), self._pump)


def netcheck(net: Net, host: Host, servers: list[Address]) -> NatReport:
    """Returns what a host finds out."""
    ports = _open(host, SOCKETS)
    random = net.random(f"{host.name}/netcheck").randbytes
    machine = Classification(servers, hosts=host.addresses, ports=ports, random=random)
    Asking(net, host, machine).start()
    net.run_until(lambda: machine.report is not None, 6.0, "a report")
    assert machine.report is not None
    return machine.report


def search_lifetime(net: Net, host: Host, server: Address) -> LifetimeReport:
    """Returns what a host finds out in some minutes."""
    _open(host, 2)
    machine = BindingLifetime(server, random=net.random(f"{host.name}/lifetime").randbytes)
    Asking(net, host, machine).start()
    net.run_until(lambda: machine.report is not None, 3600.0, "a report")
    assert machine.report is not None
    return machine.report


def _open(host: Host, count: int) -> list[int]:
    base = host.ports[0]
    host.ports.update({number: base + 7 * number for number in range(count)})
    return [host.ports[number] for number in range(count)]
