"""What a TURN client asks its server for, and what has to be known of a question when its answer comes."""

from collections.abc import Hashable
from typing import Final, NamedTuple

from ntvl.wire.credential import Authorization
from ntvl.wire.turn import TurnMethod

__all__ = ["METHODS", "Purpose", "TurnRequest"]

Purpose = tuple[Hashable, ...]
"""("allocate",), ("refresh",), ("close",), ("permission", host) or ("channel", number)."""

METHODS: Final = {
    "allocate": TurnMethod.ALLOCATE,
    "refresh": TurnMethod.REFRESH,
    "close": TurnMethod.REFRESH,
    "permission": TurnMethod.CREATE_PERMISSION,
    "channel": TurnMethod.CHANNEL_BIND,
}
"""The first item of a purpose to the method that serves it."""


class TurnRequest(NamedTuple):
    """Is a request under way.

    Attributes:
        authorization: what it carried to be believed, None for nothing; its answer is judged by the same.
        tries: how often it went under new credentials, from 1.
        stale: whether it was repeated for a stale nonce already.
        since: when it went out, seconds.
    """

    purpose: Purpose
    authorization: Authorization | None
    tries: int
    stale: bool
    since: float
