"""The control channel of a session: seals and opens CONTROL datagrams under keys of its own.

The data plane holds the session's data keys and numbers its packets itself; this channel has the other two keys, its
own counter and its own replay window, so the two planes never share a nonce. The cipher is ChaCha20-Poly1305 whatever
the data plane uses.
"""

from typing import Final

from cryptography.exceptions import InvalidTag

from ntvl.aead import new_aead
from ntvl.errors import PeerError
from ntvl.proto.handshake import SessionKeys
from ntvl.replay import ReplayWindow
from ntvl.wire.header import (
    CONTROL_BYTES_MAX,
    HEADER_BYTES,
    RELAY_HEADER_BYTES,
    TAG_BYTES,
    Kind,
    build_header,
    parse_header,
)

__all__ = ["BODY_BYTES_MAX", "Channel"]

BODY_BYTES_MAX: Final = CONTROL_BYTES_MAX - RELAY_HEADER_BYTES - HEADER_BYTES - TAG_BYTES
_CIPHER: Final = "chacha20poly1305"
_WINDOW: Final = 2048
_NUMBER_MAX: Final = 2**64 - 1


class Channel:
    """Is one session's control channel.

    Args:
        keys: what the handshake gave; only indices and control keys are used.

    Attributes:
        send_index: the index in datagrams to the other side.
        receive_index: the index in datagrams to us.
        sent: how many datagrams were sealed, for rekeying by count.
    """

    __slots__ = ("_receive", "_send", "_window", "receive_index", "send_index", "sent")

    def __init__(self, keys: SessionKeys) -> None:
        self.send_index = keys.send_index
        self.receive_index = keys.receive_index
        self.sent = 0
        self._send = new_aead(_CIPHER, keys.control_send_key)
        self._receive = new_aead(_CIPHER, keys.control_receive_key)
        self._window = ReplayWindow(_WINDOW)

    def seal(self, body: bytes) -> bytes:
        """Returns a CONTROL datagram with `body` sealed inside.

        Args:
            body: at most `BODY_BYTES_MAX` bytes.
        Raises:
            ValueError: too long a body, or 2^64 datagrams sent; the caller's mistake.
        """
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"a control body of {len(body)} bytes is over {BODY_BYTES_MAX}")
        if self.sent > _NUMBER_MAX:
            raise ValueError("the control channel has run out of packet numbers")
        header = build_header(Kind.CONTROL, self.send_index, self.sent)
        self.sent += 1
        return header + self._send.encrypt(header[4:], body, None)

    def open(self, data: bytes) -> bytes:
        """Returns the body of a CONTROL datagram of the other side.

        Args:
            data: any bytes.
        Raises:
            PeerError: reason "short", "header", "type" (not CONTROL), "unknown-session" (another index), "replay",
                "too-old" or "authentication"; drop the datagram, the channel is as before.
        """
        kind, index, number = parse_header(data)
        if kind != Kind.CONTROL:
            raise PeerError("type")
        if index != self.receive_index:
            raise PeerError("unknown-session")
        reason = self._window.check(number)
        if reason is not None:
            raise PeerError(reason)
        try:
            body = self._receive.decrypt(data[4:HEADER_BYTES], data[HEADER_BYTES:], None)
        except InvalidTag as error:
            raise PeerError("authentication") from error
        self._window.accept(number)
        return body
