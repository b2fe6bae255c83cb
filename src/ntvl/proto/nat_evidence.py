"""What was seen of a NAT, and what follows from it: observations in, a report out.

Nothing is concluded from one silence that could be a loss: a question is silent when it was asked three times. Nothing
is concluded from a silence at all unless the server has shown that it can do what it was asked for.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

from ntvl.nat import Filtering, Mapping
from ntvl.proto.nat_report import NOTES, NatReport, Pooling, ServerReport
from ntvl.proto.port_sample import Allocation, judge_ports
from ntvl.proto.question import Topic
from ntvl.wire.address import Address, is_usable_target

__all__ = ["Evidence"]

_MAIN: Final = 0
_POOL_SAMPLES_MIN: Final = 4


class Evidence:
    """Collects what servers say.

    Args:
        servers: all that are asked.
        hosts: this host's addresses.
        ports: the local port of each socket.

    Attributes:
        rtts: by server that answered; seconds, or None where that cannot be told.
        others: the OTHER-ADDRESS of servers, as far as it is worth anything.
        seen: where a target sees a socket.
        arrived: whether an answer that was to come from elsewhere did; False if it came, but not from there.
        silent: topics of questions that had no answer.
    """

    def __init__(self, servers: Sequence[Address], hosts: Sequence[str], ports: Sequence[int]) -> None:
        self.rtts: dict[Address, float | None] = {}
        self.others: dict[Address, Address] = {}
        self.seen: dict[tuple[int, Address], Address] = {}
        self.arrived: dict[Topic, bool] = {}
        self.silent: set[Topic] = set()
        self._servers = servers
        self._hosts = frozenset(hosts)
        self._ports = ports
        self._notes: dict[str, None] = {}

    def note(self, code: str) -> None:
        """Adds a note, once."""
        if code not in NOTES:
            raise ValueError(f"no note {code!r}")
        self._notes[code] = None

    def came(self, topic: Topic, from_there: bool) -> None:
        """Takes that an answer came, from where it was wanted or from elsewhere."""
        self.arrived[topic] = from_there
        if not from_there:
            self.note("change-ignored")

    def answered(self) -> list[Address]:
        """Returns the IPv4 servers that said where they see socket 0, in order."""
        return [server for server in self._servers if not server.is_ipv6 and (_MAIN, server) in self.seen]

    def second_port(self, server: Address) -> Address | None:
        """Returns the second port of a server's own host, if it names one."""
        other = self.others.get(server)
        return None if other is None or other.port == server.port else Address(server.host, other.port)

    # --- judgements ---

    @property
    def is_translated(self) -> bool:
        """Returns whether IPv4 is translated."""
        return self._is_translated(is_ipv6=False)

    @property
    def is_endpoint_independent(self) -> bool:
        """Returns whether the mapping is known to be."""
        return self._mappings() == (Mapping.ENDPOINT_INDEPENDENT,)

    def is_agreed(self, *mapped: Address) -> bool:
        """Returns whether servers at two addresses see us at these hosts, and something may be sent there."""
        return all(
            is_usable_target(each)
            and len({target.host for (_, target), seen in self.seen.items() if seen.host == each.host}) > 1
            for each in mapped
        )

    def report(self, primary: Address | None, lender: Address | None, series: Iterable[int]) -> NatReport:
        """Returns what follows from everything.

        Args:
            primary: the server that most was asked of.
            lender: the one that was asked to answer in its place.
            series: the sockets that asked `primary` one after another.
        """
        if any(server not in self.rtts for server in self._servers) and self.rtts:
            self.note("server-silent")
        ipv6 = next((seen for (_, target), seen in self.seen.items() if target.is_ipv6), None)
        fields = {
            "ipv6_address": "" if ipv6 is None else str(ipv6),
            "ipv6_translated": None if ipv6 is None else self._is_translated(is_ipv6=True),
            "servers": tuple(self._describe(server) for server in self._servers),
        }
        if primary is None:
            self.note("no-ipv4" if self.rtts else "no-answer" if self._servers else "no-server")
            return NatReport(udp=bool(self.rtts), notes=tuple(self._notes), **fields)  # type: ignore[arg-type]
        mappings = self._mappings()
        self._note_mapping(mappings)
        filterings = self._filterings(primary, lender)
        addresses = tuple(dict.fromkeys(seen.host for seen in self._seen_over_ipv4()))
        allocation, pooling = Allocation(None), None
        if self.is_translated:
            allocation = self._judge_ports(primary, series)
            if len(addresses) > 1:
                pooling = Pooling.ARBITRARY
                self.note("addresses-differ")
            elif len(self._seen_over_ipv4()) >= _POOL_SAMPLES_MIN:
                pooling = Pooling.PAIRED
        hairpin = self._hairpin()
        return NatReport(
            udp=True,
            addresses=addresses,
            translated=self.is_translated,
            mappings=mappings,
            filterings=filterings,
            allocation=allocation.allocation,
            step=allocation.step,
            ports=allocation.ports,
            block_ports=allocation.block_ports,
            pooling=pooling,
            hairpin=hairpin,
            notes=tuple(self._notes),
            **fields,  # type: ignore[arg-type]
        )

    def _mappings(self) -> tuple[Mapping, ...]:
        if not self.is_translated:
            return (Mapping.ENDPOINT_INDEPENDENT,)
        by_address, by_port = self._dependence()
        if by_port:
            return (Mapping.ADDRESS_AND_PORT_DEPENDENT,)
        if by_address is None:
            return tuple(Mapping) if by_port is None else tuple(Mapping)[:2]
        if not by_address:
            return (Mapping.ENDPOINT_INDEPENDENT,)
        return tuple(Mapping)[1:] if by_port is None else (Mapping.ADDRESS_DEPENDENT,)

    def _dependence(self) -> tuple[bool | None, bool | None]:
        """Returns whether another address, and whether another port of one address, sees socket 0 elsewhere."""
        by_address: bool | None = None
        by_port: bool | None = None
        seen = [(target, at) for (socket, target), at in self.seen.items() if socket == _MAIN and not target.is_ipv6]
        for (one, one_at), (other, other_at) in combinations(seen, 2):
            differs = one_at != other_at
            if one.host == other.host:
                by_port = differs or bool(by_port)
            else:
                by_address = differs or bool(by_address)
        return by_address, by_port

    def _note_mapping(self, mappings: tuple[Mapping, ...]) -> None:
        by_address, by_port = self._dependence()
        if len(mappings) > 1 and by_address is None:
            self.note("mapping-one-address")
        if len(mappings) > 1 and by_port is None:
            self.note("mapping-one-port")

    def _filterings(self, primary: Address, lender: Address | None) -> tuple[Filtering, ...]:
        port = self._is_let_in(Topic("change-port", primary))
        claimed = self._is_let_in(Topic("change-address", primary))
        stranger = None
        if lender is not None and self.arrived.get(Topic("lend", lender)):
            stranger = self._is_let_in(Topic("stranger", lender))
        if stranger is None and claimed is not None:
            stranger = claimed
            if not claimed:
                self.note("filtering-claimed")
        if stranger:
            return (Filtering.ENDPOINT_INDEPENDENT,)
        if port is False:
            return (Filtering.ADDRESS_AND_PORT_DEPENDENT,)
        if stranger is None:
            self.note("filtering-address")
        if port is None:
            self.note("filtering-port")
        possible = tuple(Filtering)
        return possible[0 if stranger is None else 1 : 2 if port else 3]

    def _is_let_in(self, topic: Topic) -> bool | None:
        """Returns whether an answer from elsewhere came; None where it was not asked for, refused or ignored."""
        if topic in self.arrived:
            return self.arrived[topic] or None
        return False if topic in self.silent else None

    def _judge_ports(self, primary: Address, series: Iterable[int]) -> Allocation:
        wanted = [(socket, primary) for socket in series]
        sample = [(self._ports[key[0]], self.seen[key].port) for key in wanted if key in self.seen]
        found = judge_ports(sample, [at.port for at in self._seen_over_ipv4()])
        if found.allocation is None:
            self.note("ports-few")
        return found

    def _hairpin(self) -> bool | None:
        hairpins = [topic for topic in (*self.arrived, *self.silent) if topic.what == "hairpin"]
        if hairpins:
            return any(topic in self.arrived for topic in hairpins)
        if self.is_translated:
            self.note("hairpin-agreement" if self.is_endpoint_independent else "hairpin-mapping")
        return None

    def _seen_over_ipv4(self) -> list[Address]:
        return [at for (_, target), at in self.seen.items() if not target.is_ipv6]

    def _is_translated(self, *, is_ipv6: bool) -> bool:
        return any(
            at.host not in self._hosts or at.port != self._ports[socket]
            for (socket, target), at in self.seen.items()
            if target.is_ipv6 == is_ipv6
        )

    def _describe(self, server: Address) -> ServerReport:
        seen_at = self.seen.get((_MAIN, server))
        return ServerReport(server, self.rtts.get(server), seen_at, self.second_port(server) is not None)
