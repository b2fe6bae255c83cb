"""Answers a server's 401 and 438: keeps its realm and nonce, and chooses how the password is shown.

Source: RFC 8489 section 9.2.5. What speaks against a server that announces more than it sends is in `handle`: somebody
on the way may have taken PASSWORD-ALGORITHMS out, to have the weaker hash used.
"""

from ntvl.errors import PeerError
from ntvl.wire.credential import (
    Authorization,
    Credentials,
    PasswordAlgorithm,
    derive_key,
    derive_userhash,
    parse_algorithms,
    parse_nonce_features,
)
from ntvl.wire.turn import Turn

__all__ = ["Challenge"]


class Challenge:
    """Holds what a server asked for last.

    Attributes:
        authorization: for the next request, None until a server has asked.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.authorization: Authorization | None = None
        self._credentials = credentials

    def handle(self, turn: Turn) -> None:
        """Takes the realm and the nonce out of an error response 401 or 438.

        Raises:
            PeerError: reason "format" (no realm or nonce, or no algorithm that we know) or "integrity" (announced
                algorithms are missing); drop the response, as if it had never come.
        """
        before = self.authorization
        realm = turn.realm if turn.realm is not None or before is None else before.realm
        if realm is None or turn.nonce is None:
            raise PeerError("format", "a challenge without realm or nonce")
        features = parse_nonce_features(turn.nonce)
        algorithm, algorithms = PasswordAlgorithm.MD5, None
        if features.password_algorithms:
            if turn.algorithms is None:
                raise PeerError("integrity", "PASSWORD-ALGORITHMS announced and missing")
            algorithms = turn.algorithms
            known = parse_algorithms(algorithms)
            if not known:
                raise PeerError("format", "no known algorithm in PASSWORD-ALGORITHMS")
            algorithm = known[0]
        username = self._credentials.username
        self.authorization = Authorization(
            username=username,
            userhash=derive_userhash(username, realm) if features.username_anonymity else b"",
            realm=realm,
            nonce=turn.nonce,
            key=derive_key(self._credentials, realm, algorithm),
            algorithm=algorithm,
            algorithms=algorithms,
        )
