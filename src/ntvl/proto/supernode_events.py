"""What a supernode tells its runtime: facts for the log."""

from dataclasses import dataclass

__all__ = ["CommunityKnown", "MemberJoined", "MemberLeft", "MemberMoved", "Refusal", "StoreFailed", "SupernodeEvent"]


@dataclass(frozen=True, slots=True)
class CommunityKnown:
    """Says that a name is from now on this community's; `id` is its key as text."""

    community: str
    id: str


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """Says that a node registered; `address` is its lease, CIDR text or "", `observed` where it is seen."""

    community: str
    node: str
    name: str
    address: str
    observed: str


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """Says that a node is gone: `reason` is "left" (it said so) or "silent"."""

    community: str
    node: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class MemberMoved:
    """Says that a registered node speaks from another address."""

    node: str
    name: str
    observed: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says that a registration was refused: `reason` out of `errors.REASONS`, `detail` what the node is told."""

    community: str
    node: str
    name: str
    reason: str
    detail: str
    observed: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """Says in one sentence that leases could not be read or written; the request that needed them is lost."""

    text: str


SupernodeEvent = CommunityKnown | MemberJoined | MemberLeft | MemberMoved | Refusal | StoreFailed
