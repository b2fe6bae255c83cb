"""A port mapping at one gateway, by PCP or NAT-PMP, whichever answers first.

Both are asked at once. NAT-PMP's first question makes nothing, and a gateway that speaks both answers PCP first, for it
was asked first; so NAT-PMP goes on to map only when PCP has failed, or a quarter of a second has passed. From then on
it has the gateway for itself: some gateways would take two mappings of one port for one, and the removal of one for
that of both. Whoever has a mapping stops the other; if the mapping is lost, both begin again.

Answers are taken from the gateway's own address and port, nothing else is looked at. At most four datagrams a second go
to the gateway, whatever it answers.

IPv6: the same with PCP alone, for a pinhole in the gateway's firewall.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.bucket import TokenBucket
from ntvl.proto.lessee import Lessee, PortMapping, Standing
from ntvl.proto.machine import Random, Wakeup, earliest
from ntvl.proto.natpmp import NatPmpLessee
from ntvl.proto.pcp import PcpLessee
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.natpmp import NATPMP_VERSION, NatPmpResult, parse_natpmp_response
from ntvl.wire.pcp import PCP_PORT, parse_pcp_response

__all__ = ["MappingChanged", "PortMap", "PortMapEvent", "PortMapOutcome"]

PREFER_PCP_S: Final = 0.25
"""What a gateway that speaks both needs at most to answer PCP (the probe of Tailscale waits as long)."""
PACKETS_PER_S: Final = 4.0
PACKETS_BURST: Final = 6.0
EVENTS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class MappingChanged:
    """Tells the mapping that holds from now on, None for none."""

    mapping: PortMapping | None


@dataclass(frozen=True, slots=True)
class PortMapOutcome:
    """Tells in words how a protocol fares: "PCP", "mapped to 203.0.113.7:4000 for 7200 s"."""

    protocol: str
    standing: Standing
    text: str


PortMapEvent = MappingChanged | PortMapOutcome


class PortMap:
    """Asks one gateway for one UDP port; a sans-IO machine (`proto.machine`).

    Args:
        port: our UDP port, 1..65535.
        gateway: literal address of the gateway, without zone.
        client: our literal address of the same family, which datagrams to the gateway must have as source.
        random: chance.
    Attributes:
        drops: what was dropped, by reason.
        is_heard: whether the gateway has ever said anything: one that has not is not worth a wait at the end.
    """

    def __init__(self, port: int, gateway: str, client: str, *, random: Random) -> None:
        self.gateway = Address(gateway, PCP_PORT)
        self.drops: Counter[str] = Counter()
        self.is_heard = False
        self._pcp = PcpLessee(port, client, random=random, send=self._enqueue)
        self._natpmp = None if ":" in gateway else NatPmpLessee(port, random=random, send=self._enqueue)
        self._lessees: tuple[Lessee, ...] = (self._pcp, *([self._natpmp] if self._natpmp else []))
        self._bucket = TokenBucket(PACKETS_PER_S, PACKETS_BURST)
        self._running = False
        self._told: tuple[object, ...] = ()
        self._told_mapping: PortMapping | None = None
        self._transmits: deque[Transmit] = deque()
        self._events: deque[PortMapEvent] = deque(maxlen=EVENTS_MAX)

    @property
    def mapping(self) -> PortMapping | None:
        """Returns the mapping that holds, or None."""
        return next((lessee.mapping for lessee in self._lessees if lessee.mapping is not None), None)

    @property
    def outcomes(self) -> tuple[PortMapOutcome, ...]:
        """Returns how each protocol fares."""
        return tuple(PortMapOutcome(lessee.name, lessee.standing, lessee.outcome) for lessee in self._lessees)

    @property
    def is_settled(self) -> bool:
        """Returns whether a protocol has a mapping, or has asked for one that cannot be told from another's."""
        return self.mapping is not None or (self._natpmp is not None and self._natpmp.maps)

    @property
    def is_idle(self) -> bool:
        """Returns whether nothing is left to do after `close`."""
        return not self._running and all(lessee.is_idle for lessee in self._lessees)

    def start(self, now: float) -> None:
        """Begins to ask."""
        self._running = True
        if self._natpmp is not None:
            self._natpmp.not_before = now + PREFER_PCP_S
        self._settle(now)

    def close(self, now: float, why: str = "stopped") -> None:
        """Gives back what the gateway may hold: poll until `is_idle`, which is within a second."""
        self._running = False
        for lessee in self._lessees:
            lessee.stop(now, why)
        self._tell()

    def verify(self, now: float) -> None:
        """Asks the gateway at the next wake-up, due at once, whether it has forgotten our mapping."""
        for lessee in self._lessees:
            lessee.verify(now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram that came to our socket, or to the port of announcements."""
        try:
            if origin.address != self.gateway:
                raise PeerError("transaction", f"from {origin.address}")
            self.is_heard = True
            self._handle(data, now)
        except PeerError as error:
            self.drops[error.reason] += 1
        self._settle(now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        for lessee in self._lessees:
            lessee.handle_timeout(now)
        self._settle(now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for never."""
        return earliest(*(lessee.poll_timeout() for lessee in self._lessees))

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None."""
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> PortMapEvent | None:
        """Returns the next event, or None; the oldest of more than 64 are lost."""
        return self._events.popleft() if self._events else None

    def _handle(self, data: bytes, now: float) -> None:
        if not data:
            raise PeerError("short")
        if data[0] != NATPMP_VERSION:
            self._pcp.handle_response(parse_pcp_response(data), now)
            return
        if self._natpmp is None:
            raise PeerError("version")
        response = parse_natpmp_response(data)
        if response.result == NatPmpResult.UNSUPPORTED_VERSION:
            self._pcp.speaks_natpmp_only(now)
        else:
            self._natpmp.handle_response(response, now)

    def _settle(self, now: float) -> None:
        """Keeps one of the two at work once it has something, both as long as none has."""
        if self._running:
            winner = next((lessee for lessee in self._lessees if lessee.mapping is not None), None)
            if winner is None and self._natpmp is not None:
                if self._pcp.standing not in (Standing.ASKING, Standing.STOPPED):
                    self._natpmp.may_map(now)
                    self._natpmp.handle_timeout(now)
                if self._natpmp.maps and self._natpmp.standing is Standing.ASKING:
                    winner = self._natpmp
            for lessee in self._lessees:
                if winner is None:
                    lessee.start(now)
                elif lessee is not winner:
                    lessee.stop(now, f"not needed beside {winner.name}")
        self._tell()

    def _tell(self) -> None:
        outcomes, mapping = self.outcomes, self.mapping
        for outcome in outcomes:
            if outcome not in self._told:
                self._events.append(outcome)
        if mapping != self._told_mapping:
            self._events.append(MappingChanged(mapping))
        self._told, self._told_mapping = outcomes, mapping

    def _enqueue(self, data: bytes, now: float) -> None:
        if not self._bucket.take(now):
            self.drops["rate"] += 1
            return
        self._transmits.append(Transmit(data, self.gateway))
