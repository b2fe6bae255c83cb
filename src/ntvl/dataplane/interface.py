"""The border between the control plane, which decides, and the data plane, which repeats.

Commands go down and events come up, both in batches of frozen structs, so the border can be a function call
(simulator), a socket pair to a process of its own (the Python engine in production) or a queue into native threads,
with the same meaning. An engine never waits for the control plane: what it cannot do without it (no session yet,
unknown sender) it queues within bounds or drops and counts.

Handles are numbers that the control plane gives out: `device` for a TAP, `peer` for one member of one community. An
engine forgets a handle when told to and never invents one. All commands are idempotent; one that names an unknown
handle is ignored and counted as "no-peer".
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ntvl.wire.address import Transmit

__all__ = [
    "Activity",
    "AddPeer",
    "CloseDevice",
    "CloseSocket",
    "Command",
    "ConfirmSession",
    "ControlDatagram",
    "Counters",
    "DataPlane",
    "DeviceClosed",
    "DeviceOpened",
    "Event",
    "InstallSession",
    "OpenDevice",
    "OpenSocket",
    "PathActivity",
    "RelayMember",
    "RemovePeer",
    "RemoveRelayMember",
    "RetireSession",
    "SendDatagram",
    "SetAddresses",
    "SetPath",
    "SocketOpened",
    "Target",
    "UnknownSender",
    "Wanted",
]


class _Struct(msgspec.Struct, frozen=True, array_like=True):
    pass


class Target(_Struct, frozen=True):
    """Is one way to a peer: a socket (0: the main port, others by `OpenSocket`), an address, and the relay ids (target,
    source) to prefix.
    """

    host: str
    port: int
    socket: int = 0
    relay: tuple[int, int] | None = None


# --- commands: control plane to data plane ---


class OpenDevice(_Struct, frozen=True, tag=1):
    """Creates the TAP `name` with `mac` (6 bytes) and `mtu`, down; answered by `DeviceOpened` or `DeviceClosed`."""

    device: int
    name: str
    mac: bytes
    mtu: int


class CloseDevice(_Struct, frozen=True, tag=2):
    """Removes a device with all its peers and sessions."""

    device: int


class AddPeer(_Struct, frozen=True, tag=3):
    """Makes a member known, or replaces what is known: frames for `macs` and broadcasts go to it.

    `certified` False: the supernode's claim; frames may queue for the peer, nothing may be learned against a certified
    one. `certified` True: the peer's certificate says so; frames from anybody else with these MACs or addresses are
    dropped. If certified MACs differ from those claimed before, frames queued for the peer are dropped. `addresses` are
    literals without prefix length.
    """

    peer: int
    device: int
    macs: tuple[bytes, ...]
    addresses: tuple[str, ...]
    certified: bool


class RemovePeer(_Struct, frozen=True, tag=4):
    """Forgets a peer, its sessions, its learned MACs and its queue."""

    peer: int


class InstallSession(_Struct, frozen=True, tag=5):
    """Adds a session to a peer. `cipher` is "aes256gcm" or "chacha20poly1305", keys 32 bytes.

    Datagrams for `receive_index` open with `receive_key`; ours are sealed with `send_key` for the peer's
    `send_index`. `confirmed` False (we answered the handshake): receive only, until a datagram opens under it or
    `ConfirmSession`. The newest confirmed session sends. At most 4 sessions a peer are kept, the oldest goes. Frames
    queued for the peer are sent.
    """

    peer: int
    cipher: str
    send_index: int
    receive_index: int
    send_key: bytes
    receive_key: bytes
    confirmed: bool


class ConfirmSession(_Struct, frozen=True, tag=6):
    """Lets an unconfirmed session send."""

    receive_index: int


class RetireSession(_Struct, frozen=True, tag=7):
    """Forgets a session and its keys."""

    receive_index: int


class SetPath(_Struct, frozen=True, tag=8):
    """Sets the ways to a peer: each datagram goes to all of them (one: the path; two: in doubt; none: queue)."""

    peer: int
    targets: tuple[Target, ...]


class RelayMember(_Struct, frozen=True, tag=9):
    """Lets a registered node use the relay (supernode only), or updates where it is.

    Datagrams whose prefix names `relay_id` as source are taken from `host:port` only, and go to members with the same
    `community` number only. `rate_bps` bounds what it sends, 0 for no bound.
    """

    relay_id: int
    community: int
    host: str
    port: int
    rate_bps: int = 0


class RemoveRelayMember(_Struct, frozen=True, tag=10):
    """Takes a relay id back."""

    relay_id: int


class SetAddresses(_Struct, frozen=True, tag=11):
    """Tells our own addresses on a device (literals without prefix length), so that no peer's frame may claim them.

    Replaces what was told before. Without it only the device's MAC is protected against a peer that claims it.
    """

    device: int
    addresses: tuple[str, ...]


class OpenSocket(_Struct, frozen=True, tag=12):
    """Binds a UDP socket of its own to a port of the kernel's choice, for paths that the main port cannot take.

    `socket` is the number that targets name, 1..65535; `family` 4 or 6; answered by `SocketOpened`. What comes there
    is treated as what comes at the main port. Where the system has no more sockets, what is
    sent there is counted as "send-failed".
    """

    socket: int
    family: int


class CloseSocket(_Struct, frozen=True, tag=13):
    """Closes a socket; paths that use it lead nowhere."""

    socket: int


class SendDatagram(_Struct, frozen=True, tag=14):
    """Sends a control datagram from a socket that `OpenSocket` made; `ttl` as in `Transmit`."""

    socket: int
    host: str
    port: int
    data: bytes
    ttl: int = 0


Command = (
    OpenDevice
    | CloseDevice
    | AddPeer
    | RemovePeer
    | InstallSession
    | ConfirmSession
    | RetireSession
    | SetPath
    | RelayMember
    | RemoveRelayMember
    | SetAddresses
    | OpenSocket
    | CloseSocket
    | SendDatagram
)


# --- events: data plane to control plane ---


class ControlDatagram(_Struct, frozen=True, tag=1):
    """Is a datagram that is not DATA: STUN, handshake, CONTROL; a relay prefix comes apart as (target, source)."""

    data: bytes
    host: str
    port: int
    socket: int = 0
    relay: tuple[int, int] | None = None


class DeviceOpened(_Struct, frozen=True, tag=2):
    """Says that a TAP is there: its final name and the offloads that the kernel granted (csum, tso4, tso6, uso)."""

    device: int
    name: str
    offloads: tuple[str, ...]


class DeviceClosed(_Struct, frozen=True, tag=3):
    """Says that a TAP could not be made or went away: `reason` is a sentence, empty when closed as told."""

    device: int
    reason: str


class Wanted(_Struct, frozen=True, tag=4):
    """Says that frames wait for a peer without session or path; at most once a second a peer."""

    peer: int


class PathActivity(_Struct, frozen=True, array_like=True):
    """Tells when (engine's clock) a datagram that opened last came by one way, and how many have.

    `target` is the way back, as `SetPath` takes it: its relay ids are (the peer's, ours), though the datagrams that
    came had them the other way round.
    """

    target: Target
    last_rx: float
    packets: int


class Activity(_Struct, frozen=True, tag=5):
    """Tells what a peer moved since it was added; sent at most every 250 ms, and only after a change.

    Bytes are those of sealed datagrams, relay prefixes left out. `last_tx` 0 means never. `session_packets` counts
    those sent under the sending session, for rekeying by count.
    """

    peer: int
    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    last_tx: float
    session_packets: int
    paths: tuple[PathActivity, ...]


class UnknownSender(_Struct, frozen=True, tag=6):
    """Says that a datagram came for no session (`index`) or from no relay member (`index` 0); at most 10 a second.

    The control plane may answer with RESET, so that a peer that lost nothing learns that we did.
    """

    host: str
    port: int
    index: int
    socket: int = 0
    relay: tuple[int, int] | None = None


class Counters(_Struct, frozen=True, tag=7):
    """Carries everything counted so far: drops by reason, and totals; sent at most once a second, after a change."""

    drops: dict[str, int]
    relayed_packets: int
    relayed_bytes: int
    relay_members: dict[int, int]
    """Bytes relayed for each relay id that sent any, since its registration."""


class SocketOpened(_Struct, frozen=True, tag=8):
    """Says that a socket that `OpenSocket` asked for is there, and on which local port."""

    socket: int
    port: int


Event = ControlDatagram | DeviceOpened | DeviceClosed | Wanted | Activity | UnknownSender | Counters | SocketOpened


class DataPlane(Protocol):
    """Is an engine as the control plane sees it."""

    name: str
    """ "python" or "native"."""

    def apply(self, commands: Sequence[Command]) -> None:
        """Hands commands down, in order; returns at once."""

    def transmit(self, datagrams: Sequence[Transmit]) -> None:
        """Sends control datagrams from the engine's sockets; what the kernel refuses is counted, never raised."""

    def drain(self) -> list[Event]:
        """Returns the events that wait, oldest first; never blocks."""

    def fileno(self) -> int:
        """Returns a descriptor that is readable while `drain` has something."""

    def close(self) -> None:
        """Ends the engine: devices gone, sockets closed, threads and processes joined within 2 s."""
