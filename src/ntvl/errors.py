"""The error tree: an error says whose fault it is.

NtvlError
├── UsageError   our caller's: missing privilege, port in use, wrong secret; travels up to the person, exit status 1
│   └── ArgumentError   what was asked for is wrong in itself: a flag, a configuration; exit status 2
└── PeerError    somebody else's: hostile, broken or unlucky input; becomes a counter by `reason`, and the node lives on

A reason is a short kebab-case word out of `REASONS`, equal in log, counter, status and test.
"""

from typing import Final

__all__ = ["REASONS", "ArgumentError", "NtvlError", "PeerError", "UsageError"]

REASONS: Final[dict[str, str]] = {
    # bytes that are not what they claim to be
    "short": "fewer bytes than the format needs",
    "long": "more bytes than the format allows",
    "type": "unknown datagram type",
    "header": "reserved header bits set, or a field out of range",
    "format": "a field does not parse",
    "version": "a version that this program does not speak",
    # STUN
    "cookie": "STUN magic cookie missing, or a handshake cookie that is wrong",
    "transaction": "an answer to no question of ours",
    "integrity": "STUN MESSAGE-INTEGRITY or FINGERPRINT wrong",
    "no-address": "a STUN answer without an address",
    # sessions
    "unknown-session": "no session with that index",
    "authentication": "the seal does not open: wrong key or altered bytes",
    "replay": "a packet number seen before",
    "too-old": "a packet number behind the replay window",
    "expired": "a session past its lifetime",
    # handshakes and trust
    "mac1": "a handshake not meant for this node's key",
    "under-load": "a handshake without cookie while under load",
    "replayed-handshake": "a handshake initiation seen before",
    "signature": "a certificate that its community's key did not sign",
    "certificate-expired": "a certificate past its validity",
    "certificate-not-yet-valid": "a certificate before its validity",
    "certificate-key": "a certificate for another node key",
    "certificate-mac": "a certificate with a MAC that is not its key's",
    "unknown-community": "a community that this node is not in",
    "not-a-member": "a sender that is not registered",
    # directory
    "community-key": "a community of that name under another key: wrong secret",
    "address-taken": "an address that another node leases",
    "address-outside": "an address outside the community's subnet",
    "subnet-full": "no address left in the subnet",
    "subnet-differs": "another subnet than the community already has",
    "duplicate-node": "two running nodes with one key",
    "supernode-key": "a supernode that shows another key than the pinned one",
    # frames
    "mac-claimed": "a frame that claims another member's MAC",
    "address-claimed": "a frame that claims another member's address",
    "runt": "a frame shorter than an Ethernet header",
    "oversized": "a frame or datagram larger than the path carries",
    "incomplete": "a fragmented frame whose other parts did not come in time",
    # resources
    "queue-full": "a bounded queue was full",
    "rate": "a rate limit",
    "check-rate": "a check beyond what a node sends to addresses that nobody has confirmed",
    "check-host": "a check beyond what one host gets that does not answer",
    "no-path": "no way to reach the peer yet",
    "no-peer": "no member to send to",
    "send-failed": "the kernel refused the datagram",
    "write-failed": "the kernel refused the frame",
    "fault": "a bug in this program, survived; its log tells where",
    # relay
    "relay-source": "a relayed datagram from an address that holds no registration",
    "relay-target": "a relayed datagram for nobody",
    "unknown-channel": "TURN channel data on a channel that we did not bind",
    "no-permission": "data by a TURN server from a peer that we did not permit",
    "reflected": "our own datagram come back",
    # gateways
    "elsewhere": "an answer of a gateway that leads to another host",
}
"""Every reason for a drop, a refusal or a close, with its meaning; the only list."""


class NtvlError(Exception):
    """Is the root of all errors that ntvl raises on purpose."""


class UsageError(NtvlError):
    """Says in one sentence what our caller did wrong, why it is wrong and what to do."""


class ArgumentError(UsageError):
    """Says what is wrong with a value on the command line, in its environment or in a configuration: nothing was begun,
    and to ask for the same again is in vain.
    """


class PeerError(NtvlError):
    """Names why input from elsewhere was dropped; count it under `reason` and go on.

    Args:
        reason: a key of `REASONS`.
        detail: words for a log, never trusted, never needed for a decision.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
