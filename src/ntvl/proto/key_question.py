"""The question which key a supernode has: asked where none is known, and where the known one has no answer.

The answer is no proof. A first key is taken on trust and pinned; another one than the known one is never taken, only
told to a person.
"""

from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.keys import format_key
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.events import Notice
from ntvl.proto.machine import Random
from ntvl.wire.service import build_key_request, parse_key_reply

__all__ = ["KEY_WAIT_S", "KeyQuestion"]

KEY_WAIT_S: Final = (1.0, 2.0, 4.0, 8.0, 30.0)


class KeyQuestion:
    """Asks one supernode.

    Attributes:
        at: when to ask again, None while nobody needs to.
        tries: how often it was asked.
        warned: the wrong key that was told of last, b"" for none.
    """

    def __init__(self, url: SupernodeUrl, random: Random) -> None:
        self.at: float | None = None
        self.tries = 0
        self.warned = b""
        self._url = url
        self._random = random
        self._nonce = b""

    def build(self) -> bytes:
        """Returns the KEY_REQUEST; the same one until it is answered."""
        self._nonce = self._nonce or self._random(8)
        return build_key_request(self._nonce)

    def note_asked(self, now: float) -> None:
        """Puts the next question off, longer each time."""
        self.at = now + KEY_WAIT_S[min(self.tries, len(KEY_WAIT_S) - 1)]
        self.tries += 1

    def settle(self) -> None:
        """Ends the question: the supernode answered a handshake, or showed a first key."""
        self.at = None
        self._nonce = b""

    def expects(self, data: bytes) -> bool:
        """Returns whether a KEY_REPLY answers the question."""
        return bool(self._nonce) and parse_key_reply(data)[0] == self._nonce

    def take(self, data: bytes) -> bytes:
        """Returns the key that a KEY_REPLY shows.

        Raises:
            PeerError: as `parse_key_reply`, or reason "transaction".
        """
        nonce, key = parse_key_reply(data)
        if not self._nonce or nonce != self._nonce:
            raise PeerError("transaction", "a key nobody asked for")
        return key

    def warn(self, shown: bytes, known: bytes) -> Notice | None:
        """Returns the warning that another key is shown than the known one; None where it was told already."""
        if shown == self.warned:
            return None
        self.warned = shown
        text = (
            f"supernode {self._url.endpoint} shows the key {format_key(shown)} instead of "
            f"{format_key(known)}: refused, for it may be an impostor; if its owner did change the key, "
            "remove the old one from known_supernodes.json in the state directory, or correct the URL"
        )
        return Notice("error", "supernode-key", text)
