"""What an engine remembers of a peer and of a device: sessions, ways, frames that wait, counts.

A peer is made for every member of a community, most of whom never say a word, so everything but the bare minimum is
made when it is first needed.
"""

from collections import deque
from typing import Final

from ntvl.dataplane.interface import Activity, InstallSession, PathActivity, Target
from ntvl.dataplane.joiner import Reassembly, RunJoiner
from ntvl.dataplane.packer import Packer
from ntvl.dataplane.session import Session
from ntvl.dataplane.table import Table
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import RELAY_HEADER, Kind

__all__ = [
    "PATHS_MAX",
    "QUEUE_AGE_S",
    "QUEUE_BYTES_MAX",
    "QUEUE_FRAMES_MAX",
    "SESSIONS_MAX",
    "Device",
    "Peer",
    "Way",
]

QUEUE_FRAMES_MAX: Final = 64
QUEUE_BYTES_MAX: Final = 256 * 1024
QUEUE_AGE_S: Final = 5.0
SESSIONS_MAX: Final = 4
PATHS_MAX: Final = 8
"""So many ways by which a peer's datagrams came are remembered, the latest."""


class Way:
    """Is a `Target` made ready for sending: `prefix` goes before every datagram."""

    __slots__ = ("address", "prefix", "socket")

    def __init__(self, target: Target) -> None:
        self.address = Address(target.host, target.port)
        self.socket = target.socket
        self.prefix = b"" if target.relay is None else RELAY_HEADER.pack(Kind.RELAY, *target.relay)


class Peer:
    """Is a member as the engine sees it."""

    __slots__ = (
        "addresses",
        "certified",
        "device",
        "handle",
        "joiner",
        "last_tx",
        "macs",
        "packer",
        "paths",
        "queue",
        "queue_bytes",
        "reassembly",
        "rx_bytes",
        "rx_packets",
        "sender",
        "sessions",
        "tx_bytes",
        "tx_packets",
        "wanted_at",
        "ways",
    )

    def __init__(self, handle: int, device: "Device") -> None:
        self.handle = handle
        self.device = device
        self.macs: tuple[bytes, ...] = ()
        self.addresses: tuple[str, ...] = ()
        self.certified = False
        self.sessions: list[Session] | tuple[()] = ()
        self.sender: Session | None = None
        self.ways: tuple[Way, ...] = ()
        self.queue: deque[tuple[float, bytes]] | None = None
        self.queue_bytes = 0
        self.wanted_at = float("-inf")
        self.packer: Packer | None = None
        self.joiner: RunJoiner | None = None
        self.reassembly: Reassembly | None = None
        self.paths: dict[tuple[Address, int, Relay | None], list[float]] | None = None
        self.rx_bytes = self.rx_packets = self.tx_bytes = self.tx_packets = 0
        self.last_tx = 0.0

    def install(self, command: InstallSession) -> tuple[Session, Session | None]:
        """Adds a session; returns it and the one that had to go for it, if any."""
        session = Session(
            command.cipher,
            command.send_index,
            command.receive_index,
            command.send_key,
            command.receive_key,
            command.confirmed,
        )
        if not isinstance(self.sessions, list):
            self.sessions = []
            self.packer = Packer()
            self.joiner = RunJoiner()
            self.reassembly = Reassembly()
            self.paths = {}
        self.sessions.append(session)
        gone = self.sessions.pop(0) if len(self.sessions) > SESSIONS_MAX else None
        self.choose_sender()
        return session, gone

    def retire(self, session: Session) -> None:
        """Forgets a session."""
        self.sessions = [other for other in self.sessions if other is not session]
        self.choose_sender()

    def choose_sender(self) -> None:
        """Has the newest session that may send do so."""
        self.sender = next((s for s in reversed(self.sessions) if s.confirmed and not s.exhausted), None)

    def note_path(self, address: Address, socket: int, relay: Relay | None, packets: int, now: float) -> None:
        """Counts datagrams that opened and came by one way."""
        paths = self.paths
        if paths is None:
            return
        key = (address, socket, relay)
        entry = paths.get(key)
        if entry is None:
            if len(paths) >= PATHS_MAX:
                del paths[min(paths, key=lambda known: paths[known][0])]
            entry = paths[key] = [now, 0]
        entry[0] = now
        entry[1] += packets

    def activity(self) -> Activity:
        """Returns the counts as they are now."""
        return Activity(
            peer=self.handle,
            rx_bytes=self.rx_bytes,
            tx_bytes=self.tx_bytes,
            rx_packets=self.rx_packets,
            tx_packets=self.tx_packets,
            last_tx=self.last_tx,
            session_packets=self.sender.number if self.sender is not None else 0,
            paths=tuple(
                PathActivity(
                    # The way back: what we would prefix names the receiver first, who was the sender here.
                    Target(host, port, socket, None if relay is None else (relay.source, relay.target)),
                    last_rx,
                    int(packets),
                )
                for ((host, port), socket, relay), (last_rx, packets) in (self.paths or {}).items()
            ),
        )


class Device:
    """Is a TAP as the forwarder sees it: its table, and the peers behind it."""

    __slots__ = ("handle", "mac", "name", "peers", "table", "writes_uso")

    def __init__(self, handle: int, name: str, mac: bytes) -> None:
        self.handle = handle
        self.name = name
        self.mac = mac
        self.table: Table[Peer] = Table(mac)
        self.peers: dict[int, Peer] = {}
        self.writes_uso = True
        """Whether the kernel takes UDP super-frames; else they are cut before they are written."""
