"""A node's own looks at the NATs in front of it: at the start, and again whenever its network changed.

    changed --0.3 s--> sockets asked for --> their ports known --> `Classification` --> told, sockets closed

What is found goes to the node, which tells its peers with each offer; the techniques that need it wait for it. The main
port takes no part: a look has sockets of its own, so that mappings in use stay as they are. Only IPv4 is looked at, for
NATs of IPv6 keep ports where there are any, and peers' techniques treat it so.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ntvl.dataplane.interface import Target
from ntvl.nat import Mapping, PortAllocation
from ntvl.proto.classification import SOCKETS, Classification
from ntvl.proto.context import Context
from ntvl.proto.nat_report import NatReport
from ntvl.proto.sockets import Sockets
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import UNKNOWN_NAT, Nat

__all__ = ["NatProbe", "summarise"]

SETTLE_S: Final = 0.3
"""After the last change, the wait before a look: changes come in bursts."""
OPEN_LIMIT_S: Final = 5.0
"""How long the data plane has to say where the sockets are; a busy computer takes its time."""
AGAIN_S: Final = (5.0, 15.0, 60.0)
"""Waits after looks that did not tell the mapping; the last is repeated only where nobody answered at all."""

_PORT_MIN: Final = 1024
_PORT_MAX: Final = 65535


class NatProbe:
    """Looks when told that something changed, one look at a time.

    Args:
        hosts: returns this machine's addresses.
        servers: returns whom to ask, IPv4.
        on_report: is told what was found, with the time.
    """

    def __init__(
        self,
        context: Context,
        sockets: Sockets,
        *,
        hosts: Callable[[], Sequence[str]],
        servers: Callable[[], Sequence[Address]],
        on_report: Callable[[NatReport, float], None],
    ) -> None:
        self._context = context
        self._sockets = sockets
        self._hosts = hosts
        self._servers = servers
        self._on_report = on_report
        self._due: float | None = None
        self._fruitless = 0
        self._asked_at = 0.0
        self._places: dict[int, int] = {}
        self._ports: dict[int, int] = {}
        self._look: Classification | None = None

    def handle_change(self, now: float) -> None:
        """Takes the news that something of the network changed; a look under way is thrown away."""
        self._end()
        self._fruitless = 0
        self._plan(now + SETTLE_S)

    def handle_socket(self, number: int, port: int, now: float) -> None:
        """Takes the news on which port a socket is."""
        if number not in self._places or self._look is not None:
            return
        self._ports[number] = port
        if len(self._ports) == len(self._places):
            ports = [self._ports[each] for each in self._places]
            self._look = Classification(self._servers(), hosts=self._hosts(), ports=ports, random=self._context.random)
            self._look.start(now)
            self._advance(now)

    def expects(self, number: int) -> bool:
        """Returns whether what comes to this socket is for this."""
        return number in self._places

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram that came to one of its sockets; what is no answer is counted."""
        if self._look is None:
            return
        before = self._look.drops.copy()
        self._look.handle_datagram(data, origin._replace(socket=self._places[origin.socket]), now)
        for reason, number in (self._look.drops - before).items():
            self._context.drops[reason] += number
        self._advance(now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        if self._due is not None and now >= self._due:
            self._due = None
            self._begin(now)
        elif self._look is not None:
            self._look.handle_timeout(now)
        elif self._places and now >= self._asked_at + OPEN_LIMIT_S:
            self._end()  # This computer has no sockets to give, or no data plane that tells.
            self._plan_again(now)
        self._advance(now)

    def _plan(self, at: float) -> None:
        self._due = at
        self._schedule()

    def _plan_again(self, now: float) -> None:
        self._plan(now + AGAIN_S[min(self._fruitless, len(AGAIN_S) - 1)])
        self._fruitless += 1

    def _begin(self, now: float) -> None:
        if not self._servers() or not self._hosts():
            return
        numbers = self._sockets.open_more(SOCKETS)
        self._asked_at = now
        self._places = {number: place for place, number in enumerate(numbers)}

    def _advance(self, now: float) -> None:
        look = self._look
        if look is not None:
            numbers = list(self._places)
            while (sent := look.poll_transmit()) is not None:
                self._context.send(sent.data, Target(sent.address.host, sent.address.port, numbers[sent.socket]))
            if look.report is not None:
                self._end()
                if summarise(look.report) == UNKNOWN_NAT and (not look.report.udp or self._fruitless < len(AGAIN_S)):
                    self._plan_again(now)
                self._on_report(look.report, now)
        self._schedule()

    def _end(self) -> None:
        for number in self._places:
            self._sockets.close(number)
        self._places, self._ports, self._look = {}, {}, None

    def _schedule(self) -> None:
        at = self._due
        if self._look is not None:
            wakeup = self._look.poll_timeout()
            at = wakeup.at if wakeup is not None else at
        elif self._places:
            at = self._asked_at + OPEN_LIMIT_S
        if at is None:
            self._context.timers.cancel(("nat",))
        else:
            self._context.timers.set(("nat",), at)


def summarise(report: NatReport) -> Nat:
    """Returns what peers are told of a report.

    Where only one server has answered, a mapping that does not depend on the port counts as endpoint-independent: NATs
    that tell apart addresses but not ports are rare. Filtering counts as the strictest that is possible. The range of a
    block is all that it may be, from what was seen of it.
    """
    if not report.udp or report.translated is None:
        return UNKNOWN_NAT
    filtering = str(report.filterings[-1])
    if not report.translated or report.allocation is PortAllocation.PRESERVING:
        return Nat(str(Mapping.ENDPOINT_INDEPENDENT), filtering, str(PortAllocation.PRESERVING))
    if len(report.mappings) == len(Mapping):
        return UNKNOWN_NAT
    allocation = report.allocation or PortAllocation.RANDOM
    low, high = _PORT_MIN, _PORT_MAX
    if allocation is PortAllocation.BLOCK_RANDOM and report.ports is not None and report.block_ports:
        low = max(_PORT_MIN, report.ports[1] - report.block_ports + 1)
        high = min(_PORT_MAX, report.ports[0] + report.block_ports - 1)
    return Nat(str(report.mappings[0]), filtering, str(allocation), report.step, low, high)
