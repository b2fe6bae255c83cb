"""What a node knows, as the plain values that `ntvl status --json` shows; the keys are documented and stable."""

from typing import Any

from ntvl.identity.keys import derive_mac, format_key
from ntvl.proto.diagnosis import describe_nat
from ntvl.proto.members import Entry, Members
from ntvl.proto.membership import Membership
from ntvl.proto.registration import Registration
from ntvl.proto.technique import Outcome
from ntvl.wire.control import Nat

__all__ = ["community_status", "peer_status", "supernode_status"]


def supernode_status(registration: Registration) -> dict[str, Any]:
    """Returns an entry of `supernodes`."""
    rtt_s, observed = registration.rtt_s if registration.is_reachable() else None, registration.observed
    return {
        "url": str(registration.url),
        "state": registration.state,
        "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
        "observed": None if observed is None else str(observed),
        "over": registration.carriage.over if registration.is_reachable() else None,
    }


def community_status(membership: Membership, device: str, members: Members, now: float) -> dict[str, Any]:
    """Returns an entry of `communities`; `device` is the TAP's name as the kernel has it."""
    settled = membership.address or membership.settings.lease != "auto"
    return {
        "name": membership.community.name,
        "id": format_key(membership.community.id),
        "device": device,
        "mac": membership.mac.hex(":"),
        "addresses": list(membership.addresses) if settled else [],
        "mtu": membership.settings.mtu,
        "peers": [peer_status(membership, entry, now) for entry in members],
    }


def peer_status(membership: Membership, entry: Entry, now: float) -> dict[str, Any]:
    """Returns an entry of `peers`; a member that nobody here has talked to yet has the path "none"."""
    peer = entry.peer
    path, remote, via = ("none", "", "") if peer is None else peer.path
    age_s = None if peer is None else peer.link.age_s(now)
    selected = None if peer is None or path == "none" else peer.pathfinder.paths.selected
    activity = None if peer is None else peer.activity
    return {
        "name": entry.name if peer is None else peer.name,
        "id": format_key(entry.key),
        "addresses": list(entry.addresses if peer is None else peer.addresses),
        "mac": derive_mac(membership.community.id, entry.key).hex(":"),
        "path": path,
        "remote": remote or None,
        "via": via or None,
        "technique": None if selected is None else selected.technique or None,
        "nat": None if peer is None else _both_nats(peer.pathfinder.negotiation.nats),
        "rtt_ms": None if selected is None or selected.rtt_s is None else round(selected.rtt_s * 1000, 3),
        "loss": None if selected is None else round(selected.loss, 3),
        "rx_bytes": 0 if activity is None else activity.rx_bytes,
        "tx_bytes": 0 if activity is None else activity.tx_bytes,
        "handshake_age_s": None if age_s is None else round(age_s, 1),
        "attempts": [] if peer is None else [_attempt_status(o, now) for o in peer.pathfinder.negotiation.outcomes],
    }


def _both_nats(nats: tuple[Nat, Nat]) -> dict[str, Any]:
    return {end: describe_nat(nat) for end, nat in zip(("local", "remote"), nats, strict=True)}


def _attempt_status(outcome: Outcome, now: float) -> dict[str, Any]:
    return {
        "technique": outcome.technique,
        "verdict": outcome.verdict,
        "packets": outcome.packets,
        "took_s": round(outcome.ended - outcome.started, 3),
        "ago_s": round(now - outcome.ended, 1),
        "detail": outcome.detail,
    }
