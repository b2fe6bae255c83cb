"""Connectivity checks with one peer: STUN Binding transactions with ICE's attributes, on the data socket.

A check asks on a 5-tuple and is answered on the same 5-tuple, so one answer proves both directions (RFC 8445 section
7). USERNAME and MESSAGE-INTEGRITY carry the short-term credentials that the two sides gave each other in sealed
offers; the answer must come from where the question went (section 7.2.5.2.1).

Deviations: one component, one data stream, so the foundation and the frozen state have no use here. Roles come from
the node keys, both sides know them, and there is no conflict to repair.
"""

from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.proto.machine import Random
from ntvl.proto.path import Path
from ntvl.wire.address import Address, Origin
from ntvl.wire.stun import (
    Stun,
    build_binding_error,
    build_binding_request,
    build_binding_response,
    verify_integrity,
)

__all__ = ["HANDLE_BYTES", "Checks"]

HANDLE_BYTES: Final = 4
"""A transaction id starts with the peer's handle, so that an answer finds its peer; the other 8 bytes are random."""
_PENDING_MAX: Final = 256
_PEER_REFLEXIVE_PRIORITY: Final = (110 << 24) | (65535 << 8) | 255
_ANSWER_LATEST_S: Final = 5.0


class Checks:
    """Asks and answers checks for one peer.

    Args:
        handle: the peer's handle, 0..2^32-1.
        controlling: our role.
        ufrag, password: what the peer shall use towards us.
        tie_breaker: 64 random bits of this node (RFC 8445 section 16.1).
    """

    def __init__(
        self, handle: int, *, controlling: bool, ufrag: str, password: str, tie_breaker: int, random: Random
    ) -> None:
        self.ufrag = ufrag
        self.password = password
        self.remote_ufrag = ""
        self.remote_password = ""
        self._prefix = handle.to_bytes(HANDLE_BYTES, "big")
        self._controlling = controlling
        self._tie_breaker = tie_breaker
        self._random = random
        self._pending: dict[bytes, tuple[Path, float]] = {}

    @property
    def is_ready(self) -> bool:
        """Returns whether the peer's credentials are known."""
        return bool(self.remote_ufrag)

    def build_request(self, path: Path, now: float, *, nominate: bool) -> bytes:
        """Returns a check to send on `path`; `nominate` adds USE-CANDIDATE (controlling side only)."""
        transaction = self._prefix + self._random(8)
        if len(self._pending) >= _PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[transaction] = (path, now)
        return build_binding_request(
            transaction,
            username=f"{self.remote_ufrag}:{self.ufrag}",
            password=self.remote_password,
            priority=_PEER_REFLEXIVE_PRIORITY,
            controlling=self._tie_breaker if self._controlling else None,
            controlled=None if self._controlling else self._tie_breaker,
            use_candidate=nominate and self._controlling,
        )

    def handle_request(self, message: Stun, data: bytes, origin: Origin) -> tuple[bytes, bool]:
        """Returns the answer to a check of the peer, to be sent back to where it came from, and whether it was
        understood.

        A check with attributes that must be understood and are not gets error 420 (RFC 8489 section 6.3.1).

        Raises:
            PeerError: reason "integrity"; drop it without an answer.
        """
        if message.username != f"{self.ufrag}:{self.remote_ufrag}":
            raise PeerError("integrity", "check for other credentials")
        verify_integrity(data, self.password)
        if message.unknown:
            error = build_binding_error(
                message.transaction, 420, "Unknown Attribute", password=self.password, unknown=message.unknown
            )
            return error, False
        return build_binding_response(message.transaction, origin.address, password=self.password), True

    def handle_response(self, message: Stun, data: bytes, origin: Origin, now: float) -> tuple[Path, float, Address]:
        """Returns the path that an answer confirms, the round trip in seconds, and our address as the peer sees it.

        Raises:
            PeerError: reason "transaction" (no such question, too late, or from elsewhere), "integrity" or
            "no-address".
        """
        path, sent = self._pending.get(message.transaction, (None, 0.0))
        if path is None or now - sent > _ANSWER_LATEST_S:
            raise PeerError("transaction")
        if Target(origin.address.host, origin.address.port, origin.socket) != path.target:
            raise PeerError("transaction", "answered from another address")
        verify_integrity(data, self.remote_password)
        if message.unknown:
            raise PeerError("format", "an answer with attributes that must be understood and are not")
        mapped = message.address
        if mapped is None:
            raise PeerError("no-address")
        del self._pending[message.transaction]
        return path, now - sent, mapped
