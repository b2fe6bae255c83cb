"""Plain UDP sockets inside a lab: enough of STUN and hole punching to learn what a router really does."""

import select
import socket
import time
from contextlib import AbstractContextManager, ExitStack

from ntvl.lab.stage import Stage
from ntvl.nat import Filtering, Mapping
from ntvl.wire.address import Address

__all__ = ["Prober", "open_udp", "punch"]

WAIT_S = 0.15


def open_udp(stage: Stage, machine: str, port: int = 0, *, ipv6: bool = False) -> socket.socket:
    """Returns a UDP socket of a machine, bound to a port on all its addresses."""
    opened = stage.open_socket(machine, socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("::" if ipv6 else "0.0.0.0", port))
    opened.settimeout(1.0)
    return opened


def receive(sock: socket.socket, timeout_s: float = WAIT_S) -> tuple[bytes, Address] | None:
    """Returns what comes in time, or None."""
    if not select.select([sock], [], [], timeout_s)[0]:
        return None
    data, source = sock.recvfrom(2048)
    return data, Address(source[0], source[1])


class Prober(AbstractContextManager["Prober"]):
    """Is a STUN server with two addresses and two ports, and a client that asks it what a router does (RFC 5780)."""

    def __init__(self, stage: Stage, first: str, second: str) -> None:
        self._sockets = ExitStack()
        self._stage = stage
        self.servers = {
            (machine, port): self._sockets.enter_context(open_udp(stage, machine, port))
            for machine, port in ((first, 3478), (first, 3479), (second, 3478))
        }
        self.first, self.second = (first, 3478), (second, 3478)
        self.other_port = (first, 3479)

    def __exit__(self, *error: object) -> None:
        self._sockets.close()

    def address(self, server: tuple[str, int]) -> Address:
        return Address(self._stage.address(server[0]), server[1])

    def observe(self, client: socket.socket, server: tuple[str, int]) -> Address:
        """Returns where a server sees a client, after a question and an answer."""
        client.sendto(b"where am I?", self.address(server))
        came = receive(self.servers[server], 1.0)
        assert came is not None, f"nothing reached {server}"
        self.servers[server].sendto(b"there", came[1])
        assert receive(client, 1.0) is not None, f"no answer from {server}"
        return came[1]

    def mapping(self, client: socket.socket) -> Mapping:
        first = self.observe(client, self.first)
        if self.observe(client, self.other_port) != first:
            return Mapping.ADDRESS_AND_PORT_DEPENDENT
        if self.observe(client, self.second) != first:
            return Mapping.ADDRESS_DEPENDENT
        return Mapping.ENDPOINT_INDEPENDENT

    def filtering(self, client: socket.socket) -> Filtering:
        """Judges a socket that has spoken to nobody yet."""
        mapped = self.observe(client, self.first)
        self.servers[self.second].sendto(b"unknown address", mapped)
        if receive(client) is not None:
            return Filtering.ENDPOINT_INDEPENDENT
        self.servers[self.other_port].sendto(b"unknown port", mapped)
        if receive(client) is not None:
            return Filtering.ADDRESS_DEPENDENT
        return Filtering.ADDRESS_AND_PORT_DEPENDENT


def punch(left: socket.socket, right: socket.socket, left_at: Address, right_at: Address, rounds: int = 3) -> bool:
    """Lets both ends send to where the other was seen, and to where they hear it from; returns whether both then hear.

    An end counts as reached when it has an answer to a datagram of its own, so true means both directions work.
    """
    targets = {left: {right_at}, right: {left_at}}
    answered: set[socket.socket] = set()
    for _ in range(rounds):
        for end in (left, right):
            for target in tuple(targets[end]):
                end.sendto(b"check", target)
        until = time.monotonic() + 0.05
        while len(answered) < 2:
            ready = select.select([left, right], [], [], max(0.0, until - time.monotonic()))[0]
            if not ready:
                break
            for end in ready:
                data, source = end.recvfrom(2048)
                target = Address(source[0], source[1])
                targets[end].add(target)
                if data == b"check":
                    end.sendto(b"answer", target)
                else:
                    answered.add(end)
        if len(answered) == 2:
            return True
    return False
