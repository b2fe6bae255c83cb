"""Who acts in the vectors: two members of a community, their supernode, and the chance that they draw.

Alice and Bob have the keys of RFC 7748 section 6.1.
"""

from functools import cache
from typing import Final

from ntvl.identity.certificate import issue_certificate
from ntvl.identity.community import Community, derive_community
from ntvl.identity.keys import NodeKey, derive_ipv6, derive_mac
from ntvl.proto.machine import Random

__all__ = [
    "ALICE",
    "BOB",
    "COMMUNITY_NAME",
    "NOT_AFTER",
    "NOT_BEFORE",
    "SECRET",
    "SUPERNODE",
    "WALL",
    "certificate",
    "chance",
    "home",
]

ALICE: Final = NodeKey.from_bytes(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
BOB: Final = NodeKey.from_bytes(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
SUPERNODE: Final = NodeKey.from_bytes(bytes(range(32)))

COMMUNITY_NAME: Final = "home"
SECRET: Final = "seven words that nobody else would pick"

WALL: Final = 1767225600
"""2026-01-01T00:00:00Z."""
NOT_BEFORE: Final = WALL - 3600
NOT_AFTER: Final = WALL + 7 * 86400


@cache
def home(secret: str = SECRET) -> Community:
    """Returns the community; slow the first time, on purpose."""
    return derive_community(COMMUNITY_NAME, secret)


@cache
def certificate(node: bytes, name: str, address: str) -> bytes:
    """Returns a member's certificate."""
    community = home()
    ipv6 = derive_ipv6(community.id, derive_mac(community.id, node))
    return issue_certificate(
        community, node=node, name=name, addresses=(address, ipv6), not_before=NOT_BEFORE, not_after=NOT_AFTER
    )


def chance(*drawn: bytes) -> Random:
    """Returns a source of chance that gives what is listed: for each length asked for, the next of that length."""
    left = list(drawn)

    def draw(count: int) -> bytes:
        return left.pop(next(place for place, item in enumerate(left) if len(item) == count))

    return draw
