"""From the network to TAPs: whose datagrams these are, what is under their seals, and which frames that makes."""

from typing import Final

from cryptography.exceptions import InvalidTag

from ntvl.dataplane.guard import check_sender
from ntvl.dataplane.hub import NEVER, Buffers, Hub
from ntvl.dataplane.joiner import RUN_AGE_S
from ntvl.dataplane.outbound import Outbound
from ntvl.dataplane.peer import Device, Peer
from ntvl.dataplane.train import split_by_prefix
from ntvl.errors import PeerError
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import HEADER_BYTES, RELAY_HEADER_BYTES, TAG_BYTES, Kind, is_stun, parse_relay
from ntvl.wire.plaintext import (
    BUNDLE,
    FRAGMENT,
    FRAME,
    FRAME_BUFFER_MIN,
    PIECE,
    parse_bundle,
    parse_fragment,
)
from ntvl.wire.vnet import GSO_ECN, GSO_NONE, GSO_UDP, SUPER_BYTES_MAX, cut_super_frame

__all__ = ["Inbound"]

REASSEMBLING_MAX: Final = 64
"""So many peers may have jumbo frames in the making at once."""

_OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES
_DATA: Final = int(Kind.DATA)
_RELAY: Final = int(Kind.RELAY)
_DATA_START: Final = bytes((Kind.DATA, 0, 0, 0))
_UNKNOWN: Final = (None, None)
_CONTROL_KINDS: Final = frozenset(int(kind) for kind in Kind if kind not in (Kind.DATA, Kind.RELAY))


class Inbound:
    """Takes trains; queues frames, relayed trains and control datagrams on the hub.

    Attributes:
        is_relay: whether RELAY datagrams are forwarded (supernode) or opened (node).
    """

    __slots__ = ("_count", "_hub", "_outbound", "_reassembling", "_runs", "is_relay")

    def __init__(self, hub: Hub, outbound: Outbound, *, is_relay: bool) -> None:
        self._hub = hub
        self._outbound = outbound
        self._count = hub.reporter.count
        self._runs: dict[Peer, float] = {}
        self._reassembling: set[Peer] = set()
        self.is_relay = is_relay

    def handle_datagram(self, data: bytes, socket: int, address: Address, now: float) -> tuple[int, bytes] | None:
        """Takes one datagram by the shortest way there is; returns (device, frame with virtio header) for the TAP.

        As `Outbound.handle_frame`: the common case, one frame from a peer in order and by certificate, is all here. For
        any other it returns None and queues what comes of it as `handle_train` does.
        """
        if len(data) >= _OVERHEAD_BYTES and data.startswith(_DATA_START):
            session, peer = self._hub.sessions.get(int.from_bytes(data[4:8], "big"), _UNKNOWN)
            if session is not None and peer is not None and session.confirmed:
                window = session.window
                number = int.from_bytes(data[8:16], "big")
                if number == window.top + 1 and not (peer.joiner is not None and peer.joiner.is_open):
                    try:
                        plain = session.decrypt(data[4:16], data[16:], None)
                    except InvalidTag:
                        self._count("authentication")
                        return None
                    window.seen[number & window.mask] = 1
                    window.top = number
                    self._hub.notes.append((peer, len(data), address, socket, now))
                    if len(plain) <= FRAME_BUFFER_MIN or plain[0] != FRAME or plain[2] != GSO_NONE:
                        self.deliver(peer, [plain], now)
                        return None
                    frame = plain[1:]
                    device = peer.device
                    if device.table.vouched.get(frame[16:24] + frame[36:40]) is not peer:
                        try:
                            check_sender(device, peer, frame, now)
                        except PeerError as error:
                            self._count(error.reason)
                            return None
                    return device.handle, frame
        self.handle_train(data, 0, socket, address, now)
        return None

    def handle_train(self, buffer: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        """Takes what one receive gave: datagrams of `segment_bytes` in a row (the last may be shorter).

        Args:
            segment_bytes: as UDP_GRO says; 0 where `buffer` is one datagram.
            address: host and port of the sender, as the socket gives them.
        """
        size = len(buffer)
        if 0 < segment_bytes < size:
            for part in split_by_prefix(buffer, segment_bytes, RELAY_HEADER_BYTES if self.is_relay else 8):
                self._handle_part(part, segment_bytes, socket, address, now)
        elif size:
            self._handle_part(buffer, size, socket, address, now)

    # All datagrams of a part have the first 8 bytes in common; those of a relayed part, or at a relay, 8 or 12 more.

    def _handle_part(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        kind = part[0]
        if kind == _DATA:
            self._handle_data(part, segment_bytes, socket, address, None, now)
        elif kind == _RELAY:
            if self.is_relay:
                self._forward(part, segment_bytes, socket, address, now)
                return
            for same in split_by_prefix(part, segment_bytes, RELAY_HEADER_BYTES + 8):
                self._handle_relayed(same, segment_bytes, socket, address, now)
        elif kind in _CONTROL_KINDS or is_stun(part):
            for start in range(0, len(part), segment_bytes):
                self._hub.reporter.control(part[start : start + segment_bytes], address, socket, None)
        else:
            self._count("type", -(-len(part) // segment_bytes))

    def _handle_relayed(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        try:
            relay = parse_relay(part)
        except PeerError as error:
            self._count(error.reason, -(-len(part) // segment_bytes))
            return
        kind = part[RELAY_HEADER_BYTES]
        if kind == _DATA:
            self._handle_data(part, segment_bytes, socket, address, relay, now)
            return
        for start in range(0, len(part), segment_bytes):
            datagram = part[start + RELAY_HEADER_BYTES : start + segment_bytes]
            if kind in _CONTROL_KINDS or is_stun(datagram):
                self._hub.reporter.control(datagram, address, socket, relay)
            else:
                self._count("type")

    def _forward(self, part: bytes, segment_bytes: int, socket: int, address: Address, now: float) -> None:
        try:
            train, left_out = self._hub.relay.forward(part, segment_bytes, socket, address, now)
        except PeerError as error:
            self._count(error.reason, -(-len(part) // segment_bytes))
            if error.reason == "relay-source":
                self._hub.reporter.unknown(address, 0, socket, None, now)
            return
        if left_out:
            self._count("rate", left_out)
        if train is not None:
            self._hub.sends.append(train)
            self._hub.reporter.touch_counters(now)

    def _handle_data(
        self, part: bytes, segment_bytes: int, socket: int, address: Address, relay: Relay | None, now: float
    ) -> None:
        skip = 0 if relay is None else RELAY_HEADER_BYTES
        least = skip + _OVERHEAD_BYTES
        size = len(part)
        last = size % segment_bytes or segment_bytes
        if last < least:
            # A sender of ours never makes one; the rest of the train may still be fine.
            self._count("short")
            size -= last
            if size == 0:
                return
            part = part[:size]
            if segment_bytes < least:
                self._count("short", size // segment_bytes)
                return
        if part[skip + 1] or part[skip + 2] or part[skip + 3]:
            self._count("header", -(-size // segment_bytes))
            return
        index = int.from_bytes(part[skip + 4 : skip + 8], "big")
        known = self._hub.sessions.get(index)
        if known is None:
            self._refuse(index, -(-size // segment_bytes), socket, address, relay, now)
            return
        session, peer = known
        plains = session.open_train(part, segment_bytes, skip) if size > segment_bytes else None
        if plains is None:
            plains = []
            for start in range(0, size, segment_bytes):
                try:
                    plains.append(session.open(part[start : start + segment_bytes], skip))
                except PeerError as error:
                    self._count(error.reason)
            if not plains:
                return
        peer.rx_bytes += size - skip * -(-size // segment_bytes)
        peer.rx_packets += len(plains)
        peer.note_path(address, socket, relay, len(plains), now)
        self._hub.reporter.touch(peer, now)
        if not session.confirmed:
            self._outbound.confirm(session, peer, now)
        self.deliver(peer, plains, now)

    def _refuse(self, index: int, count: int, socket: int, address: Address, relay: Relay | None, now: float) -> None:
        if self._hub.is_ours(index):
            self._count("reflected", count)
            return
        self._count("unknown-session", count)
        self._hub.reporter.unknown(address, index, socket, relay, now)

    def deliver(self, peer: Peer, plains: list[bytes], now: float) -> None:
        """Takes what was under the seals of a peer's datagrams, in order."""
        joiner = peer.joiner
        assert joiner is not None
        position, count = 0, len(plains)
        while position < count:
            plain = plains[position]
            position += 1
            if not plain:
                self._count("short")
                continue
            kind = plain[0]
            if kind == PIECE:
                if not joiner.append(plain):
                    self._open_run(peer, plain, now)
                if position + 1 < count and not joiner.is_complete:
                    position += joiner.extend(plains[position:])
                if joiner.is_complete:
                    self._close_run(peer)
                continue
            if joiner.is_open:
                self._close_run(peer)
            try:
                if kind == FRAME:
                    self._accept(peer, plain[1:], now)
                elif kind == BUNDLE:
                    for buffer in parse_bundle(plain):
                        self._accept(peer, buffer, now)
                elif kind == FRAGMENT:
                    self._reassemble(peer, plain, now)
                else:
                    self._count("type")
            except PeerError as error:
                self._count(error.reason)

    def _accept(self, peer: Peer, buffer: bytes, now: float) -> None:
        if not FRAME_BUFFER_MIN <= len(buffer) <= SUPER_BYTES_MAX:
            self._count("runt" if len(buffer) < FRAME_BUFFER_MIN else "oversized")
            return
        try:
            check_sender(peer.device, peer, buffer, now)
        except PeerError as error:
            self._count(error.reason)
            return
        self.write(peer.device, [buffer])

    def write(self, device: Device, buffers: Buffers) -> None:
        """Queues one frame for the TAP."""
        if buffers[0][1] & ~GSO_ECN == GSO_UDP and not device.writes_uso:
            try:
                for frame in cut_super_frame(b"".join(buffers)):
                    self._hub.writes.append((device.handle, [frame]))
            except PeerError as error:
                self._count(error.reason)
            return
        self._hub.writes.append((device.handle, buffers))

    def _open_run(self, peer: Peer, plain: bytes, now: float) -> None:
        joiner = peer.joiner
        assert joiner is not None
        if joiner.is_open:
            self._close_run(peer)
        try:
            check_sender(peer.device, peer, joiner.open(plain), now)
        except PeerError as error:
            joiner.close()
            self._count(error.reason)
            return
        if not joiner.is_complete:
            self._runs[peer] = now + RUN_AGE_S

    def _close_run(self, peer: Peer) -> None:
        self._runs.pop(peer, None)
        buffers = peer.joiner.close() if peer.joiner is not None else []
        if buffers:
            self.write(peer.device, buffers)

    def _reassemble(self, peer: Peer, plain: bytes, now: float) -> None:
        reassembly = peer.reassembly
        assert reassembly is not None
        if len(self._reassembling) >= REASSEMBLING_MAX and peer not in self._reassembling:
            self._count("queue-full")
            return
        self._reassembling.add(peer)
        self._hub.sweep_by(now + 1.0)
        try:
            buffer = reassembly.add(parse_fragment(plain), now)
        finally:
            if reassembly.incomplete:
                self._count("incomplete", reassembly.incomplete)
                reassembly.incomplete = 0
        if buffer is not None:
            self._accept(peer, buffer, now)

    # --- time, and peers that go ---

    @property
    def is_joining(self) -> bool:
        """Returns whether part of a super-frame waits for the rest."""
        return bool(self._runs)

    @property
    def due_at(self) -> float:
        """Returns when `close_runs` has something to do, infinity for not before something comes."""
        return min(self._runs.values(), default=NEVER)

    def close_runs(self, now: float) -> None:
        """Delivers, as far as they are there, the super-frames that have waited long enough for the rest."""
        if self._runs:
            for peer in [peer for peer, at in self._runs.items() if at <= now]:
                self._close_run(peer)

    def sweep(self, now: float) -> bool:
        """Gives up old fragments; returns whether some still wait."""
        for peer in list(self._reassembling):
            reassembly = peer.reassembly
            if reassembly is None:
                continue
            reassembly.expire(now)
            if reassembly.incomplete:
                self._count("incomplete", reassembly.incomplete)
                reassembly.incomplete = 0
            if not len(reassembly):
                self._reassembling.discard(peer)
        return bool(self._reassembling)

    def forget(self, peer: Peer) -> None:
        """Delivers nothing more of a peer."""
        self._runs.pop(peer, None)
        self._reassembling.discard(peer)
