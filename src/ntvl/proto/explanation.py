"""Why the path to a member is as it is, as the plain values that `ntvl why --json` shows; the keys are documented."""

from typing import Any

from ntvl.identity.keys import format_key
from ntvl.proto.context import Context
from ntvl.proto.diagnosis import SILENCES, Case, Rung, build_ladder, describe_nat, diagnose
from ntvl.proto.events import WhyReply
from ntvl.proto.members import Entry
from ntvl.proto.membership import Membership
from ntvl.proto.negotiation import Negotiation
from ntvl.proto.roll import Roll
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.text import printable
from ntvl.wire.address import Address
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Nat, Record, Records

__all__ = ["Explainer"]


class Explainer:
    """Asks members for their side, and puts both sides together."""

    def __init__(self, context: Context, surroundings: Surroundings, roll: Roll) -> None:
        self._context = context
        self._surroundings = surroundings
        self._roll = roll

    def ask(self, community: str, key: bytes, now: float) -> int | None:
        """Asks a member what came of its attempts; returns an id for the `WhyReply`, or None where nobody has that
        key.
        """
        found = self._roll.find_key(community, key)
        if found is None:
            return None
        number = int.from_bytes(self._context.random(7), "big") | 1
        peer = found[1].peer
        if peer is None or not peer.pathfinder.inquiry.ask(number):
            self._context.events.append(WhyReply(number, None, "no-session"))
        return number

    def explain(self, community: str, key: bytes, reply: WhyReply | None, now: float) -> dict[str, Any] | None:
        """Returns why the path to a member is as it is, as `ntvl why --json` shows it, or None where nobody has that
        key.

        Args:
            reply: its answer, or why there is none; None if it took too long.
        """
        found = self._roll.find_key(community, key)
        return None if found is None else _explain(found[0].membership, found[1], self._surroundings, reply, now)


def _explain(
    membership: Membership, entry: Entry, surroundings: Surroundings, reply: WhyReply | None, now: float
) -> dict[str, Any]:
    """Returns the explanation; all text of the peer's is printable."""
    peer = entry.peer
    name = printable(entry.name if peer is None else peer.name) or format_key(entry.key)[:8]
    theirs = None if reply is None else reply.records
    path, remote, via = ("none", "", "") if peer is None else peer.path
    selected = None if peer is None or path == "none" else peer.pathfinder.paths.selected
    ours = Records(0, state="idle", nat=surroundings.nat) if peer is None else peer.pathfinder.inquiry.report(0, now)
    negotiation = None if peer is None else peer.pathfinder.negotiation
    case = Case(
        name,
        path,
        ours,
        theirs,
        (UNKNOWN_NAT, ()) if negotiation is None else (negotiation.remote_nat, negotiation.remote),
        remote=remote,
        technique=selected.technique if path == "direct" and selected is not None else _running(ours, negotiation),
        kind="" if selected is None else selected.kind,
        is_cut_off=not surroundings.is_connected(),
        is_used=peer is not None and peer.pathfinder.is_used(now),
        is_shaking=peer is not None and peer.link.is_shaking,
        silent_s=None if reply is not None or peer is None else peer.pathfinder.silence_s(now),
    )
    found = diagnose(case)
    asked = "timeout" if reply is None else reply.silence or "answered"
    rtt_s = None if selected is None else selected.rtt_s
    since = None if selected is None else selected.since
    return {
        "community": membership.community.name,
        "name": name,
        "id": format_key(entry.key),
        "addresses": [printable(address) for address in (entry.addresses if peer is None else peer.addresses)],
        "path": path,
        "technique": None if selected is None else selected.technique or None,
        "remote": remote or None,
        "via": via or None,
        "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
        "since_s": None if since is None else round(now - since, 1),
        "cause": found.cause,
        "side": found.side or None,
        "sentence": found.sentence,
        "fix": found.fix,
        "lacks": list(found.lacks),
        "retry_s": round(ours.retry_s, 1) if ours.state == "waiting" else None,
        "asked": asked,
        "note": SILENCES[asked].format(peer=name) if asked in SILENCES else "",
        "ends": {
            "local": _describe_end(ours.nat, ours.candidates, ours),
            "remote": _describe_end(case.nats[1], case.candidates[1], theirs),
        },
        "ladder": [_describe_rung(rung) for rung in build_ladder(ours, theirs)],
    }


def _running(ours: Records, negotiation: Negotiation | None) -> str:
    return negotiation.technique if negotiation is not None and ours.state == "trying" else ""


def _describe_end(nat: Nat, candidates: tuple[Candidate, ...], said: Records | None) -> dict[str, Any]:
    return {
        "nat": describe_nat(nat),
        "state": None if said is None else printable(said.state),
        "udp": None if said is None else {"yes": True, "no": False}.get(said.udp),
        "candidates": [_describe(candidate) for candidate in candidates],
    }


def _describe_rung(rung: Rung) -> dict[str, Any]:
    return {
        "attempt": rung.attempt,
        "technique": printable(rung.technique),
        "ago_s": round(rung.age_s, 1),
        "local": _describe_record(rung.ours),
        "remote": _describe_record(rung.theirs),
    }


def _describe_record(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "verdict": printable(record.verdict),
        "packets": record.packets,
        "took_s": round(record.took_s, 3),
        "detail": printable(record.detail),
        "aims": [_describe(candidate, is_aim=True) for candidate in record.aims],
        "answered": next((_describe(candidate) for candidate in record.answered), None),
        "observed": [_describe(candidate) for candidate in record.observed],
    }


def _describe(candidate: Candidate, *, is_aim: bool = False) -> str:
    """Returns "kind address"; where many ports of a host were aimed at, the host alone."""
    is_host = is_aim and candidate.kind == "guess"
    return printable(f"{candidate.kind} {candidate.host if is_host else Address(candidate.host, candidate.port)}")
