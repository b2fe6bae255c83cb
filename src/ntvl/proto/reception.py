"""What a supernode answers to strangers: where they are seen (STUN), its key, and that it knows no such session.

None of it needs a session, so all of it can be asked under a false address. Each answer is at most three times as long
as its question, and buckets hold what goes out: some for each network, and one over all, which a flood under many
addresses meets.
"""

from ipaddress import ip_address
from typing import Final

from ntvl.errors import PeerError
from ntvl.proto.bucket import SourceBuckets, TokenBucket
from ntvl.wire.address import Address
from ntvl.wire.service import build_key_reply, build_reset, parse_key_request
from ntvl.wire.stun import BINDING, Stun, StunClass, build_binding_error, build_binding_response, parse_stun

__all__ = ["AMPLIFICATION_MAX", "Reception", "network_of"]

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


class Reception:
    """Answers strangers within its rates."""

    def __init__(self) -> None:
        self._stun = _Limit(_STUN_ALL, _STUN_EACH)
        self._keys = _Limit(_KEYS_ALL, _KEYS_EACH)
        self._resets = _Limit(_RESETS_ALL, _RESETS_EACH)

    def answer_stun(self, data: bytes, source: Address, now: float) -> bytes:
        """Returns the answer to a Binding request: where it came from.

        Args:
            data: a datagram that begins like STUN.
            source: where it came from.
            now: machine's clock.
        Raises:
            PeerError: reasons of `parse_stun`; "type" (no Binding request), "integrity" (a check of ICE, which is meant
                for a peer), "rate", or "oversized" (the answer would be too long for the question).
        Source:
            RFC 8489 sections 6.3.1 and 12; attributes that are not understood are refused with 420.
        """
        stun = parse_stun(data)
        if stun.cls != StunClass.REQUEST or stun.method != BINDING:
            raise PeerError("type", "STUN")
        if _is_check(stun):
            raise PeerError("integrity", "an ICE check")
        self._stun.take(source, now)
        if stun.unknown:
            answer = build_binding_error(stun.transaction, 420, "Unknown Attribute", unknown=stun.unknown)
        else:
            answer = build_binding_response(stun.transaction, source)
        if len(answer) > AMPLIFICATION_MAX * len(data):
            raise PeerError("oversized", "STUN")
        return answer

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


def _is_check(stun: Stun) -> bool:
    return (
        stun.has_integrity
        or stun.username is not None
        or stun.priority is not None
        or stun.use_candidate
        or stun.ice_controlling is not None
        or stun.ice_controlled is not None
    )
