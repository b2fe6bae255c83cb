"""Finds the peer that a person means: by name, address, MAC or the start of its key."""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ntvl.errors import UsageError

__all__ = ["FoundPeer", "find_peer"]

KEY_PREFIX_MIN: Final = 4
"""Shorter starts of keys are typing mistakes more often than keys."""
SHOWN_MAX: Final = 8


class FoundPeer(NamedTuple):
    """Is a peer as `status` shows it: its community's name and its own entry."""

    community: str
    peer: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Returns the words that tell it from others."""
        address = next((a.partition("/")[0] for a in self.peer["addresses"]), "no address")
        return f"{self.peer['name'] or 'nameless'} ({address}, community {self.community}, key {self.peer['id'][:8]})"


def find_peer(status: Mapping[str, Any], text: str) -> FoundPeer:
    """Returns the one peer that `text` names: exactly by name, address, MAC or key; else by a name in other case or a
    key's start.

    Args:
        status: what `Node.status` returns.
    Raises:
        UsageError: nobody or several; several are listed.
    """
    peers = [FoundPeer(c["name"], peer) for c in status["communities"] for peer in c["peers"]]
    address = _canonical(text)
    exact = [
        found
        for found in peers
        if text in (found.peer["name"], found.peer["id"])
        or text.lower() == found.peer["mac"]
        or _holds(found.peer, address)
    ]
    near = [
        found
        for found in peers
        if text.casefold() == found.peer["name"].casefold()
        or (len(text) >= KEY_PREFIX_MIN and found.peer["id"].startswith(text))
    ]
    candidates = exact or near
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        shown = [found.label for found in candidates[:SHOWN_MAX]]
        more = f" and {len(candidates) - SHOWN_MAX} more" if len(candidates) > SHOWN_MAX else ""
        raise UsageError(
            f"{text!r} names several peers: {'; '.join(shown)}{more}; use an address or the start of a key."
        )
    if _is_self(status, text, address):
        raise UsageError(f"{text!r} is this node itself; name a peer.")
    known = ", ".join(sorted({found.peer["name"] or found.peer["id"][:8] for found in peers})[:SHOWN_MAX])
    raise UsageError(
        f"No peer is called {text[:70]!r}: give a name, an address or the start of a key; "
        + (f"known are {known}{', ...' if len(peers) > SHOWN_MAX else ''}." if peers else "no peer is known yet.")
    )


def _canonical(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.partition("/")[0]))
    except ValueError:
        return ""


def _holds(entry: Mapping[str, Any], address: str) -> bool:
    return bool(address) and any(address == _canonical(text) for text in entry["addresses"])


def _is_self(status: Mapping[str, Any], text: str, address: str) -> bool:
    return text in (status["node"]["name"], status["node"]["id"]) or any(
        text.lower() == community["mac"] or _holds(community, address) for community in status["communities"]
    )
