"""Candidates: the addresses at which this node may be reached, and those of a peer that it is willing to try.

Host candidates are every local address with the main port; server-reflexive ones are how supernodes see us (RFC 8445
section 5.1.1), mapped ones where a gateway lets everybody in to the main port. A mapped address that is not public
leads nowhere from most places, so it is none; a pinhole for an IPv6 address adds nothing to its host candidate. What a
TURN server lends us comes last, as RFC 8445 section 5.1.2.2 has it.

A peer's list is somebody else's input: it is bounded by the message format, and an address that would turn this node
against itself, its neighbours' multicast or the virtual network is left out.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from ntvl.errors import PeerError
from ntvl.wire.address import Address, find_addresses, is_public, is_usable_target, parse_address
from ntvl.wire.control import MESSAGE_BYTES_MAX, Candidate

__all__ = ["CANDIDATES_MAX", "build_candidates", "is_underlay", "usable_candidates"]

CANDIDATES_MAX: Final = 24
CANDIDATE_BYTES: Final = 18
"""Of one encoded candidate besides its host."""
CANDIDATE_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 100
"""Of all of them: credentials and the rest of an offer take under 100."""
_TYPE_PREFERENCE: Final = {"host": 126, "prflx": 110, "mapped": 105, "srflx": 100, "relay": 0}
"""RFC 8445 section 5.1.2.2; "mapped" (by a port-mapping protocol) is surer than server-reflexive."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def build_candidates(
    hosts: Sequence[str],
    port: int,
    observed: Iterable[Address],
    overlay: Sequence[Network],
    *,
    mapped: Iterable[Address] = (),
    relayed: Address | None = None,
) -> tuple[Candidate, ...]:
    """Returns this node's candidates, each address once, the most preferred first.

    Args:
        hosts: local addresses, literals; those inside `overlay` are left out, for the virtual network cannot carry
        itself. port: the main UDP port, or 0 where unknown (then there are no host candidates). observed: our
        addresses as supernodes see them. overlay: the subnets of our communities. mapped: where gateways let others in.
        relayed: what a TURN server lends us.
    """
    found: dict[Address, Candidate] = {}
    if port:
        for place, host in enumerate(hosts):
            _add(found, "host", Address(host, port), place, overlay)
    for place, address in enumerate(each for each in mapped if is_public(each.host)):
        _add(found, "mapped", address, place, overlay)
    for place, address in enumerate(observed):
        _add(found, "srflx", address, place, overlay)
    if relayed is not None:
        _add(found, "relay", relayed, 0, overlay)
    # A message must hold them all. What others see of us goes in first: it is little, and most peers need it.
    room = CANDIDATE_BYTES_MAX
    kept: list[Candidate] = []
    for candidate in sorted(found.values(), key=lambda c: (c.kind == "host", -c.priority)):
        room -= len(candidate.host) + CANDIDATE_BYTES
        if room >= 0 and len(kept) < CANDIDATES_MAX:
            kept.append(candidate)
    return tuple(sorted(kept, key=lambda c: -c.priority))


def _add(found: dict[Address, Candidate], kind: str, address: Address, place: int, overlay: Sequence[Network]) -> None:
    if address in found or not is_underlay(address, overlay):
        return
    local = 65535 - place - (0 if address.is_ipv6 else 1000)
    priority = (_TYPE_PREFERENCE[kind] << 24) | (local << 8) | 255
    found[address] = Candidate(kind, address.host, address.port, priority)


def is_underlay(address: Address, overlay: Sequence[Network]) -> bool:
    """Returns whether a path may lead to `address`: nothing that a peer may not name, and not the virtual network
    itself.
    """
    found = find_addresses(address.host)
    return is_usable_target(address) and not any(ip.version == n.version and ip in n for n in overlay for ip in found)


def usable_candidates(
    candidates: Iterable[Candidate], own: Iterable[Candidate], overlay: Sequence[Network]
) -> tuple[Candidate, ...]:
    """Returns those of a peer's candidates that may be sent to, in canonical form, each once.

    Args:
        candidates: as the peer sent them.
        own: our own candidates: a host address and port of ours can only be ourselves, so checks to it are pointless.
        overlay: the subnets of our communities.
    """
    ours = {Address(c.host, c.port) for c in own if c.kind == "host"}
    usable: dict[Address, Candidate] = {}
    for candidate in candidates:
        try:
            address = parse_address(candidate.host, candidate.port)
        except PeerError:
            continue
        if address in ours or address in usable or not is_underlay(address, overlay):
            continue
        usable[address] = Candidate(candidate.kind, address.host, address.port, candidate.priority)
    return tuple(usable.values())[:CANDIDATES_MAX]
