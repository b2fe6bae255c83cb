"""Over what a supernode is reached: UDP, or a stream where UDP does not pass.

A stream is bridged by a *carrier*, which the runtime opens on request: it looks to the engine like one more address of
the supernode, a loopback one, to which handshakes go as to the others. The first that answers is used.

    race      UDP at 0 s; a carrier of each kind is asked for after its head start; ends with any authentic answer
    carried   the carrier that answered is kept, the others go; each handshake tries UDP first, so every change of
              network and every rekeying (120 s) is a chance for UDP to be taken again; the first chances come sooner,
              since it may have been one lost datagram that made the stream win
    lost      the stream broke, or a keepalive had no answer: the race begins anew, and replaces old carriers

A race begins where an answer is awaited and none came: at the start, when the network changed, with the first silent
keepalive. A kind that carried before on this network has no head start to wait for.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ntvl.identity.url import SupernodeUrl
from ntvl.proto.context import Context
from ntvl.proto.events import CarrierUnwanted, CarrierWanted, Notice, SupernodeReached
from ntvl.wire.address import Address

__all__ = ["HEAD_START_S", "PROBE_S", "RETRY_S", "Carriage"]

HEAD_START_S: Final = {"tcp": 0.3, "wss": 0.6, "proxy": 0.6}
"""How long a kind waits for those before it: an answer over UDP takes less from most of the world. The two that cost
most round trips, and a proxy's owner a line in a log, come last."""
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a kind that failed is asked for again in the same race."""
PROBE_S: Final = (2.0, 10.0, 30.0)
"""Waits before UDP is tried again after a carrier has won; from then on each rekeying tries it."""
LATE_S: Final = 1.0
"""A carrier that is due for longer became so in suspend, when UDP had no chance to answer."""


@dataclass(slots=True)
class _Carrier:
    since: float
    address: Address | None = None


class Carriage:
    """Decides for one supernode.

    Args:
        context: takes events.
        via: the supernode's place in the settings.
        url: its URL as text.
        streams: whether the runtime opens carriers; without, there is UDP alone.
        proxy: the HTTP proxy towards this supernode as HOST:PORT, empty for none.
    """

    def __init__(self, context: Context, *, via: int, url: str, streams: bool, proxy: str) -> None:
        self._context = context
        self._via = via
        self._url = url
        self._proxy = proxy
        self._kinds = () if not streams else ("tcp", "wss", "proxy") if proxy else ("tcp", "wss")
        self._carriers: dict[str, _Carrier] = {}
        self._gone: deque[Address] = deque(maxlen=16)
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._began: float | None = None
        self._probes = 0
        self._probe_at: float | None = None
        self.remembered = ""
        """The kind that carried last on this network, empty for none."""
        self.way = ""
        """What answered last: "udp" or a kind; empty before the first answer."""

    @property
    def over(self) -> str:
        """Returns over what the supernode is reached, in the words of `ntvl status`; empty before the first answer."""
        return f"wss through proxy {self._proxy}" if self.way == "proxy" else self.way

    @property
    def is_carried(self) -> bool:
        """Returns whether a carrier that is open answered last."""
        carrier = self._carriers.get(self.way)
        return carrier is not None and carrier.address is not None

    @property
    def has_proxy(self) -> bool:
        """Returns whether there may be a way although the supernode's name does not resolve here."""
        return "proxy" in self._kinds

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Returns the addresses of the carriers that are open."""
        return tuple(c.address for c in self._carriers.values() if c.address is not None)

    def targets(self, addresses: tuple[Address, ...], tries: int, hosts: Sequence[str] = ()) -> tuple[Address, ...]:
        """Returns to which of the supernode's addresses a try of a handshake goes, counted from 1.

        With carriers every second try goes to them alone: where UDP gets out and its answers do not get in, the
        supernode takes what comes later by a stream for a replay. While a carrier serves, the first try is for UDP
        alone, or UDP would hardly ever win.

        The first try is for IPv4 alone where both ends may have it: over IPv4 the supernode sees the port that a NAT
        gives us, over IPv6 nothing but an address that we know. Where that has been in vain since a carrier serves, the
        families are tried alike.

        Args:
            hosts: this machine's addresses, empty where they are not known.
        """
        carriers = self.addresses
        if carriers and tries % 2 == 0:
            return carriers
        if tries != 1:
            return addresses
        by_udp = tuple(address for address in addresses if address not in carriers)
        if (not hosts or any(":" not in host for host in hosts)) and not (self.is_carried and self._probes > 1):
            by_udp = tuple(address for address in by_udp if not address.is_ipv6) or by_udp
        return (by_udp or carriers) if self.is_carried else (*by_udp, *carriers)

    def hides_port(self, address: Address | None, addresses: tuple[Address, ...]) -> bool:
        """Returns whether a supernode that is reached at `address` does not see the port that a NAT gives us, by a
        stream or IPv6, and might, by UDP or another of its addresses.
        """
        if self.is_carried or address is None:
            return self.is_carried
        return address.is_ipv6 and any(not other.is_ipv6 for other in addresses)

    def remember(self, way: str, now: float) -> None:
        """Takes the kind that carried last on the network where we are, empty for none."""
        self.remembered = way
        if way in self._due:
            self._due[way] = min(self._due[way], now)

    def begin(self, now: float) -> None:
        """Begins a race, if none runs."""
        if self._began is None and self._kinds:
            self._began = now
            self._failures.clear()
            self._due = {kind: now + (0.0 if kind == self.remembered else HEAD_START_S[kind]) for kind in self._kinds}

    def renew(self, now: float) -> None:
        """Begins a race even if one runs: the network is another one."""
        self._began, self._probes = None, 0
        self._probe_at = now + PROBE_S[0] if self.is_carried else None
        self.begin(now)

    def handle_answer(self, address: Address, now: float) -> bool:
        """Takes an authentic answer from an address; returns whether the supernode is there from now on.

        It is not where the answer came late, by a carrier that is given up already.
        """
        if address in self._gone:
            return False
        way = next((kind for kind, carrier in self._carriers.items() if carrier.address == address), "udp")
        self._began = None
        self._due.clear()
        for kind in [kind for kind in self._carriers if kind != way]:
            self._drop(kind)
        if way == "udp":
            self._probe_at = None
        elif way != self.way:
            self._probes, self._probe_at = 0, now + PROBE_S[0]
        if way != self.way:
            before, self.way = self.over, way
            self.remembered = "" if way == "udp" else way
            self._context.events.append(SupernodeReached(self._via, self._url, way, self.over, before))
        return True

    def handle_carrier(self, kind: str, address: Address | None, now: float) -> bool:
        """Takes what became of a carrier: open at a loopback address, or (None) failed or broken.

        Returns:
            Whether there is something to do: to shake hands at the address, or to replace what was in use.
        """
        carrier = self._carriers.get(kind)
        if carrier is None:
            if address is not None:  # Given up while it was being opened.
                self._context.events.append(CarrierUnwanted(self._via, kind))
            return False
        if address is not None:
            carrier.address = address
            self._failures.pop(kind, None)
            return True
        was_used = self.is_carried and kind == self.way
        self._forget(kind)
        if self._began is not None:
            failures = self._failures.get(kind, 0)
            self._failures[kind] = failures + 1
            self._due[kind] = now + RETRY_S[min(failures, len(RETRY_S) - 1)]
        return was_used

    def handle_timeout(self, now: float) -> None:
        """Asks for the carriers that are due."""
        if self._due and now - min(self._due.values()) > LATE_S:
            self._began = now
            self._due = {kind: now + HEAD_START_S[kind] for kind in self._due}
        for kind in [kind for kind, at in self._due.items() if now >= at]:
            del self._due[kind]
            carrier = self._carriers.get(kind)
            if carrier is not None and self._began is not None and carrier.since >= self._began:
                continue
            if carrier is not None:  # Of before the race: nobody knows whether it leads anywhere still.
                self._drop(kind)
            self._carriers[kind] = _Carrier(now)
            self._context.events.append(CarrierWanted(self._via, kind))

    def poll_timeout(self) -> float | None:
        """Returns when to call `handle_timeout`, or `take_probe`."""
        times = [*self._due.values(), *([] if self._probe_at is None else [self._probe_at])]
        return min(times, default=None)

    def take_probe(self, now: float) -> bool:
        """Returns whether it is time to try UDP by a handshake, and puts the next time off."""
        if self._probe_at is None or now < self._probe_at:
            return False
        self._probes += 1
        self._probe_at = now + PROBE_S[self._probes] if self._probes < len(PROBE_S) else None
        return self.is_carried

    def silence(self, url: SupernodeUrl, addresses: tuple[Address, ...], hosts: Sequence[str]) -> Notice:
        """Returns what to tell a person when nothing has an answer.

        Args:
            addresses: what the supernode's name resolves to.
            hosts: this machine's addresses.
        """
        families = {address.is_ipv6 for address in addresses}
        if hosts and addresses and not families & {":" in host for host in hosts} and not self.has_proxy:
            theirs, ours = ("IPv6", "IPv4") if True in families else ("IPv4", "IPv6")
            text = (
                f"supernode {url.endpoint} has {theirs} only, and this computer has none: name it by an {ours} "
                "address, if it has one, with one more --supernode. Trying on"
            )
            return Notice("warning", "no-family", text)
        tried = {"tcp": f"TCP {url.port}", "wss": f"TLS {url.wss}", "proxy": f"the HTTP proxy {self._proxy}"}
        ways = [f"UDP {url.port}", *(tried[kind] for kind in self._kinds)]
        text = (
            f"supernode {url.endpoint} does not answer: is it running, is its port open, and does this network "
            f"let any of it out ({', '.join(ways)})? Trying on"
        )
        return Notice("warning", "no-answer", text)

    def close(self) -> None:
        """Gives up every carrier."""
        self._due.clear()
        self._probe_at = None
        for kind in list(self._carriers):
            self._drop(kind)

    def _drop(self, kind: str) -> None:
        self._forget(kind)
        self._context.events.append(CarrierUnwanted(self._via, kind))

    def _forget(self, kind: str) -> None:
        carrier = self._carriers.pop(kind)
        if carrier.address is not None:
            self._gone.append(carrier.address)
