"""What a supernode answers to strangers: where they are seen (STUN), its key, and that it knows no such session.

None of it needs a session, so all of it can be asked under a false address. Each answer is at most three times as long
as its question, and buckets hold what goes out: some for each network, and one over all, which a flood under many
addresses meets.

STUN serves RFC 5780 as far as one address can: RESPONSE-ORIGIN, CHANGE-REQUEST for the port where there is a second
one, RESPONSE-PORT. Deviation from its section 7.4: OTHER-ADDRESS is sent with the second port alone, on the same
address, so that a node can tell filtering by port; a request for another address is refused with 420.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.bucket import SourceBuckets, TokenBucket
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.service import build_key_reply, build_reset, parse_key_request
from ntvl.wire.stun import (
    BINDING,
    CHANGE_REQUEST,
    Change,
    Stun,
    StunClass,
    build_binding_error,
    build_binding_response,
    parse_stun,
)

__all__ = ["AMPLIFICATION_MAX", "MAIN_SOCKET", "OTHER_SOCKET", "Reception", "StunPlace", "network_of"]

MAIN_SOCKET: Final = 0
OTHER_SOCKET: Final = 1
"""The number of the sockets at the second port, which answer STUN and nothing else."""

AMPLIFICATION_MAX: Final = 3
"""What QUIC lets a server send to an address that it has not validated (RFC 9000 section 8.1)."""
_STUN_ALL: Final = (2_000.0, 1_000.0)
_STUN_EACH: Final = (50.0, 200.0)
_KEYS_ALL: Final = (200.0, 200.0)
_KEYS_EACH: Final = (5.0, 20.0)
_RESETS_ALL: Final = (200.0, 200.0)
_RESETS_EACH: Final = (5.0, 20.0)
"""Rate a second, and burst, for all strangers and for one network; hundreds of nodes may be behind one address."""


def network_of(address: Address) -> bytes:
    """Returns what names the network of an address: all of an IPv4 address, the first 64 bits of an IPv6 one."""
    return ip_address(address.host).packed[:8]


@dataclass(frozen=True, slots=True)
class StunPlace:
    """Says where STUN is served.

    Args:
        port: the main UDP port.
        other_port: the second one, 0 for none.
        host_towards: returns the address of ours from which a datagram to an address leaves, None if unknown.
    """

    port: int
    other_port: int
    host_towards: Callable[[Address], str | None]


class Reception:
    """Answers strangers within its rates; without `place` it tells where one is seen, and nothing of itself."""

    def __init__(self, place: StunPlace | None = None) -> None:
        self._place = place
        self._stun = _Limit(_STUN_ALL, _STUN_EACH)
        self._keys = _Limit(_KEYS_ALL, _KEYS_EACH)
        self._resets = _Limit(_RESETS_ALL, _RESETS_EACH)

    def answer_stun(self, data: bytes, origin: Origin, now: float) -> Transmit:
        """Returns the answer to a Binding request: where it came from, from and to where it asks for.

        Args:
            data: a datagram that begins like STUN.
            origin: where it came from, and to which socket.
            now: machine's clock.
        Raises:
            PeerError: reasons of `parse_stun`; "type" (no Binding request), "integrity" (a check of ICE, which is meant
                for a peer), "rate", or "oversized" (the answer would be too long for the question).
        Source:
            RFC 8489 sections 6.3.1 and 12; attributes that are not understood are refused with 420. RFC 5780 section
            6.1; deviations: see the module, and RESPONSE-ORIGIN and OTHER-ADDRESS are left out where they would make
            the answer too long for the question (IPv6 and a bare header).
        """
        stun = parse_stun(data)
        if stun.cls != StunClass.REQUEST or stun.method != BINDING:
            raise PeerError("type", "STUN")
        if _is_check(stun):
            raise PeerError("integrity", "an ICE check")
        source = origin.address
        self._stun.take(source, now)
        change = stun.change or Change.NONE
        has_other = self._place is not None and self._place.other_port != 0
        unknown = stun.unknown
        if change & Change.ADDRESS or (change & Change.PORT and not has_other):
            unknown = (CHANGE_REQUEST, *unknown)
        if unknown:
            answer = build_binding_error(stun.transaction, 420, "Unknown Attribute", unknown=unknown)
            return Transmit(_bounded(answer, data), source, origin.socket)
        socket = origin.socket
        if change & Change.PORT:
            socket = MAIN_SOCKET if origin.socket == OTHER_SOCKET else OTHER_SOCKET
        target = source if stun.response_port is None else Address(source.host, stun.response_port)
        return Transmit(self._succeed(stun, data, origin, socket), target, socket)

    def _succeed(self, stun: Stun, data: bytes, origin: Origin, socket: int) -> bytes:
        """Returns the longest success that is not too long for the question."""
        source, place = origin.address, self._place
        host = None if place is None else place.host_towards(source)
        if place is not None and host is not None:
            ports = (place.port, place.other_port)
            at = Address(host, ports[socket])
            beyond = Address(host, ports[OTHER_SOCKET - origin.socket]) if place.other_port else None
            for other in (beyond, None):
                answer = build_binding_response(stun.transaction, source, origin=at, other=other)
                if len(answer) <= AMPLIFICATION_MAX * len(data):
                    return answer
        return _bounded(build_binding_response(stun.transaction, source), data)

    def answer_key_request(self, data: bytes, public: bytes, source: Address, now: float) -> bytes:
        """Returns the KEY_REPLY with our key.

        Raises:
            PeerError: reasons of `parse_key_request`, or "rate".
        """
        nonce = parse_key_request(data)
        self._keys.take(source, now)
        return build_key_reply(nonce, public)

    def reset(self, index: int, source: Address, now: float) -> bytes:
        """Returns the RESET for a datagram of no session (`index`), or of no registration (0).

        Raises:
            PeerError: reason "rate".
        """
        self._resets.take(source, now)
        return build_reset(index)


class _Limit:
    def __init__(self, everybody: tuple[float, float], each: tuple[float, float]) -> None:
        self._all = TokenBucket(*everybody)
        self._each = SourceBuckets(*each)

    def take(self, source: Address, now: float) -> None:
        if not self._each.take(network_of(source), now) or not self._all.take(now):
            raise PeerError("rate")


def _bounded(answer: bytes, question: bytes) -> bytes:
    if len(answer) > AMPLIFICATION_MAX * len(question):
        raise PeerError("oversized", "STUN")
    return answer


def _is_check(stun: Stun) -> bool:
    return (
        stun.has_integrity
        or stun.username is not None
        or stun.priority is not None
        or stun.use_candidate
        or stun.ice_controlling is not None
        or stun.ice_controlled is not None
    )
