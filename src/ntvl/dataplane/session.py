"""A data session: seals and opens trains of datagrams, many in one go.

Python spends as long between two calls of the cipher as in one, so whole trains are taken apart, opened, sealed and put
together by `struct` and `map`, and the interpreter's loop is entered only where something is wrong: a number out of
order, a seal that does not open. Both ways give the same result; the slow one is the definition.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import Final

from cryptography.exceptions import InvalidTag

from ntvl.aead import new_aead
from ntvl.dataplane.interface import InstallSession
from ntvl.errors import PeerError
from ntvl.replay import ReplayWindow
from ntvl.wire.header import Kind

__all__ = ["NUMBER_MAX", "Session"]

NUMBER_MAX: Final = 1 << 48
"""A session seals no more packets than this: far beyond any rekeying, far below where AES-GCM becomes weak."""


Buffer = bytes | bytearray | memoryview
Into = Callable[[Buffer, Buffer, Buffer | None, Buffer], int]
"""Seals or opens (nonce, data, nothing more, where to put it); returns how many bytes that are."""


class Session:
    """Holds the keys, the numbers and the replay window of one session with one peer.

    Args:
        cipher: "aes256gcm" or "chacha20poly1305".
        send_index: names the session in datagrams that we send.
        receive_index: names it in those that come.
        confirmed: whether it may send.

    Attributes:
        header: the first 8 bytes of every datagram; the number follows.
        nonce: the first 4 bytes of every nonce; the number follows.
        encrypt_into, decrypt_into: into a buffer, None where the library is too old for it.
        number: the next one to seal under; whoever uses `encrypt` counts it up.
    """

    __slots__ = (
        "_keys",
        "confirmed",
        "decrypt",
        "decrypt_into",
        "encrypt",
        "encrypt_into",
        "header",
        "nonce",
        "number",
        "receive_index",
        "send_index",
        "window",
    )

    def __init__(
        self, cipher: str, send_index: int, receive_index: int, send_key: bytes, receive_key: bytes, confirmed: bool
    ) -> None:
        self.send_index = send_index
        self.receive_index = receive_index
        self.confirmed = confirmed
        self.number = 0
        self.window = ReplayWindow()
        sealer, opener = new_aead(cipher, send_key), new_aead(cipher, receive_key)
        self.encrypt, self.decrypt = sealer.encrypt, opener.decrypt
        self.encrypt_into: Into | None = getattr(sealer, "encrypt_into", None)
        self.decrypt_into: Into | None = getattr(opener, "decrypt_into", None)
        self._keys = (cipher, send_index, send_key, receive_key)
        self.nonce = send_index.to_bytes(4, "big")
        self.header = bytes((Kind.DATA, 0, 0, 0)) + self.nonce

    @property
    def exhausted(self) -> bool:
        """Returns whether all packet numbers are used up, so that nothing may be sealed any more."""
        return self.number >= NUMBER_MAX

    def is_same(self, command: InstallSession) -> bool:
        """Returns whether a command tells of this very session again."""
        return self._keys == (command.cipher, command.send_index, command.send_key, command.receive_key)

    def seal(self, plains: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Returns the packet numbers (8 bytes each) and sealed bodies of `plains`; a datagram is `header`, number,
        body.
        """
        number = self.number
        count = len(plains)
        self.number = number + count
        if count == 1:
            text = number.to_bytes(8, "big")
            return [text], [self.encrypt(self.nonce + text, plains[0], None)]
        numbers = list(_number_slices(count).unpack(_numbers(count).pack(*range(number, number + count))))
        return numbers, list(map(self.encrypt, map(self.nonce.__add__, numbers), plains, repeat(None)))

    def open(self, datagram: bytes, skip: int = 0) -> bytes:
        """Returns what is under the seal of one datagram, at least header and tag long, which starts at `skip`.

        Raises:
            PeerError: reason "replay", "too-old" or "authentication"; count it and drop the datagram.
        """
        number = int.from_bytes(datagram[skip + 8 : skip + 16], "big")
        reason = self.window.check(number)
        if reason is not None:
            raise PeerError(reason)
        try:
            plain = self.decrypt(datagram[skip + 4 : skip + 16], datagram[skip + 16 :], None)
        except InvalidTag:
            raise PeerError("authentication") from None
        self.window.accept(number)
        return plain

    def open_train(self, train: bytes, segment_bytes: int, skip: int = 0) -> list[bytes] | None:
        """Returns what is under the seals of a train in perfect order, or None: then nothing has changed, `open` each.

        Args:
            train: more than one datagram, each `segment_bytes` long (the last may be shorter), all for this session.
            skip: bytes before each datagram's header, counted in `segment_bytes`. Header and tag must fit behind it.
        """
        count, rest = divmod(len(train), segment_bytes)
        window = self.window
        numbers = _number_parser(count, segment_bytes, skip).unpack_from(train)
        first = numbers[0]
        if rest:
            last = len(train) - rest + skip
            numbers += (int.from_bytes(train[last + 8 : last + 16], "big"),)
        if first <= window.top or numbers != tuple(range(first, first + len(numbers))):
            return None
        parts = _body_parser(count, segment_bytes, skip).unpack_from(train)
        try:
            plains = list(map(self.decrypt, parts[::2], parts[1::2], repeat(None)))
            if rest:
                plains.append(self.decrypt(train[last + 4 : last + 16], train[last + 16 :], None))
        except InvalidTag:
            return None
        window.accept_run(first, len(numbers))
        return plains


@lru_cache(maxsize=128)
def _numbers(count: int) -> struct.Struct:
    return struct.Struct(f"!{count}Q")


@lru_cache(maxsize=128)
def _number_slices(count: int) -> struct.Struct:
    return struct.Struct("8s" * count)


@lru_cache(maxsize=256)
def _number_parser(count: int, segment_bytes: int, skip: int) -> struct.Struct:
    return struct.Struct("!" + f"{skip + 8}xQ{segment_bytes - skip - 16}x" * count)


@lru_cache(maxsize=256)
def _body_parser(count: int, segment_bytes: int, skip: int) -> struct.Struct:
    return struct.Struct(f"{skip + 4}x12s{segment_bytes - skip - 16}s" * count)
