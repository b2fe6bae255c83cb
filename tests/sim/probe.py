"""Two tiny programs that ask the simulated network what it does, as RFC 5780 asks a real one."""

from ntvl.sim.host import Host
from ntvl.wire.address import Address


class Reflector:
    """Answers each datagram with the address it came from; `send_from` lets other hosts answer as well."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.seen: list[Address] = []
        host.program = self

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        self.seen.append(source)
        self.host.send(str(source).encode(), source, socket)

    def handle_wake(self) -> None:
        pass

    def handle_interfaces(self) -> None:
        pass


class Probe:
    """Remembers what came, and from where."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.got: list[tuple[Address, bytes]] = []
        self.wakes = 0
        self.moves = 0
        host.program = self

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        self.got.append((source, data))

    def handle_wake(self) -> None:
        self.wakes += 1

    def handle_interfaces(self) -> None:
        self.moves += 1


def address_of(host: Host, socket: int = 0) -> Address:
    return Address(host.addresses[0], host.ports[socket])
