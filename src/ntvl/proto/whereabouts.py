"""Where this node is on the network, as far as it knows: its addresses, its mappings, the NATs in front of it.

Each change of what we know has us look again, and only a change of what was found is told to peers.
"""

from collections.abc import Callable, Sequence

from ntvl.proto.candidates import build_candidates
from ntvl.proto.context import Context
from ntvl.proto.events import SeenElsewhere
from ntvl.proto.lifetime_probe import LifetimeProbe
from ntvl.proto.nat_probe import NatProbe, summarise
from ntvl.proto.nat_report import NatReport
from ntvl.proto.registration import Registration
from ntvl.proto.surroundings import Surroundings
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Candidate

__all__ = ["Whereabouts"]


class Whereabouts:
    """Keeps them, and looks at the NAT with sockets of its own.

    Args:
        port: the main UDP port, 0 where unknown.
        registrations: our supernodes, which see us and answer STUN; filled later.
        on_nat: is told when the NATs in front of us turn out to be others than known.
    """

    def __init__(
        self,
        context: Context,
        surroundings: Surroundings,
        *,
        port: int,
        registrations: Sequence[Registration],
        on_nat: Callable[[float], None],
    ) -> None:
        self.hosts: tuple[str, ...] | None = None
        """This machine's addresses; None before they were told."""
        self.report: NatReport | None = None
        """What the last look at the NATs in front of us found."""
        self._context = context
        self._around = surroundings
        self._port = port
        self._registrations = registrations
        self._on_nat = on_nat
        self._looked_at: tuple[object, ...] = ()
        self._has_observed: set[int] = set()
        self._nat_probe = NatProbe(
            context,
            surroundings.sockets,
            hosts=lambda: self.hosts or (),
            servers=self.servers,
            on_report=self._handle_report,
        )
        self._lifetime_probe = LifetimeProbe(
            context, surroundings.sockets, server=lambda: next(iter(self.servers()), None)
        )

    # --- what is known ---

    @property
    def mapping_lifetime_s(self) -> float | None:
        """Returns for how long a mapping lives at least, None where that is not known."""
        return self._lifetime_probe.lifetime_s

    def candidates(self) -> tuple[Candidate, ...]:
        """Returns where peers may find us."""
        observed = [r.observed for r in self._registrations if r.observed is not None]
        around = self._around
        return build_candidates(
            self.hosts or (),
            self._port,
            observed,
            around.overlay,
            mapped=around.mappings,
            relayed=around.turn.relayed,
        )

    def servers(self) -> tuple[Address, ...]:
        """Returns an IPv4 address of each supernode, as far as there are any, streams left out."""
        firsts = (next((a for a in r.resolved if not a.is_ipv6), None) for r in self._registrations)
        return tuple(address for address in firsts if address is not None)

    def server(self) -> Address | None:
        """Returns a supernode that answers over UDP and IPv4, if there is one."""
        usable = self.servers()
        reached = (r.address for r in self._registrations if r.is_reachable())
        return next((address for address in reached if address in usable), None)

    # --- what changes ---

    def handle_interfaces(self, hosts: Sequence[str], now: float) -> bool:
        """Takes this machine's addresses; returns whether there were any before."""
        before, self.hosts = self.hosts, tuple(hosts)
        if before is not None:
            self._looked_at = ()  # Told again with the same addresses, it is the default route that changed.
        self.look_again(now)
        return before is not None

    def handle_observed(self, via: int, now: float) -> None:
        """Takes the news that supernode `via` sees us elsewhere; the first time it does is no news."""
        if via in self._has_observed:
            self._context.events.append(SeenElsewhere(via))
            if self._around.direct:
                self._nat_probe.handle_change(now)
                self._lifetime_probe.handle_change()
        self._has_observed.add(via)

    def look_again(self, now: float) -> None:
        """Looks at the NAT where that may show something new."""
        around = (self.hosts, self.servers())
        if self._around.direct and all(around) and around != self._looked_at:
            self._looked_at = around
            self._nat_probe.handle_change(now)
            self._lifetime_probe.handle_change()

    def _handle_report(self, report: NatReport, now: float) -> None:
        self.report = report
        # A look takes IPv4 alone; that a supernode sees us says the same of IPv6.
        udp = report.udp or any(r.observed is not None for r in self._registrations)
        if report.udp:
            self._lifetime_probe.handle_network(self.hosts or (), report.addresses, now)
        nat = summarise(report)
        is_news = (nat, udp) != (self._around.nat, self._around.udp is not False)
        self._around.nat, self._around.udp = nat, udp
        if is_news:
            self._on_nat(now)

    # --- sockets and time ---

    def handle_socket(self, number: int, port: int, now: float) -> None:
        """Takes the news on which port a socket is, of whomever it is."""
        self._nat_probe.handle_socket(number, port, now)
        self._lifetime_probe.handle_socket(number, now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> bool:
        """Takes a datagram; returns whether it came to a socket of a look, and so is for nobody else."""
        for probe in (self._nat_probe, self._lifetime_probe):
            if probe.expects(origin.socket):
                probe.handle_datagram(data, origin, now)
                return True
        return False

    def handle_nat_timeout(self, now: float) -> None:
        """Does what the look at the NAT has due."""
        self._nat_probe.handle_timeout(now)

    def handle_lifetime_timeout(self, now: float) -> None:
        """Does what the search for the mappings' lifetime has due."""
        self._lifetime_probe.handle_timeout(now)
