"""Connectivity checks with one peer: STUN Binding transactions with ICE's attributes, on the data socket.

A check asks on a 5-tuple and is answered on the same 5-tuple, so one answer proves both directions (RFC 8445 section
7). USERNAME and MESSAGE-INTEGRITY carry the short-term credentials that the two sides gave each other in sealed
offers; the answer must come from where the question went (section 7.2.5.2.1).

Roles come from the node keys, which both sides know. An agent of another make takes its role from elsewhere, so a
conflict is found and repaired all the same (sections 7.2.5.1 and 7.3.1.1).

Deviations: one component, one data stream, so the foundation and the frozen state have no use here. A check with wrong
credentials gets no answer (section 7.3 would have 400 or 401 sent to anybody). Repairs after error 487 are bounded.
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

__all__ = ["HANDLE_BYTES", "ROLE_CONFLICT", "Checks"]

HANDLE_BYTES: Final = 4
"""A transaction id starts with the peer's handle, so that an answer finds its peer; the other 8 bytes are random."""
ROLE_CONFLICT: Final = 487
"""The error that says: both of us claim one role (RFC 8445 section 7.3.1.1)."""
_REPAIRS_MAX: Final = 4
"""Roles changed for an error 487 of one peer under one set of credentials; one is enough where nobody plays tricks."""
_PENDING_MAX: Final = 512
_ANSWER_LATEST_S: Final = 5.0


class Checks:
    """Asks and answers checks for one peer.

    Args:
        handle: the peer's handle, 0..2^32-1.
        controlling: our role to begin with.
        ufrag, password: what the peer shall use towards us.
        tie_breaker: 64 random bits of this node (RFC 8445 section 16.1).

    Attributes:
        controlling: our role; changes where a conflict of roles is repaired.
    """

    def __init__(
        self, handle: int, *, controlling: bool, ufrag: str, password: str, tie_breaker: int, random: Random
    ) -> None:
        self.ufrag = ufrag
        self.password = password
        self.remote_ufrag = ""
        self.remote_password = ""
        self._prefix = handle.to_bytes(HANDLE_BYTES, "big")
        self.controlling = controlling
        self._tie_breaker = tie_breaker
        self._random = random
        self._pending: dict[bytes, tuple[Path, float, bool]] = {}
        self._repairs = 0
        self._repairs_under = ""

    @property
    def is_ready(self) -> bool:
        """Returns whether the peer's credentials are known."""
        return bool(self.remote_ufrag)

    def draw_transaction(self) -> bytes:
        """Returns a fresh transaction id, whose answer finds its way to this peer."""
        return self._prefix + self._random(8)

    def build_request(self, path: Path, now: float, *, nominate: bool) -> bytes:
        """Returns a check to send on `path`; `nominate` adds USE-CANDIDATE (controlling side only)."""
        transaction = self.draw_transaction()
        if len(self._pending) >= _PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[transaction] = (path, now, self.controlling)
        return build_binding_request(
            transaction,
            username=f"{self.remote_ufrag}:{self.ufrag}",
            password=self.remote_password,
            priority=_peer_reflexive_priority(path),
            controlling=self._tie_breaker if self.controlling else None,
            controlled=None if self.controlling else self._tie_breaker,
            use_candidate=nominate and self.controlling,
        )

    def handle_request(self, message: Stun, data: bytes, origin: Origin) -> tuple[bytes, bool]:
        """Returns the answer to a check of the peer, to be sent back to where it came from, and whether the check
        counts.

        A check with attributes that must be understood and are not gets error 420 (RFC 8489 section 6.3.1). One that
        claims our role gets error 487, or we give the role up: the larger tie-breaker controls (RFC 8445 section
        7.3.1.1). Neither error counts as a check.

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
        theirs = message.ice_controlling if self.controlling else message.ice_controlled
        if theirs is not None:
            if self.controlling == (self._tie_breaker >= theirs):
                error = build_binding_error(message.transaction, ROLE_CONFLICT, "Role Conflict", password=self.password)
                return error, False
            self.controlling = not self.controlling
        return build_binding_response(message.transaction, origin.address, password=self.password), True

    def handle_response(self, message: Stun, data: bytes, origin: Origin, now: float) -> tuple[Path, float, Address]:
        """Returns the path that an answer confirms, the round trip in seconds, and our address as the peer sees it.

        Raises:
            PeerError: reason "transaction" (no such question, too late, or from elsewhere), "integrity" or
            "no-address".
        """
        path, sent, _ = self._question(message, data, origin, now)
        mapped = message.address
        if mapped is None:
            raise PeerError("no-address")
        del self._pending[message.transaction]
        return path, now - sent, mapped

    def handle_conflict(self, message: Stun, data: bytes, origin: Origin, now: float) -> Path:
        """Takes error 487: we claimed the peer's role and change ours, unless that has happened since the question.

        Returns:
            The path to check again, under the role that we have now.
        Raises:
            PeerError: as `handle_response`; "rate" where the peer refuses every role.
        Source:
            RFC 8445 section 7.2.5.1, with a new tie-breaker. Deviation: at most 4 times for one set of credentials.
        """
        path, _, claimed = self._question(message, data, origin, now)
        del self._pending[message.transaction]
        if self._repairs_under != self.remote_password:
            self._repairs, self._repairs_under = 0, self.remote_password
        if self._repairs >= _REPAIRS_MAX:
            raise PeerError("rate", "a peer that refuses every role")
        self._repairs += 1
        if claimed == self.controlling:
            self.controlling = not self.controlling
            self._tie_breaker = int.from_bytes(self._random(8), "big")
        return path

    def _question(self, message: Stun, data: bytes, origin: Origin, now: float) -> tuple[Path, float, bool]:
        """Returns the path that an answer is about, when it was asked, and the role that we claimed."""
        path, sent, claimed = self._pending.get(message.transaction, (None, 0.0, False))
        if path is None or now - sent > _ANSWER_LATEST_S:
            raise PeerError("transaction")
        if Target(origin.address.host, origin.address.port, origin.socket) != path.target:
            raise PeerError("transaction", "answered from another address")
        verify_integrity(data, self.remote_password)
        if message.unknown:
            raise PeerError("format", "an answer with attributes that must be understood and are not")
        return path, sent, claimed


def _peer_reflexive_priority(path: Path) -> int:
    """Returns the priority of the candidate that a check may reveal (RFC 8445 section 7.1.1): local preferences as for
    our host candidates, so that it differs by family.
    """
    local = 65535 - (0 if ":" in path.target.host else 1000)
    return (110 << 24) | (local << 8) | 255
