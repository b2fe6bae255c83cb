"""The lane for bulk: super-frames out and in without a copy in Python; see `slots` for where their bytes lie.

It takes only what is exactly as it should be: a super-frame of the shape that its slots were made for, to a known
peer on one path; a train that is one whole super-frame, in order, under a confirmed session. Anything else it leaves,
unchanged, to `Outbound` and `Inbound`, which do the same at more cost. What it gives lies in its own buffers and must
be sent or written before it is used again.
"""

from itertools import repeat
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from ntvl.dataplane.guard import check_sender
from ntvl.dataplane.hub import Hub
from ntvl.dataplane.inbound import Inbound
from ntvl.dataplane.session import NUMBER_MAX
from ntvl.dataplane.slots import FrameSlots, PlainSlots, TrainSlots, consume
from ntvl.dataplane.train import TRAIN_BYTES_MAX, TRAIN_SEGMENTS_MAX, Train
from ntvl.errors import PeerError
from ntvl.wire.address import Address, Relay
from ntvl.wire.header import HEADER_BYTES, RELAY_HEADER_BYTES, TAG_BYTES, Kind, parse_relay
from ntvl.wire.plaintext import (
    FRAME_BUFFER_MAX,
    PIECE,
    PIECE_HEADER_BYTES,
    PIECE_STEP_MIN,
    parse_piece,
    piece_starts,
    piece_step,
)
from ntvl.wire.vnet import GSO_NONE, HEADERS_MAX, SuperFrame, parse_super_frame

__all__ = ["Lane"]

RECEIVE_BYTES: Final = 65535
SHAPES_MAX: Final = 16
COUNT_MIN: Final = 3
RECEIVE_MIN: Final = 8192
"""Shorter trains, in datagrams or bytes, are not worth it; nor should they have slots made for them."""

_OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES
_START: Final = bytes((Kind.DATA, 0, 0, 0))
_RELAY: Final = bytes((Kind.RELAY,))


class Lane:
    """Is the bulk lane of a forwarder.

    Attributes:
        buffer: where trains are to be received for `open_train`.
    """

    __slots__ = ("_frames", "_hub", "_inbound", "_plains", "_sealed", "_trains", "_view", "buffer")

    def __init__(self, hub: Hub, inbound: Inbound) -> None:
        self._hub = hub
        self._inbound = inbound
        self.buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self.buffer)
        self._frames: dict[tuple[int, int], FrameSlots] = {}
        self._sealed: dict[tuple[int, int], TrainSlots] = {}
        self._trains: dict[tuple[int, int], TrainSlots] = {}
        self._plains: dict[int, PlainSlots] = {}

    # --- out ---

    def find_slots(self, frame: bytes) -> FrameSlots | None:
        """Returns slots of the shape that a super-frame has, to read the next ones into; None for any other frame."""
        if len(frame) < 2 or frame[1] == GSO_NONE:
            return None
        try:
            layout = parse_super_frame(frame)
        except PeerError:
            return None
        shape = layout.payload, piece_step(layout)
        if shape[1] == 0:
            return None
        slots = self._frames.get(shape)
        if slots is None:
            _make_room(self._frames)
            slots = self._frames[shape] = FrameSlots(*shape)
        return slots

    def seal_slots(self, device: int, slots: FrameSlots, size: int, now: float) -> Train | None:
        """Returns the train that carries a super-frame of `size` bytes read into slots, or None for `handle_frames`."""
        hub = self._hub
        tap = hub.devices.get(device)
        if tap is None or size <= max(FRAME_BUFFER_MAX, slots.payload + slots.step):
            return None
        headers = slots.headers()
        peer = tap.table.routes.get(headers[10:16])
        if peer is None or peer.packer is None or len(peer.ways) != 1 or headers[16:22] != tap.mac:
            return None
        session = peer.sender
        if session is None or session.number >= NUMBER_MAX - TRAIN_SEGMENTS_MAX or session.encrypt_into is None:
            return None
        layout = _parse(headers)
        if layout is None or layout.payload + layout.size != size:
            return None
        if layout.payload != slots.payload or piece_step(layout) != slots.step:
            return None
        plains = slots.pieces(headers, layout.size, peer.packer.next_run())
        if plains is None:
            return None
        way = peer.ways[0]
        skip = len(way.prefix)
        count, plain_bytes = len(plains), len(plains[0])
        segment_bytes = skip + plain_bytes + _OVERHEAD_BYTES
        sealed = self._sealed_slots(segment_bytes, skip)
        sealed.write_headers(way.prefix + session.header, session.number, count)
        session.number += count
        bodies = sealed.bodies[:count]
        last = len(plains[-1])
        if last != plain_bytes:
            bodies[-1] = sealed.body(count - 1, last + TAG_BYTES)
        consume(map(session.encrypt_into, sealed.nonces, plains, repeat(None), bodies))
        total = count * segment_bytes - (plain_bytes - last)
        peer.tx_bytes += total - count * skip
        peer.tx_packets += count
        peer.last_tx = now
        hub.reporter.touch(peer, now)
        return Train(way.socket, way.address, [sealed.train(total)], segment_bytes)

    def _sealed_slots(self, segment_bytes: int, skip: int) -> TrainSlots:
        slots = self._sealed.get((segment_bytes, skip))
        if slots is None:
            _make_room(self._sealed)
            count = min(TRAIN_SEGMENTS_MAX, TRAIN_BYTES_MAX // segment_bytes)
            slots = self._sealed[segment_bytes, skip] = TrainSlots(
                bytearray(count * segment_bytes), segment_bytes, skip
            )
        return slots

    # --- in ---

    def open_train(self, size: int, segment_bytes: int, socket: int, address: Address, now: float) -> bool:
        """Takes the train of `size` bytes in `buffer`, if it is for this lane; else returns False and changes
        nothing.
        """
        buffer, hub = self.buffer, self._hub
        count = -(-size // segment_bytes)
        relayed = buffer.startswith(_RELAY)
        skip = RELAY_HEADER_BYTES if relayed else 0
        plain_bytes = segment_bytes - skip - _OVERHEAD_BYTES
        last = size - (count - 1) * segment_bytes - skip - _OVERHEAD_BYTES
        if count < COUNT_MIN or size < RECEIVE_MIN or last <= 0 or (relayed and self._inbound.is_relay):
            return False
        if any(buffer[skip + i : size : segment_bytes] != _START[i : i + 1] * count for i in range(4)):
            return False
        session, peer = hub.sessions.get(int.from_bytes(buffer[skip + 4 : skip + 8], "big"), (None, None))
        if session is None or peer is None or not session.confirmed or session.decrypt_into is None:
            return False
        if peer.joiner is None or peer.joiner.is_open:
            return False
        relay: Relay | None = None
        if relayed:
            prefix = bytes(buffer[:RELAY_HEADER_BYTES])
            if any(buffer[i:size:segment_bytes] != prefix[i : i + 1] * count for i in range(RELAY_HEADER_BYTES)):
                return False
            relay = parse_relay(bytes(buffer[: RELAY_HEADER_BYTES + 1]))
        slots = self._received_slots(segment_bytes, skip)
        numbers = slots.numbers(count)
        first = numbers[0]
        if first <= session.window.top or numbers != tuple(range(first, first + count)):
            return False
        plain_slots = self._plain_slots(plain_bytes)
        plains, bodies = plain_slots.plains[:count], slots.bodies[:count]
        if last != plain_bytes:
            start = (count - 1) * segment_bytes + skip + HEADER_BYTES
            bodies = [*slots.bodies[: count - 1], self._view[start:size]]
            plains[-1] = plains[-1][:last]
        nonces = slots.nonces
        if len(nonces) < count:
            nonces = [*nonces, self._view[start - 12 : start]]
        try:
            consume(map(session.decrypt_into, nonces, bodies, repeat(None), plains))
        except InvalidTag:
            return False
        session.window.accept_run(first, count)
        peer.rx_bytes += size - count * skip
        peer.rx_packets += count
        peer.note_path(address, socket, relay, count, now)
        hub.reporter.touch(peer, now)
        buffers = self._join(plain_slots, plains)
        if buffers is None:
            self._inbound.deliver(peer, [bytes(plain) for plain in plains], now)
            return True
        try:
            check_sender(peer.device, peer, bytes(buffers[0][:HEADERS_MAX]), now)
        except PeerError as error:
            hub.reporter.count(error.reason)
        else:
            self._inbound.write(peer.device, buffers)
        return True

    def _join(self, slots: PlainSlots, plains: list[memoryview]) -> list[memoryview] | None:
        """Returns the buffers of the super-frame that these plaintexts are, from its first piece to its last, or
        None.
        """
        first = bytes(plains[0])
        if first[0] != PIECE:
            return None
        try:
            piece = parse_piece(first)
        except PeerError:
            return None
        layout = piece.layout
        head = PIECE_HEADER_BYTES + layout.payload
        count, step, last = len(plains), len(first) - head, len(plains[-1]) - head
        if piece.offset or step < PIECE_STEP_MIN or last <= 0 or (count - 1) * step + last != layout.size:
            return None
        if not layout.is_tcp and step % layout.gso_size:
            return None
        heads = slots.heads(count, head)
        if heads != tuple(map(bytes.__add__, piece_starts(step)[:count], repeat(first[3:head]))):
            return None
        payloads = slots.payloads(head)
        return [plains[0][PIECE_HEADER_BYTES:], *payloads[1 : count - 1], payloads[count - 1][:last]]

    def _received_slots(self, segment_bytes: int, skip: int) -> TrainSlots:
        slots = self._trains.get((segment_bytes, skip))
        if slots is None:
            _make_room(self._trains)
            slots = self._trains[segment_bytes, skip] = TrainSlots(self.buffer, segment_bytes, skip)
        return slots

    def _plain_slots(self, plain_bytes: int) -> PlainSlots:
        slots = self._plains.get(plain_bytes)
        if slots is None:
            _make_room(self._plains)
            count = RECEIVE_BYTES // plain_bytes + 1
            slots = self._plains[plain_bytes] = PlainSlots(plain_bytes, count)
        return slots


def _parse(headers: bytes) -> SuperFrame | None:
    try:
        return parse_super_frame(headers)
    except PeerError:
        return None


def _make_room(shapes: dict[Any, Any]) -> None:
    if len(shapes) >= SHAPES_MAX:
        del shapes[next(iter(shapes))]
