"""What a node tells its runtime: facts to act on (addresses, keys), and facts for people."""

from dataclasses import dataclass

from ntvl.wire.address import Address
from ntvl.wire.control import Records

__all__ = [
    "AddressAssigned",
    "CarrierUnwanted",
    "CarrierWanted",
    "DialPortWanted",
    "DialUnwanted",
    "DialWanted",
    "Failed",
    "KeyLearned",
    "NodeEvent",
    "Notice",
    "PathChanged",
    "PeerGone",
    "PeerSeen",
    "PingReply",
    "SeenElsewhere",
    "StreamUnwanted",
    "SupernodeReached",
    "SupernodeState",
    "TurnPeersWanted",
    "WhyReply",
]


@dataclass(frozen=True, slots=True)
class AddressAssigned:
    """Tells the runtime to give a device exactly these addresses (CIDR text), and bring it up."""

    device: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CarrierWanted:
    """Tells the runtime to open a carrier to a supernode, in place of one of that kind: "tcp", "wss" or "proxy" (wss
    through the HTTP proxy); it answers by `Node.handle_carrier`, now and when the stream breaks.
    """

    url_index: int
    kind: str


@dataclass(frozen=True, slots=True)
class CarrierUnwanted:
    """Tells the runtime to close a carrier, without an answer."""

    url_index: int
    kind: str


@dataclass(frozen=True, slots=True)
class DialPortWanted:
    """Tells the runtime to bind a TCP port for dialling `number`, and to ask one of these servers as which address it
    sees it, at most 2 of IPv4; it answers by `Node.handle_dial_port`.
    """

    number: int
    servers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class DialWanted:
    """Tells the runtime to connect to these addresses from the port of a dialling, in this order, again and again, and
    to take connections from their hosts; each that opens is told by `Node.handle_stream`, and when it breaks by
    `Node.handle_stream_end`.
    """

    number: int
    remotes: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class DialUnwanted:
    """Tells the runtime to end a dialling; streams that are open stay."""

    number: int


@dataclass(frozen=True, slots=True)
class SeenElsewhere:
    """Tells the runtime that a supernode sees us at another address or port than before: a router may have started
    anew, so gateways and servers are worth a question whether they still know what we have of them.
    """

    url_index: int


@dataclass(frozen=True, slots=True)
class StreamUnwanted:
    """Tells the runtime to close the stream with this carrier, without an answer."""

    carrier: Address


@dataclass(frozen=True, slots=True)
class TurnPeersWanted:
    """Tells the runtime that these addresses of a peer, at most 8, shall reach us through our TURN server; it answers
    by `Node.handle_turn_carrier` for each, and for others that the peer comes from.
    """

    peers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class KeyLearned:
    """Tells the runtime to pin a supernode's key, seen for the first time."""

    url_index: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """Says one sentence to the person: `level` is "info", "warning" or "error", `code` a stable kebab-case word."""

    level: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Says that the node cannot go on: the runtime prints the sentence and ends with a non-zero status."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Says how a peer is reached from now on.

    `path` is "direct", "turn", "relay" or "none"; `remote` the peer's address when direct, and with "turn" as our TURN
    server sees it, or what the peer's lends; `via` the supernode's URL when relayed.
    """

    community: str
    peer: bytes
    name: str
    path: str
    remote: str
    via: str


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """Says that a member joined the community, as the supernode tells."""

    community: str
    peer: bytes
    name: str


@dataclass(frozen=True, slots=True)
class PeerGone:
    """Says that a member left the community, as every supernode tells."""

    community: str
    peer: bytes
    name: str


@dataclass(frozen=True, slots=True)
class PingReply:
    """Answers `Node.ping`: the round trip in seconds and the path that the reply took."""

    id: int
    rtt_s: float
    path: str
    remote: str


@dataclass(frozen=True, slots=True)
class WhyReply:
    """Answers `Explainer.ask` with the peer's records; without any, `silence` is "unsupported" or "no-session"."""

    id: int
    records: Records | None
    silence: str = ""


@dataclass(frozen=True, slots=True)
class SupernodeState:
    """Says what a supernode is to us now: "resolving", "connecting", "registered", "unreachable", "refused"."""

    url_index: int
    url: str
    state: str


@dataclass(frozen=True, slots=True)
class SupernodeReached:
    """Says over what a supernode is reached from now on.

    `way` is "udp", "tcp", "wss" or "proxy", for the runtime to remember; `over` and `before` say it for people, the
    latter what it was until now, empty for nothing.
    """

    url_index: int
    url: str
    way: str
    over: str
    before: str


NodeEvent = (
    AddressAssigned
    | CarrierUnwanted
    | CarrierWanted
    | DialPortWanted
    | DialUnwanted
    | DialWanted
    | KeyLearned
    | Notice
    | Failed
    | PathChanged
    | PeerSeen
    | PeerGone
    | PingReply
    | SeenElsewhere
    | StreamUnwanted
    | WhyReply
    | SupernodeReached
    | SupernodeState
    | TurnPeersWanted
)
