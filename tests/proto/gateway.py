"""A gateway on virtual time: speaks PCP, NAT-PMP, both or neither, and does what a test says."""

import ipaddress
import random
import struct
from collections.abc import Callable

from ntvl.proto.portmap import MappingChanged, PortMap, PortMapOutcome
from ntvl.wire.address import Address, Origin, Transmit

PORT = 4000
HOST = "192.168.1.1"
CLIENT = "192.168.1.10"
GATEWAY = Address(HOST, 5351)


class Gateway:
    def __init__(self, *, pcp: bool = True, natpmp: bool = True, external: str = "203.0.113.7") -> None:
        self.pcp, self.natpmp, self.external = pcp, natpmp, external
        self.booted = -1000.0
        self.result = 0
        self.lifetime_s: int | None = None
        self.port: int | None = None
        self.mappings: dict[str, int] = {}
        """Lifetime asked for, by protocol."""

    def epoch(self, now: float) -> int:
        return int(now - self.booted)

    def reboot(self, now: float) -> None:
        self.booted = now
        self.mappings.clear()

    def announce(self, now: float) -> bytes:
        if self.pcp:
            return struct.pack("!BBxBII12x", 2, 0x80, 0, 0, self.epoch(now))
        return struct.pack("!BBHI", 0, 128, 0, self.epoch(now)) + ipaddress.IPv4Address(self.external).packed

    def answer(self, data: bytes, now: float) -> list[bytes]:
        epoch = self.epoch(now)
        if data[0] == 2:
            if not self.pcp:
                return [struct.pack("!BBHI", 0, 128 + data[1], 1, epoch)] if self.natpmp else []
            if data[1] == 0:
                return [self.announce(now)]
            lifetime_s, port = struct.unpack_from("!I", data, 4)[0], struct.unpack_from("!H", data, 40)[0]
            self._note("PCP", lifetime_s)
            given = self.lifetime_s if self.lifetime_s is not None and lifetime_s else lifetime_s
            external = ipaddress.ip_address(self.external)
            packed = external.packed if external.version == 6 else bytes(10) + b"\xff\xff" + external.packed
            head = struct.pack("!BBxBII12x", 2, 0x81, self.result, given, epoch)
            return [head + data[24:40] + struct.pack("!HH", port, self.port or port) + packed]
        if not self.natpmp:
            return [struct.pack("!BBxBII12x", 2, 0x80 + data[1], 1, 0, epoch)] if self.pcp else []
        if data[1] == 0:
            return [struct.pack("!BBHI", 0, 128, self.result, epoch) + ipaddress.IPv4Address(self.external).packed]
        port, _, lifetime_s = struct.unpack_from("!HHI", data, 4)
        self._note("NAT-PMP", lifetime_s)
        given = self.lifetime_s if self.lifetime_s is not None and lifetime_s else lifetime_s
        return [
            struct.pack("!BBHIHHI", 0, 129, self.result, epoch, port, (self.port or port) * bool(lifetime_s), given)
        ]

    def _note(self, protocol: str, lifetime_s: int) -> None:
        if lifetime_s and not self.result:
            self.mappings[protocol] = lifetime_s
        elif not lifetime_s:
            self.mappings.pop(protocol, None)


class Lan:
    """Moves datagrams between one `PortMap` and one gateway, and the time."""

    def __init__(self, gateway: Gateway | None = None, *, host: str = HOST, client: str = CLIENT) -> None:
        self.gateway = gateway
        self.now = 100.0
        self.sent: list[tuple[float, bytes]] = []
        self.changes: list[Address | None] = []
        self.said: list[PortMapOutcome] = []
        self.alter: Callable[[bytes], list[bytes]] = lambda data: [data]
        """What happens to an answer on its way."""
        self.machine = PortMap(PORT, host, client, random=random.Random(7).randbytes)

    def start(self) -> "Lan":
        self.machine.start(self.now)
        self._move()
        return self

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (wakeup := self.machine.poll_timeout()) is not None and wakeup.at <= until:
            self.now = max(self.now, wakeup.at)
            self.machine.handle_timeout(self.now)
            self._move()
        self.now = until

    def hear(self, data: bytes, source: Address = GATEWAY) -> None:
        self.machine.handle_datagram(data, Origin(source), self.now)
        self._move()

    def close(self) -> None:
        self.machine.close(self.now)
        self._move()

    def outcome(self, protocol: str) -> PortMapOutcome:
        return next(outcome for outcome in self.machine.outcomes if outcome.protocol == protocol)

    @property
    def mapping(self) -> Address | None:
        return self.machine.mapping.external if self.machine.mapping else None

    def _move(self) -> None:
        transmit: Transmit | None
        while (transmit := self.machine.poll_transmit()) is not None:
            self.sent.append((self.now, transmit.data))
            for answer in self.gateway.answer(transmit.data, self.now) if self.gateway else []:
                for data in self.alter(answer):
                    self.machine.handle_datagram(data, Origin(transmit.address), self.now)
        for event in iter(self.machine.poll_event, None):
            if isinstance(event, MappingChanged):
                self.changes.append(event.mapping.external if event.mapping else None)
            else:
                self.said.append(event)
