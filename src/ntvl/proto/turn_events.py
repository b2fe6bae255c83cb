"""What a TURN client tells its owner: its states, its events, and the words for what a server refuses."""

from enum import Enum
from typing import Final, NamedTuple

from ntvl.wire.address import Address

__all__ = ["Allocated", "Closed", "Data", "Moved", "Refused", "TurnEvent", "TurnFailed", "TurnState", "explain_error"]


class TurnState(Enum):
    """Names where a client is; turn.py draws them."""

    NEW = "new"
    ALLOCATING = "allocating"
    ALLOCATED = "allocated"
    MOVED = "moved"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class Allocated(NamedTuple):
    """Tells that the server lends `relayed`, and sees us at `mapped`; `lifetime_s` is renewed by itself."""

    relayed: Address
    mapped: Address | None
    lifetime_s: float


class Data(NamedTuple):
    """Is a datagram that a peer sent to the relayed address."""

    peer: Address
    payload: bytes


class Refused(NamedTuple):
    """Tells that the server does not relay for one host, and why in words."""

    host: str
    reason: str


class Moved(NamedTuple):
    """Asks the owner to connect with another server, by TLS under `domain` if there is one, and to start again."""

    server: Address
    domain: str | None


class TurnFailed(NamedTuple):
    """Tells why there is no allocation, in words; `lasting` where trying again soon would fail in the same way."""

    reason: str
    lasting: bool


class Closed(NamedTuple):
    """Tells that the allocation was given back, or never was."""


TurnEvent = Allocated | Data | Refused | Moved | TurnFailed | Closed

_WORDS: Final[dict[int | str, str]] = {
    "no-answer": "the server does not answer",
    "expired": "the allocation ended before the server renewed it",
    "integrity": "the server's answer is not protected by the password",
    "no-address": "the server named no address that can be used",
    300: "the server sends us to another, which is not followed",
    400: "the server takes the request for malformed",
    401: "the server does not know this user name with this password",
    403: "the server forbids it",
    437: "the server does not know the allocation any more",
    438: "the server calls every nonce stale, or every answer to it wrong",
    440: "the server has no address of this family",
    441: "the allocation belongs to another user name",
    442: "the server does not relay UDP",
    443: "the peer's address is of another family than the allocation",
    486: "the user has all the allocations that the server allows",
    500: "the server has a fault of its own",
    508: "the server has no room for another allocation",
}


def explain_error(why: int | str) -> str:
    """Returns the words for an error code of RFC 8489 or RFC 8656, or for a reason of ours; nothing of it is theirs."""
    return _WORDS.get(why) or f"the server refuses with error {why}"
