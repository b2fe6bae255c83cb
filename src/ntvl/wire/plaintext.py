"""What is under the seal of a DATA datagram: a frame, a part of one, or several.

    FRAME      kind u8 = 1 | virtio header 10 | frame
    PIECE      kind u8 = 2 | payload offset u16 | run u16 | virtio header 10 | headers | payload
    FRAGMENT   kind u8 = 3 | run u16 | offset u32 | total u32 | bytes of virtio header and frame
    BUNDLE     kind u8 = 4 | (length u16 | virtio header 10 | frame) ...         length counts what follows it

All numbers but those in the virtio header are big-endian.

A super-frame travels as PIECEs. Each has the headers of the whole super-frame, unchanged, and a slice of its payload,
so a receiver that has all of them in order puts headers and slices into one write and has, byte for byte, what was
read on the other side; one that lacks some delivers what it has (`vnet.build_part`). All pieces of a run are equal
from the run number up to the payload, which is how a run is recognised. UDP is cut at multiples of the segment size
only; TCP anywhere.

A FRAGMENT is for a frame that is too large and cannot be cut; it is delivered whole or not at all.
"""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from ntvl.errors import PeerError
from ntvl.wire.ethernet import ETHERNET_BYTES
from ntvl.wire.header import PLAINTEXT_BYTES_MAX
from ntvl.wire.vnet import SUPER_BYTES_MAX, VNET_BYTES, SuperFrame, parse_super_frame

__all__ = [
    "BUNDLE",
    "BUNDLE_LENGTH",
    "FRAGMENT",
    "FRAGMENT_HEADER",
    "FRAME",
    "FRAME_BUFFER_MAX",
    "FRAME_BUFFER_MIN",
    "PIECE",
    "PIECE_HEADER_BYTES",
    "PIECE_STEP_MIN",
    "Fragment",
    "Piece",
    "build_bundle",
    "build_fragments",
    "build_pieces",
    "parse_bundle",
    "parse_fragment",
    "parse_piece",
    "piece_starts",
    "piece_step",
]

FRAME: Final = 1
PIECE: Final = 2
FRAGMENT: Final = 3
BUNDLE: Final = 4

PIECE_HEADER_BYTES: Final = 5
FRAGMENT_HEADER: Final = struct.Struct("!BHII")
BUNDLE_LENGTH: Final = struct.Struct("!H")

FRAME_BUFFER_MIN: Final = VNET_BYTES + ETHERNET_BYTES
FRAME_BUFFER_MAX: Final = PLAINTEXT_BYTES_MAX - 1
"""Largest virtio header and frame that travel in one FRAME."""

PIECE_STEP_MIN: Final = 64
"""No PIECE but the last carries less; nobody makes such, and tables need a bound."""

_PIECE_OFFSET: Final = struct.Struct("!BH")


class Piece(NamedTuple):
    """Is a slice of a super-frame's payload: `layout` counts from the virtio header, at `PIECE_HEADER_BYTES`."""

    offset: int
    run: int
    layout: SuperFrame


class Fragment(NamedTuple):
    """Is a slice of a frame that is delivered whole or not at all; `total` counts virtio header and frame."""

    run: int
    offset: int
    total: int
    data: bytes


def build_pieces(buffer: bytes, layout: SuperFrame, run: int) -> list[bytes] | None:
    """Returns the PIECEs of a super-frame, all equally long but the last, or None where it cannot be cut small enough.

    Args:
        buffer: virtio header and the whole super-frame, whose layout is `layout`.
        run: 0..65535, another one for each super-frame to a peer.
    """
    start = layout.payload
    step = piece_step(layout)
    if step == 0:
        return None
    tail = run.to_bytes(2, "big") + buffer[:start]
    return [
        b"".join((first, tail, buffer[position : position + step]))
        for first, position in zip(piece_starts(step), range(start, start + layout.size, step), strict=False)
    ]


def piece_step(layout: SuperFrame) -> int:
    """Returns how much payload each PIECE of a super-frame carries, 0 where it cannot be cut small enough."""
    room = PLAINTEXT_BYTES_MAX - PIECE_HEADER_BYTES - layout.payload
    return room // layout.gso_size * layout.gso_size or (room if layout.is_tcp else 0)


@lru_cache(maxsize=32)
def piece_starts(step: int) -> list[bytes]:
    """Returns the first three bytes of all PIECEs of a run that is cut every `step` bytes, 64 at least."""
    return [_PIECE_OFFSET.pack(PIECE, offset) for offset in range(0, 0x10000, max(step, PIECE_STEP_MIN))]


def build_fragments(buffer: bytes, run: int) -> list[bytes]:
    """Returns the FRAGMENTs of a frame with its virtio header, all equally long but the last."""
    step = PLAINTEXT_BYTES_MAX - FRAGMENT_HEADER.size
    total = len(buffer)
    return [
        FRAGMENT_HEADER.pack(FRAGMENT, run, offset, total) + buffer[offset : offset + step]
        for offset in range(0, total, step)
    ]


def build_bundle(buffers: list[bytes]) -> bytes:
    """Returns one BUNDLE of several frames with their virtio headers; the caller keeps it within
    `PLAINTEXT_BYTES_MAX`.
    """
    parts = [b"\x04"]
    pack = BUNDLE_LENGTH.pack
    for buffer in buffers:
        parts += pack(len(buffer)), buffer
    return b"".join(parts)


def parse_piece(plain: bytes) -> Piece:
    """Returns what a PIECE says of itself; its payload starts at `PIECE_HEADER_BYTES + layout.payload`.

    Raises:
        PeerError: reason "short" or "header"; count it and drop the piece.
    """
    layout = parse_super_frame(plain[PIECE_HEADER_BYTES:])
    offset, run = plain[1] << 8 | plain[2], plain[3] << 8 | plain[4]
    size = len(plain) - PIECE_HEADER_BYTES - layout.payload
    end = offset + size
    if size <= 0 or end > layout.size:
        raise PeerError("header", "a piece outside its super-frame")
    if not layout.is_tcp and (offset % layout.gso_size or (end != layout.size and end % layout.gso_size)):
        raise PeerError("header", "a piece that cuts a UDP datagram")
    return Piece(offset, run, layout)


def parse_fragment(plain: bytes) -> Fragment:
    """Returns a FRAGMENT's fields.

    Raises:
        PeerError: reason "short", or "header" (empty, outside its frame, or of a frame of impossible length).
    """
    if len(plain) <= FRAGMENT_HEADER.size:
        raise PeerError("short")
    _, run, offset, total = FRAGMENT_HEADER.unpack_from(plain)
    data = plain[FRAGMENT_HEADER.size :]
    if not FRAME_BUFFER_MIN <= total <= SUPER_BYTES_MAX or offset + len(data) > total:
        raise PeerError("header", "a fragment outside its frame")
    return Fragment(run, offset, total, data)


def parse_bundle(plain: bytes) -> list[bytes]:
    """Returns the frames of a BUNDLE, each with its virtio header.

    Raises:
        PeerError: reason "short" (lengths run over the end), "runt" (a frame shorter than an Ethernet header).
    """
    buffers = []
    position, end = 1, len(plain)
    while position < end:
        if position + 2 > end:
            raise PeerError("short")
        length = plain[position] << 8 | plain[position + 1]
        position += 2
        if position + length > end:
            raise PeerError("short")
        if length < FRAME_BUFFER_MIN:
            raise PeerError("runt")
        buffers.append(plain[position : position + length])
        position += length
    return buffers
