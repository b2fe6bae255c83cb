"""How long the NATs in front of us remember a mapping, and so how often an idle one has to be refreshed.

    network known --> 15 s until something is proven
      --search in the background, once for each network (`BindingLifetime`, two spare sockets, minutes)-->
      0.8 x lifetime, 10 s to 100 s

Each side of a path refreshes by its own NAT and tells nobody: a check goes there and its answer back, so it refreshes
the mappings of both, and the side with the shorter memory in front of it sets the pace.

A network is known by our own addresses and our public one; the last few are remembered, so a laptop that goes to and
fro between two measures each once. What is measured over IPv4 also counts for the firewalls of IPv6.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.proto.binding_lifetime import BindingLifetime
from ntvl.proto.context import Context
from ntvl.proto.sockets import Sockets
from ntvl.wire.address import Address, Origin

__all__ = ["KEEPALIVE_START_S", "KEEPALIVE_S_MAX", "LifetimeProbe", "keepalive_s"]

KEEPALIVE_START_S: Final = 15.0
"""Before anything is proven: some NATs forget after 20 s."""
KEEPALIVE_S_MIN: Final = 10.0
KEEPALIVE_S_MAX: Final = 100.0
SHARE: Final = 0.8
DELAY_S: Final = 10.0
"""After the network is known: what peers wait for comes first."""
OPEN_LIMIT_S: Final = 1.0
"""How long the data plane has to say that the sockets are there."""
AGAIN_S: Final = 3600.0
"""After a search that found nothing out."""
NETWORKS_MAX: Final = 16

Network = tuple[str, ...]
_SOCKETS: Final = 2


def keepalive_s(lifetime_s: float | None) -> float:
    """Returns how often to refresh a mapping that lives for so long; None where that is not known."""
    if lifetime_s is None:
        return KEEPALIVE_START_S
    return min(max(lifetime_s * SHARE, KEEPALIVE_S_MIN), KEEPALIVE_S_MAX)


class LifetimeProbe:
    """Measures once for each network, and sets the node's `Context.keepalive_s`.

    Args:
        server: returns whom to ask, a supernode; None where there is none over IPv4.
    """

    def __init__(self, context: Context, sockets: Sockets, *, server: Callable[[], Address | None]) -> None:
        self.lifetime_s: float | None = None
        """For how long a mapping lives at least, seconds; 0 for less than 20; None where that is not known."""
        self._context = context
        self._sockets = sockets
        self._server = server
        self._known: dict[Network, float] = {}
        self._network: Network = ()
        self._due: float | None = None
        self._numbers: list[int] = []
        self._opened: set[int] = set()
        self._search: BindingLifetime | None = None

    def handle_change(self) -> None:
        """Takes the news that something of the network changed: what was measured may be true no more."""
        self._end()
        self._network = ()
        self._due = None
        self._set(None)
        self._schedule()

    def handle_network(self, hosts: Sequence[str], public: Sequence[str], now: float) -> None:
        """Takes where we are: our own addresses, and the public ones that servers see."""
        network = (*hosts, "", *public)
        if network == self._network:
            return
        self._end()
        self._network = network
        self._set(self._known.get(network))
        self._due = None if self.lifetime_s is not None else now + DELAY_S
        self._schedule()

    def handle_socket(self, number: int, now: float) -> None:
        """Takes the news that a socket is open."""
        if number not in self._numbers or self._search is not None:
            return
        self._opened.add(number)
        server = self._server()
        if len(self._opened) == len(self._numbers) and server is not None:
            self._search = BindingLifetime(server, random=self._context.random, longest_s=KEEPALIVE_S_MAX / SHARE)
            self._search.start(now)
            self._advance(now)

    def expects(self, number: int) -> bool:
        """Returns whether what comes to this socket is for this."""
        return number in self._numbers

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram that came to one of its sockets; what is no answer is counted."""
        if self._search is None:
            return
        before = self._search.drops.copy()
        self._search.handle_datagram(data, origin._replace(socket=self._numbers.index(origin.socket)), now)
        for reason, number in (self._search.drops - before).items():
            self._context.drops[reason] += number
        self._advance(now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        if self._search is not None:
            self._search.handle_timeout(now)
        elif self._due is not None and now >= self._due:
            if self._numbers:
                self._give_up(now)  # This computer has no sockets to give, or no data plane that tells.
            else:
                self._begin(now)
        self._advance(now)

    def _begin(self, now: float) -> None:
        self._numbers = self._sockets.open_more(_SOCKETS) if self._server() is not None else []
        self._due = now + (OPEN_LIMIT_S if self._numbers else AGAIN_S)

    def _advance(self, now: float) -> None:
        search = self._search
        if search is not None:
            while (sent := search.poll_transmit()) is not None:
                target = Target(sent.address.host, sent.address.port, self._numbers[sent.socket])
                self._context.send(sent.data, target)
            if search.proven_s:
                self._set(search.proven_s)
            if search.report is not None and search.report.problem:
                self._give_up(now)
            elif search.report is not None:
                self._end()
                self._set(search.report.alive_s)
                while len(self._known) >= NETWORKS_MAX:
                    del self._known[next(iter(self._known))]
                self._known[self._network] = search.report.alive_s
        self._schedule()

    def _give_up(self, now: float) -> None:
        self._end()
        self._due = now + AGAIN_S

    def _end(self) -> None:
        for number in self._numbers:
            self._sockets.close(number)
        self._numbers, self._opened, self._search = [], set(), None
        self._due = None

    def _set(self, lifetime_s: float | None) -> None:
        self.lifetime_s = lifetime_s
        self._context.keepalive_s = keepalive_s(lifetime_s)

    def _schedule(self) -> None:
        wakeup = None if self._search is None else self._search.poll_timeout()
        at = self._due if self._search is None or wakeup is None else wakeup.at
        if at is None:
            self._context.timers.cancel(("lifetime",))
        else:
            self._context.timers.set(("lifetime",), at)
