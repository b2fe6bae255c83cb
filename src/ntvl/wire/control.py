"""Control messages: msgpack arrays behind an integer tag, sealed inside CONTROL datagrams.

A message is one frozen struct. Fields are only ever appended, with defaults: an older reader ignores what it does not
know, a newer one fills in what is missing. An unknown tag is answered with `Unsupported`. Text and lists are bounded
here, so nothing behind this module meets an absurd size.

Supernode and node speak tags 1..19, two peers 20..39, either 40 and up.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ntvl.errors import PeerError
from ntvl.wire.header import CONTROL_BYTES_MAX, HEADER_BYTES, TAG_BYTES

__all__ = [
    "AIM_PORTS_MAX",
    "MESSAGE_BYTES_MAX",
    "PROTOCOL_VERSION",
    "UNKNOWN_NAT",
    "Aim",
    "Answer",
    "Bye",
    "Candidate",
    "Confirm",
    "Dial",
    "Fire",
    "Found",
    "Keepalive",
    "KeepaliveReply",
    "Leave",
    "Left",
    "Lookup",
    "Member",
    "Message",
    "Nat",
    "Offer",
    "Probe",
    "ProbeReply",
    "PunchReply",
    "PunchRequest",
    "Record",
    "Records",
    "RecordsRequest",
    "Refused",
    "Register",
    "Registered",
    "Roster",
    "RosterRequest",
    "Unsupported",
    "build_message",
    "parse_message",
]

PROTOCOL_VERSION: Final = 1
AIM_PORTS_MAX: Final = 64
"""Ports that a node lets its peer aim at: one packet each."""
MESSAGE_BYTES_MAX: Final = CONTROL_BYTES_MAX - 12 - HEADER_BYTES - TAG_BYTES
"""Largest message: a CONTROL datagram holds it with header, tag and relay prefix."""

Text = Annotated[str, Meta(max_length=256)]
Name = Annotated[str, Meta(max_length=63)]
Host = Annotated[str, Meta(max_length=45)]
Cidr = Annotated[str, Meta(max_length=49)]
Word = Annotated[str, Meta(max_length=32)]
Port = Annotated[int, Meta(ge=1, le=65535)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
U63 = Annotated[int, Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Incarnation = Annotated[bytes, Meta(min_length=8, max_length=8)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e11)]
"""Keeps out not-a-number and infinity too, which would never end a comparison."""
CertificateBytes = Annotated[bytes, Meta(min_length=1, max_length=800)]


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Is the base of every message: immutable, encoded as an array, tag first."""


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """Is one address at which a node may be reached (RFC 8445 section 5.1.1).

    `kind` is "host", "srflx", "prflx", "mapped" or "relay"; `priority` as in RFC 8445 section 5.1.2.1.
    """

    kind: Annotated[str, Meta(max_length=16)]
    host: Host
    port: Port
    priority: U32 = 0


class Nat(msgspec.Struct, frozen=True, array_like=True):
    """Is what a node knows of the NATs in front of it, in the words of `ntvl.nat`; "" where it does not know.

    `step` is the distance of two sequential ports, negative where they count down. New ports of a random allocation lie
    in `low`..`high`.
    """

    mapping: Word = ""
    filtering: Word = ""
    allocation: Word = ""
    step: Annotated[int, Meta(ge=-65535, le=65535)] = 0
    low: Port = 1024
    high: Port = 65535


UNKNOWN_NAT: Final = Nat()
"""Nothing is known."""


class Member(msgspec.Struct, frozen=True, array_like=True):
    """Is a roster entry, as the supernode claims it: believed only after the certificate in the handshake."""

    node: Key
    relay_id: U32
    name: Name = ""
    addresses: Annotated[tuple[Cidr, ...], Meta(max_length=8)] = ()


class Register(_Message, frozen=True, tag=1):
    """Asks for membership of one community and, if `lease` says so, an address.

    `lease` is "auto" (any address; `address` is a wish), "static" (`address` or nothing) or "none" (dhcp, or no IPv4).
    `incarnation` is drawn at each start of the node, so that two machines with one key are noticed.
    """

    request: U32
    certificate: CertificateBytes
    incarnation: Incarnation
    lease: Annotated[str, Meta(max_length=8)] = "auto"
    address: Cidr = ""
    subnet: Cidr = ""
    version: int = PROTOCOL_VERSION


class Registered(_Message, frozen=True, tag=2):
    """Grants membership: the relay id, the leased address ("10.77.0.5/16" or ""), and how the node looks from here."""

    request: U32
    community: Key
    relay_id: U32
    address: Cidr
    observed_host: Host
    observed_port: Port
    roster_version: U63
    server_time: Seconds
    keepalive_s: Annotated[float, Meta(ge=0.1, le=300.0)] = 20.0


class Refused(_Message, frozen=True, tag=3):
    """Refuses a `Register` or ends a membership: `reason` out of `errors.REASONS`, `detail` in words."""

    request: U32
    community: Key
    reason: Annotated[str, Meta(max_length=40)]
    detail: Text = ""
    server_time: Seconds = 0.0


class Keepalive(_Message, frozen=True, tag=4):
    """Keeps the mapping, the lease and the registrations alive; names the communities and roster versions held."""

    request: U32
    incarnation: Incarnation
    communities: Annotated[tuple[tuple[Key, U63], ...], Meta(max_length=16)] = ()


class KeepaliveReply(_Message, frozen=True, tag=5):
    """Answers a `Keepalive`; `unknown` lists communities to register for again, `versions` the rosters as of now."""

    request: U32
    observed_host: Host
    observed_port: Port
    server_time: Seconds
    versions: Annotated[tuple[tuple[Key, U63], ...], Meta(max_length=16)] = ()
    unknown: Annotated[tuple[Key, ...], Meta(max_length=16)] = ()


class RosterRequest(_Message, frozen=True, tag=6):
    """Asks for what changed in a community since a version (0: everything)."""

    community: Key
    since: U63 = 0


class Roster(_Message, frozen=True, tag=7):
    """Tells joins and leaves that lead from version `since` to `version`.

    A change too large for one message comes in several: each leads one step further, so any prefix of them is valid.
    `since` 0 starts from nothing. A receiver whose version is not `since` asks again with its own.
    """

    community: Key
    since: U63
    version: U63
    joined: Annotated[tuple[Member, ...], Meta(max_length=64)] = ()
    left: Annotated[tuple[Key, ...], Meta(max_length=64)] = ()


class Lookup(_Message, frozen=True, tag=8):
    """Asks who has an address, MAC, name or node key: `by` is "address", "mac", "name" or "node", `value` its text."""

    request: U32
    community: Key
    by: Annotated[str, Meta(max_length=8)]
    value: Text


class Found(_Message, frozen=True, tag=9):
    """Answers a `Lookup`: the members that match (names may repeat), at most 8, and the first one's certificate."""

    request: U32
    community: Key
    members: Annotated[tuple[Member, ...], Meta(max_length=8)] = ()
    certificate: Annotated[bytes, Meta(max_length=800)] = b""


class Leave(_Message, frozen=True, tag=10):
    """Ends a membership at once; the lease stays the node's for its time."""

    request: U32
    community: Key


class Left(_Message, frozen=True, tag=11):
    """Answers a `Leave`."""

    request: U32
    community: Key


class PunchRequest(_Message, frozen=True, tag=12):
    """Asks a supernode for leave to punch heavily with another member; `done`, which has no answer, gives it back.

    `hosts` are the public IPv4 addresses that the punch goes between: the supernode may see the two elsewhere.
    """

    request: U32
    community: Key
    peer: Key
    done: bool = False
    hosts: Annotated[tuple[Host, ...], Meta(max_length=2)] = ()


class PunchReply(_Message, frozen=True, tag=13):
    """Answers a `PunchRequest`: `wait_s` 0 is leave, for 15 s; else another punch is under way behind one of their
    public addresses, and the sender may ask again after so many seconds.
    """

    request: U32
    wait_s: Annotated[float, Meta(ge=0.0, le=60.0)]


class Confirm(_Message, frozen=True, tag=20):
    """Is the initiator's first message under a new session: the responder may now send under it, and does so at once,
    with a `Confirm` of its own.
    """


class _Candidates(_Message, frozen=True):
    attempt: U32
    ufrag: Annotated[str, Meta(min_length=4, max_length=32)]
    password: Annotated[str, Meta(min_length=22, max_length=64)]
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=24)] = ()
    nat: Nat = UNKNOWN_NAT
    guesses: bool = True
    udp: bool = True


class Offer(_Candidates, frozen=True, tag=21):
    """Opens an attempt at a direct path: credentials for checks (RFC 8445 section 5.3) and where the sender may be."""


class Answer(_Candidates, frozen=True, tag=22):
    """Answers an `Offer` with the same of the other side; the offerer measures the round trip by it."""


class Fire(_Message, frozen=True, tag=23):
    """Starts the checks: its receiver at once, its sender half a round trip after sending. `heavy`: those of a heavy
    technique, for which the sender has leave.
    """

    attempt: U32
    heavy: bool = False


class Aim(_Message, frozen=True, tag=30):
    """Tells at which of the sender's ports to aim: `count` of them, each `step` after the one before, after `port`."""

    attempt: U32
    port: Port
    step: Annotated[int, Meta(ge=-65535, le=65535)]
    count: Annotated[int, Meta(ge=1, le=AIM_PORTS_MAX)]


class Dial(_Message, frozen=True, tag=31):
    """Tells from where the sender opens TCP connections, and where it takes them, in an attempt."""

    attempt: U32
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=24)] = ()


class Probe(_Message, frozen=True, tag=24):
    """Asks for a `ProbeReply` over the path that it came by; `nominates`: the controlling side has chosen that path."""

    id: U63
    nominates: bool = False


class ProbeReply(_Message, frozen=True, tag=25):
    """Answers a `Probe`."""

    id: U63


class Bye(_Message, frozen=True, tag=26):
    """Says that the sender leaves; the session ends on both sides."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """Is what one technique, in one attempt, came to at the sender's end; what a peer writes here is for people only.

    `attempt` is the offer's number, equal at both ends. `aims` are the first addresses that were sent to, of kind
    "guess" where many ports of a host were tried; `answered` is the one that a path was confirmed with, `observed`
    where the receiver's checks came from.
    """

    attempt: U32
    technique: Word
    verdict: Word
    age_s: Seconds
    took_s: Seconds
    packets: U32
    detail: Annotated[str, Meta(max_length=80)] = ""
    aims: Annotated[tuple[Candidate, ...], Meta(max_length=4)] = ()
    answered: Annotated[tuple[Candidate, ...], Meta(max_length=1)] = ()
    observed: Annotated[tuple[Candidate, ...], Meta(max_length=4)] = ()


class RecordsRequest(_Message, frozen=True, tag=27):
    """Asks for `Records`: what came of the attempts at a direct path at the other end."""

    id: U63


class Records(_Message, frozen=True, tag=28):
    """Answers a `RecordsRequest`.

    `path` is how the sender reaches the receiver ("direct", "turn", "relay", "none") and `technique` what made it;
    `state` is "trying", "waiting" (`retry_s` until the next attempt), "idle" or "off" (no direct paths here); `udp` is
    "yes", "no" or "" where it is not known whether UDP gets out. `records` are the last, oldest first, as many as fit.
    """

    id: U63
    path: Word = ""
    technique: Word = ""
    state: Word = ""
    retry_s: Seconds = 0.0
    udp: Word = ""
    nat: Nat = UNKNOWN_NAT
    candidates: Annotated[tuple[Candidate, ...], Meta(max_length=8)] = ()
    records: Annotated[tuple[Record, ...], Meta(max_length=8)] = ()


class Unsupported(_Message, frozen=True, tag=40):
    """Says that a message's tag is unknown here."""

    tag: int


Message = (
    Register
    | Registered
    | Refused
    | Keepalive
    | KeepaliveReply
    | RosterRequest
    | Roster
    | Lookup
    | Found
    | Leave
    | Left
    | PunchRequest
    | PunchReply
    | Confirm
    | Offer
    | Answer
    | Fire
    | Aim
    | Dial
    | Probe
    | ProbeReply
    | Bye
    | RecordsRequest
    | Records
    | Unsupported
)

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Message)
_TAG_DECODER: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on hostile bytes: text that is not UTF-8 comes out as itself."""
_KNOWN_TAGS: Final = frozenset((*range(1, 14), *range(20, 29), 30, 31, 40))


def build_message(message: Message) -> bytes:
    """Returns the encoded message, at most `MESSAGE_BYTES_MAX` bytes.

    Raises:
        ValueError: too large; the caller built it wrongly.
    """
    data = _ENCODER.encode(message)
    if len(data) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a {type(message).__name__} of {len(data)} bytes is over {MESSAGE_BYTES_MAX}")
    return data


def parse_message(data: bytes | memoryview) -> Message | int:
    """Returns the message, or the bare tag where it is one that this program does not know (answer `Unsupported`).

    Args:
        data: one opened CONTROL body, any bytes.
    Raises:
        PeerError: reason "long" or "format"; count it and drop the message.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise PeerError("long")
    try:
        message: Message = _DECODER.decode(data)
        return message
    except _UNREADABLE as error:
        tag = _parse_tag(data)
        if tag is not None and tag not in _KNOWN_TAGS:
            return tag
        raise PeerError("format", str(error)) from error


def _parse_tag(data: bytes | memoryview) -> int | None:
    try:
        parts = _TAG_DECODER.decode(data)
        tag = msgspec.msgpack.decode(parts[0]) if parts else None
    except _UNREADABLE:
        return None
    return tag if type(tag) is int and 0 <= tag <= 0xFFFF else None
