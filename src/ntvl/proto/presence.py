"""Which of PCP and NAT-PMP a gateway speaks, found out without asking it for anything.

PCP's ANNOUNCE and NAT-PMP's question for the external address make no mapping. Both are sent up to three times within
1.2 s; what has not been answered 2 s after the start counts as absent. A gateway that speaks one of the two answers the
other with "unsupported version", which tells of both.

Source: RFC 6887 sections 9 (versions) and 14.1 (ANNOUNCE), RFC 6886 section 3.2 and 3.5. Deviation: a request is
repeated sooner than they have it, for somebody waits.
"""

from collections import Counter, deque
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.machine import Wakeup
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.natpmp import NATPMP_VERSION, NatPmpResult, build_natpmp_address_request, parse_natpmp_response
from ntvl.wire.pcp import PCP_PORT, PCP_VERSION, PcpResult, build_pcp_announce, parse_pcp_response

__all__ = ["PRESENCE_S", "Presence"]

PRESENCE_S: Final = 2.0
_ASK_AT_S: Final = (0.0, 0.4, 1.2)


class Presence:
    """Asks one gateway; a sans-IO machine (`proto.machine`) without events: `is_over` tells the end.

    Args:
        gateway: its literal address, without zone; an IPv6 one is asked by PCP alone.
        client: our literal address of the same family, which the datagrams must have as source.
    Attributes:
        speaks: by protocol, whether the gateway speaks it; None until it is known.
        drops: what was dropped, by reason.
    """

    def __init__(self, gateway: str, client: str) -> None:
        self.gateway = Address(gateway, PCP_PORT)
        self.speaks: dict[str, bool | None] = {"PCP": None} if ":" in gateway else {"PCP": None, "NAT-PMP": None}
        self.drops: Counter[str] = Counter()
        self._client = client
        self._began = 0.0
        self._rounds = 0
        self._transmits: deque[Transmit] = deque()

    @property
    def is_over(self) -> bool:
        """Returns whether everything is known."""
        return None not in self.speaks.values()

    def start(self, now: float) -> None:
        """Asks for the first time."""
        self._began = now
        self.handle_timeout(now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram that came to our socket."""
        try:
            if origin.address != self.gateway:
                raise PeerError("transaction", f"from {origin.address}")
            self._handle(data)
        except PeerError as error:
            self.drops[error.reason] += 1

    def handle_timeout(self, now: float) -> None:
        """Asks again, or ends."""
        if now >= self._began + PRESENCE_S:
            self.speaks = {protocol: known or False for protocol, known in self.speaks.items()}
        elif self._rounds < len(_ASK_AT_S) and now >= self._began + _ASK_AT_S[self._rounds]:
            self._rounds += 1
            if self.speaks["PCP"] is None:
                self._transmits.append(Transmit(build_pcp_announce(self._client), self.gateway))
            if self.speaks.get("NAT-PMP", False) is None:
                self._transmits.append(Transmit(build_natpmp_address_request(), self.gateway))

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for never."""
        if self.is_over:
            return None
        return Wakeup(self._began + (*_ASK_AT_S, PRESENCE_S)[self._rounds], "presence")

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None."""
        return self._transmits.popleft() if self._transmits else None

    def _handle(self, data: bytes) -> None:
        if not data:
            raise PeerError("short")
        if data[0] == NATPMP_VERSION:
            if parse_natpmp_response(data).result == NatPmpResult.UNSUPPORTED_VERSION:
                self._note("PCP", False)
            self._note("NAT-PMP", True)
        elif parse_pcp_response(data).result == PcpResult.UNSUPP_VERSION:
            # Of version 2 it is the answer to NAT-PMP, of any other that to our PCP.
            self._note("NAT-PMP" if data[0] == PCP_VERSION else "PCP", False)
            if data[0] == PCP_VERSION:
                self._note("PCP", True)
        else:
            self._note("PCP", True)

    def _note(self, protocol: str, speaks: bool) -> None:
        """Notes an answer; the first one counts."""
        if self.speaks.get(protocol, False) is None:
            self.speaks[protocol] = speaks
