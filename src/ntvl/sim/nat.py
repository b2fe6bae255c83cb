"""One NAT or firewall: two functions of source, destination and time.

`outbound` says as whom a datagram leaves, `inbound` whom one that comes in is for; either may say nobody. What is
between them is a table of bindings: one internal address, for endpoint-dependent mapping together with a destination,
holds one external port, and remembers where it has sent. A binding lives as long as its newest session; each
destination is a session of its own, with its own lifetime, as in connection tracking.
"""

from collections.abc import Hashable
from random import Random
from typing import Final, NamedTuple

from ntvl.nat import Filtering, Mapping, NatBehaviour, PortAllocation
from ntvl.wire.address import Address

__all__ = ["Nat"]

_PORT_MIN: Final = 1024
_PORTS: Final = 65536 - _PORT_MIN
_UNSOLICITED_S: Final = 30.0
"""How long a box that takes what nobody asked for remembers it (Linux: a flow that was never answered)."""
_TRIES: Final = 64
"""Draws of a random port before the rest of the pool is searched in order."""


class _Apart(NamedTuple):
    """Is the part of a flow that has a port of its own, because what came from there has the one it would have."""

    destination: Address


class _Binding:
    __slots__ = ("destination", "external", "internal", "sessions")

    def __init__(self, internal: Address, external: Address, destination: Hashable) -> None:
        self.internal = internal
        self.external = external
        self.destination = destination
        self.sessions: dict[Address, float] = {}
        """When each remote that it has sent to was last heard of."""


class Nat:
    """Translates and filters UDP as a `NatBehaviour` says, for one address family.

    Args:
        address: its external address; unused where it does not translate.
        random: draws ports.
    """

    def __init__(self, behaviour: NatBehaviour, address: str, random: Random) -> None:
        self.behaviour = behaviour
        self.address = address
        self.drops: dict[str, int] = {}
        """Datagrams refused, by "filtered", "no-mapping" and "no-port"."""
        self._random = random
        self.reboot()

    def reboot(self, address: str | None = None) -> None:
        """Forgets every mapping and counter; new ones do not repeat the old ones unless ports are preserved.

        Args:
            address: the external address from now on, where it changes with the reboot.
        """
        self.address = self.address if address is None else address
        self._bindings: dict[tuple[Address, Hashable], _Binding] = {}
        self._by_port: dict[Address, list[_Binding]] = {}
        self._blocks: dict[str, int] = {}
        self._next = self._random.randrange(_PORTS)
        self._forwards: dict[Address, tuple[Address, float]] = {}
        self._flows: dict[tuple[Address, Address], tuple[Address, float]] = {}
        self._taken: dict[tuple[Address, Address], float] = {}

    def forward(self, internal: Address, until: float, now: float) -> Address:
        """Returns the external address that lets everybody in to an internal one until then, made or prolonged."""
        for external, (target, expires) in list(self._forwards.items()):
            if target == internal or expires < now:
                del self._forwards[external]
                if target == internal:
                    self._forwards[external] = (internal, until)
                    return external
        wanted = Address(self.address, internal.port)
        while wanted in self._forwards:
            wanted = Address(self.address, _PORT_MIN + self._random.randrange(_PORTS))
        self._forwards[wanted] = (internal, until)
        return wanted

    def unforward(self, internal: Address) -> None:
        """Ends what `forward` made, and the flows that came by it."""
        self._forwards = {e: each for e, each in self._forwards.items() if each[0] != internal}
        self._flows = {key: each for key, each in self._flows.items() if key[0] != internal}

    @property
    def forwards(self) -> dict[Address, Address]:
        """Returns what is forwarded: external address to internal one."""
        return {external: internal for external, (internal, _) in self._forwards.items()}

    def outbound(self, source: Address, destination: Address, now: float) -> Address | None:
        """Returns the address from which a datagram of an inside host goes on, or None where it does not."""
        came_by, heard = self._flows.get((source, destination), (None, 0.0))
        if came_by is not None and heard >= now - self.behaviour.lifetime_s:
            # An answer to who came in by a forwarded port leaves by it; a flow that begins inside does not.
            self._flows[source, destination] = (came_by, now)
            return came_by
        part = self._part_for(source, destination, now)
        binding = self._find(source, part, now)
        if binding is None:
            external = self._allocate(source, part, now) if self.behaviour.translates else source
            if external is None:
                self._count("no-port")
                return None
            binding = _Binding(source, external, part)
            self._bindings[source, part] = binding
            self._by_port.setdefault(external, []).append(binding)
        binding.sessions[destination] = now
        return binding.external

    def inbound(self, source: Address, destination: Address, now: float) -> Address | None:
        """Returns the inside address that a datagram to an external one is for, or None where it is not let in."""
        internal, until = self._forwards.get(destination, (None, 0.0))
        if internal is not None and until >= now:
            self._flows[internal, source] = (destination, now)
            return internal
        found = [b for b in list(self._by_port.get(destination, ())) if self._expire(b, now)]
        if not found:
            if not self.behaviour.translates and self.behaviour.filtering is Filtering.ENDPOINT_INDEPENDENT:
                return destination
            self._refuse("no-mapping", source, destination, now)
            return None
        for binding in found:
            if self._admits(binding, source):
                if source in binding.sessions:
                    binding.sessions[source] = now
                return binding.internal
        self._refuse("filtered", source, destination, now)
        return None

    def knows(self, source: Address, destination: Address, now: float) -> bool:
        """Returns whether an inside host has a mapping towards a destination."""
        binding = self._bindings.get((source, self._part(destination)))
        return binding is not None and self._expire(binding, now) and destination in binding.sessions

    def _find(self, source: Address, part: Hashable, now: float) -> _Binding | None:
        binding = self._bindings.get((source, part))
        return binding if binding is not None and self._expire(binding, now) else None

    def _part_for(self, source: Address, destination: Address, now: float) -> Hashable:
        part = self._part(destination)
        if not self.behaviour.takes_unsolicited:
            return part
        apart = _Apart(destination)
        if self._find(source, apart, now) is not None:
            return apart
        binding = self._find(source, part, now)
        if binding is not None and destination in binding.sessions:
            return part
        external = Address(self.address, source.port) if binding is None else binding.external
        return apart if self._is_taken(destination, external, now) else part

    def _is_taken(self, remote: Address, external: Address, now: float) -> bool:
        return self._taken.get((remote, external), float("-inf")) >= now - _UNSOLICITED_S

    def _refuse(self, reason: str, source: Address, destination: Address, now: float) -> None:
        self._count(reason)
        if self.behaviour.takes_unsolicited:
            self._taken[source, destination] = now

    def _part(self, destination: Address) -> Hashable:
        # What of a destination tells mappings apart.
        if not self.behaviour.translates or self.behaviour.mapping is Mapping.ENDPOINT_INDEPENDENT:
            return None
        return destination.host if self.behaviour.mapping is Mapping.ADDRESS_DEPENDENT else destination

    def _admits(self, binding: _Binding, source: Address) -> bool:
        filtering = self.behaviour.filtering
        if filtering is Filtering.ENDPOINT_INDEPENDENT:
            return True
        if filtering is Filtering.ADDRESS_DEPENDENT:
            return any(remote.host == source.host for remote in binding.sessions)
        return source in binding.sessions

    def _expire(self, binding: _Binding, now: float) -> bool:
        # Drops what is too old; returns whether the binding still lives.
        oldest = now - self.behaviour.lifetime_s
        for remote in [remote for remote, heard in binding.sessions.items() if heard < oldest]:
            del binding.sessions[remote]
        if binding.sessions:
            return True
        del self._bindings[binding.internal, binding.destination]
        self._by_port[binding.external].remove(binding)
        if not self._by_port[binding.external]:
            del self._by_port[binding.external]
        return False

    def _allocate(self, source: Address, part: Hashable, now: float) -> Address | None:
        allocation = self.behaviour.allocation
        if allocation is PortAllocation.PRESERVING and not isinstance(part, _Apart):
            external = Address(self.address, source.port)
            if self._is_free(external, part, now):
                return external
        if allocation is PortAllocation.BLOCK_RANDOM:
            size = self.behaviour.block_ports
            first = _PORT_MIN + size * self._blocks.setdefault(source.host, self._random.randrange(_PORTS // size))
            return self._draw(first, size, part, now)
        if allocation is PortAllocation.SEQUENTIAL:
            for _ in range(_PORTS):
                external = Address(self.address, _PORT_MIN + self._next)
                self._next = (self._next + self.behaviour.step) % _PORTS
                if self._is_free(external, part, now):
                    return external
            return None
        return self._draw(_PORT_MIN, _PORTS, part, now)

    def _draw(self, first: int, count: int, part: Hashable, now: float) -> Address | None:
        start = 0
        for _ in range(_TRIES):
            start = self._random.randrange(count)
            external = Address(self.address, first + start)
            if self._is_free(external, part, now):
                return external
        for offset in range(count):
            external = Address(self.address, first + (start + offset) % count)
            if self._is_free(external, part, now):
                return external
        return None

    def _is_free(self, external: Address, part: Hashable, now: float) -> bool:
        # Preserved ports may serve several destinations at once (overloading); others belong to one mapping.
        if external in self._forwards:
            return False
        taken = [b for b in list(self._by_port.get(external, ())) if self._expire(b, now)]
        if self.behaviour.allocation is PortAllocation.PRESERVING and part is not None:
            return all(b.destination != part for b in taken)
        return not taken

    def _count(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1
