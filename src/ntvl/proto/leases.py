"""Who gets which address, and whose a community's name is: the policy above a `LeaseStore`.

A name belongs to the key that used it first. An address goes to a node for 30 days after its last contact, and as long
as the node is there, whatever the clocks say. A node that asks for any address gets the one it had; else the one it
wishes for, if that is free; else the first free one from a place in the subnet that follows from its key, so that
several supernodes tend to hand out the same. Subnets are never listed: a /8 costs what a /30 costs.

Refusals are `PeerError`s with a sentence for the person who has to mend it; the supernode sends them as `Refused`.
"""

import hashlib
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from ntvl.errors import PeerError
from ntvl.identity.keys import short_id
from ntvl.proto.duration import format_duration
from ntvl.registry.base import Claim, Lease, LeaseStore

__all__ = ["LEASE_S", "SUBNET_DEFAULT", "Leases", "parse_subnet"]

LEASE_S: Final = 30 * 86400.0
"""How long names and addresses are kept after the last contact."""
RENEW_S: Final = 3600.0
"""An end that is this near to the newest possible one is not written again."""
SUBNET_DEFAULT: Final = "10.77.0.0/16"
CLAIMS_MAX: Final = 50_000
LEASES_MAX: Final = 16_384
"""Bounds a supernode's memory of communities, and of nodes in each; live communities and members have tighter ones."""
SWEEP_S: Final = 60.0
_PREFIX_MIN: Final = 8
_PREFIX_MAX: Final = 30
_PROBES: Final = 64
"""Places looked at one by one before the leases of a crowded subnet are read all at once."""

IsLive = Callable[[bytes], bool]
"""Returns whether the node with that key is there now."""


def parse_subnet(text: str) -> IPv4Network:
    """Returns the subnet that a node named, host bits cleared.

    Raises:
        PeerError: reason "address-outside" with a sentence: not IPv4, not /8 to /30, or not for unicast.
    """
    try:
        subnet = IPv4Network(text, strict=False)
    except ValueError as error:
        raise PeerError("address-outside", f"{text!r} is not an IPv4 subnet like {SUBNET_DEFAULT}") from error
    if not _PREFIX_MIN <= subnet.prefixlen <= _PREFIX_MAX:
        raise PeerError(
            "address-outside",
            f"the subnet {subnet} is too {'large' if subnet.prefixlen < _PREFIX_MIN else 'small'}: "
            f"take /{_PREFIX_MIN} to /{_PREFIX_MAX}",
        )
    first, last = subnet.network_address, subnet.broadcast_address
    if first.is_loopback or last.is_multicast or last.is_reserved or int(first) >> 24 == 0:
        raise PeerError("address-outside", f"the subnet {subnet} is not for hosts: take one like {SUBNET_DEFAULT}")
    return subnet


class Leases:
    """Grants names and addresses out of a store.

    Args:
        store: keeps them; its `StoreError` passes through every method.
        lease_s: how long both are kept after the last contact.
    """

    def __init__(self, store: LeaseStore, *, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._lease_s = lease_s
        self._swept_at = float("-inf")

    def knows(self, name: str, key: bytes) -> bool:
        """Returns whether a community is here already under this name and key, so that `admit` makes no new one."""
        claim = self._store.claim_of_name(name)
        return claim is not None and claim.key == key

    def admit(
        self, name: str, key: bytes, *, wall: float, is_live: Callable[[bytes], bool], may_found: Callable[[], bool]
    ) -> Claim:
        """Returns the community's claim, made or renewed.

        Args:
            name: the community's name, as its certificate says.
            key: the community's id.
            wall: seconds since the Unix epoch.
            is_live: whether the community with a key has members now: then its name is not free even if it expired.
            may_found: asked before a new claim is made, and only then.
        Raises:
            PeerError: reason "community-key" (the name is another's, or the key has another name), "rate" (it may
                not), or "queue-full".
        """
        until = wall + self._lease_s
        named, keyed = self._store.claim_of_name(name), self._store.claim_of_key(key)
        if named is not None and named.key == key:
            if named.expires_at >= until - RENEW_S:
                return named
            claim = Claim(name, key, named.subnet, max(until, named.expires_at))
        else:
            if named is not None and (named.expires_at > wall or is_live(named.key)):
                raise _name_taken(name)
            if keyed is not None and (keyed.expires_at > wall or is_live(key)):
                raise PeerError("community-key", f"the supernode knows this community's key as {keyed.name!r}")
            if named is None and self._is_full(self._store.claim_count, CLAIMS_MAX, wall):
                raise PeerError("queue-full", f"the supernode knows {CLAIMS_MAX} communities and takes no new one")
            if not may_found():
                raise PeerError("rate", "too many new communities from this network: wait some minutes")
            claim = Claim(name, key, "", until)
        if not self._store.put_claim(claim, wall):
            raise _name_taken(name)
        return claim

    def grant(
        self, claim: Claim, node: bytes, name: str, *, lease: str, address: str, subnet: str, wall: float, live: IsLive
    ) -> str:
        """Returns the address that a node may use, like "10.77.0.5/16", or "" where it wants none.

        Args:
            claim: the community, as `admit` gave it.
            node: the node's public key.
            name: the node's name, remembered to tell others who holds the address.
            lease: "auto", "static" or "none".
            address: a wish ("auto") or the only one ("static"), with or without prefix length; "" for any.
            subnet: the community's network as the node knows it, "" for what it is.
            wall: seconds since the Unix epoch.
            live: whether a node is in the community now: then nobody else gets its address.
        Raises:
            PeerError: reason "format", "address-taken", "address-outside", "subnet-full", "subnet-differs" or
                "queue-full", with a sentence.
        """
        if lease == "none":
            return ""
        if lease not in ("auto", "static"):
            raise PeerError("format", f"a lease is 'auto', 'static' or 'none', not {lease!r}")
        wanted = _parse_wish(address, is_binding=lease == "static")
        network = self._find_network(claim, node, subnet, wanted, wall, live)
        if lease == "static":
            if wanted is None:
                raise PeerError("format", "a static lease names its address")
            self._check_static(claim, node, wanted, network, wall, live)
            chosen: IPv4Address | None = wanted.ip
        else:
            chosen = self._choose(claim.key, node, network, wanted, wall, live)
            if chosen is None:
                raise PeerError(
                    "subnet-full", f"the subnet {network} of {claim.name!r} has no address left: all are leased"
                )
        self._write(claim.key, node, name, str(chosen), wall)
        if claim.subnet != str(network):
            self._store.put_claim(Claim(claim.name, claim.key, str(network), claim.expires_at), wall)
        return f"{chosen}/{network.prefixlen}"

    def extend(self, members: Iterable[tuple[bytes, bytes]], wall: float) -> None:
        """Counts the lease time of (community, node) pairs from `wall` on."""
        self._store.extend(members, wall + self._lease_s)

    def purge(self, wall: float) -> None:
        """Forgets what expired a whole lease time ago."""
        self._store.purge(wall - self._lease_s)

    # --- subnet ---

    def _find_network(
        self, claim: Claim, node: bytes, subnet: str, wanted: IPv4Interface | None, wall: float, live: IsLive
    ) -> IPv4Network:
        """Returns the community's network; the first lease sets it, and who is alone may change it."""
        if subnet:
            asked = parse_subnet(subnet)
        elif claim.subnet:
            return IPv4Network(claim.subnet)
        elif wanted is not None and _PREFIX_MIN <= wanted.network.prefixlen <= _PREFIX_MAX:
            asked = parse_subnet(str(wanted.network))
        else:
            asked = IPv4Network(SUBNET_DEFAULT)
        if claim.subnet and claim.subnet != str(asked):
            others = (found for found in self._store.leases(claim.key) if found.node != node)
            if any(self._is_held(found, wall, live) for found in others):
                raise PeerError(
                    "subnet-differs",
                    f"the community {claim.name!r} has the subnet {claim.subnet} and other members in it, not {asked}: "
                    f"use --subnet {claim.subnet}",
                )
        return asked

    # --- addresses ---

    def _check_static(
        self, claim: Claim, node: bytes, wanted: IPv4Interface, network: IPv4Network, wall: float, live: IsLive
    ) -> None:
        if not _is_host(wanted.ip, network):
            raise PeerError(
                "address-outside",
                f"{wanted.ip} is no host address of the subnet {network} of {claim.name!r}: "
                f"take one from {network[1]} to {network[-2]}",
            )
        if wanted.network.prefixlen not in (32, network.prefixlen):
            raise PeerError(
                "address-outside",
                f"{wanted} has another prefix length than the subnet {network} of {claim.name!r}: "
                f"take {wanted.ip}/{network.prefixlen}",
            )
        holder = self._store.lease_at(claim.key, str(wanted.ip))
        if holder is not None and holder.node != node and self._is_held(holder, wall, live):
            here = "who is there now" if live(holder.node) else f"for {format_duration(holder.expires_at - wall)} more"
            raise PeerError(
                "address-taken", f"{wanted.ip} is leased to {holder.name!r} ({short_id(holder.node)}), {here}"
            )

    def _choose(
        self, community: bytes, node: bytes, network: IPv4Network, wish: IPv4Interface | None, wall: float, live: IsLive
    ) -> IPv4Address | None:
        def is_free(address: IPv4Address) -> bool:
            holder = self._store.lease_at(community, str(address))
            return holder is None or holder.node == node or not self._is_held(holder, wall, live)

        if wish is not None and _is_host(wish.ip, network) and is_free(wish.ip):
            return wish.ip
        own = self._store.lease_of(community, node)
        if own is not None and _is_host(IPv4Address(own.address), network):
            return IPv4Address(own.address)
        hosts = network.num_addresses - 2
        digest = hashlib.blake2s(community + node, digest_size=8, person=b"ntvladdr").digest()
        start = int.from_bytes(digest, "big") % hosts
        for step in range(min(_PROBES, hosts)):
            address = network[1 + (start + step) % hosts]
            if is_free(address):
                return address
        taken = {
            int(IPv4Address(found.address))
            for found in self._store.leases(community)
            if found.node != node and self._is_held(found, wall, live)
        }
        base = int(network[1])
        for step in range(min(len(taken) + 1, hosts)):
            place = base + (start + step) % hosts
            if place not in taken:
                return IPv4Address(place)
        return None

    def _write(self, community: bytes, node: bytes, name: str, address: str, wall: float) -> None:
        until = wall + self._lease_s
        own = self._store.lease_of(community, node)
        if own is not None and (own.address, own.name) == (address, name) and own.expires_at >= until - RENEW_S:
            return
        if own is None and self._is_full(lambda: self._store.lease_count(community), LEASES_MAX, wall):
            raise PeerError("queue-full", f"the supernode keeps {LEASES_MAX} leases of a community and no more")
        if own is not None and own.address == address:
            until = max(until, own.expires_at)
        if not self._store.put_lease(Lease(community, node, address, name, until), wall):
            raise PeerError("address-taken", f"{address} has just been leased to another node")

    def _is_full(self, count: Callable[[], int], most: int, wall: float) -> bool:
        """Returns whether a bound is reached even after what has expired is gone; looks for that once a minute."""
        if count() < most:
            return False
        if abs(wall - self._swept_at) >= SWEEP_S:
            self._swept_at = wall
            self._store.purge(wall)
        return count() >= most

    @staticmethod
    def _is_held(lease: Lease, wall: float, live: IsLive) -> bool:
        return lease.expires_at > wall or live(lease.node)


def _name_taken(name: str) -> PeerError:
    return PeerError(
        "community-key",
        f"the supernode knows community {name!r} under another key: the secret differs, or somebody else uses the name",
    )


def _parse_wish(text: str, *, is_binding: bool) -> IPv4Interface | None:
    if not text:
        return None
    try:
        return IPv4Interface(text)
    except ValueError as error:
        if is_binding:
            raise PeerError("format", f"{text!r} is not an IPv4 address like 10.77.0.5/16") from error
        return None


def _is_host(address: IPv4Address, network: IPv4Network) -> bool:
    return address in network and address not in (network.network_address, network.broadcast_address)
