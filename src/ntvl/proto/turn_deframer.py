"""Cuts the byte stream of a TURN server into messages: each tells its length in its first four bytes.

A peer may send the relay a datagram of any size, and a server hands it on, so a message that is too long for us is no
fault of the server: it is skipped without being kept, and the stream goes on behind it. Bytes that begin no message
are the end of the stream, for nothing after them can be trusted to begin one.

Source: RFC 8489 section 6.2.2; RFC 8656 sections 3.1 and 12.5 (channel data is padded to a multiple of 4).
"""

from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.attribute import STUN_HEADER_BYTES
from ntvl.wire.turn import CHANNEL_HEADER_BYTES, TURN_BYTES_MAX, is_channel_data

__all__ = ["TurnDeframer"]

_COOKIE: Final = bytes.fromhex("2112a442")


class TurnDeframer:
    """Keeps what has come of a message that is not whole yet, at most one message's length besides the last input.

    Attributes:
        skipped: messages over 2,048 bytes that were passed over.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._buffer = bytearray()
        self._skip_bytes = 0

    def feed(self, data: bytes) -> None:
        """Takes what came, any number of bytes; call `poll` until None after each."""
        skipped = min(self._skip_bytes, len(data))
        self._skip_bytes -= skipped
        self._buffer += memoryview(data)[skipped:]

    def poll(self) -> bytes | None:
        """Returns the next whole message without padding, or None.

        Raises:
            PeerError: reason "type", "header" or "cookie": the stream is lost, now and in every later call; end it.
        """
        while True:
            length = self._length()
            if length is None:
                return None
            whole = length + -length % 4
            if length > TURN_BYTES_MAX:
                self.skipped += 1
                self._skip_bytes = max(0, whole - len(self._buffer))
                del self._buffer[:whole]
            elif len(self._buffer) < whole:
                return None
            else:
                message = bytes(self._buffer[:length])
                del self._buffer[:whole]
                return message

    def _length(self) -> int | None:
        """Returns the length of the message at the front without padding, or None while that cannot be told."""
        buffer = self._buffer
        if len(buffer) < CHANNEL_HEADER_BYTES:
            return None
        length = int.from_bytes(buffer[2:4])
        if is_channel_data(buffer):
            return CHANNEL_HEADER_BYTES + length
        if buffer[0] & 0xC0:
            raise PeerError("type")
        if length % 4:
            raise PeerError("header", "length")
        if len(buffer) < 8:
            return None
        if buffer[4:8] != _COOKIE:
            raise PeerError("cookie")
        return STUN_HEADER_BYTES + length
