"""Streams between simulated hosts, as carriers bring them to machines: in order, late where TCP would repeat.

A stream passes routers by their policy (`Passage`), not by their NAT: every NAT passes TCP that begins inside. It takes
as many round trips to open as the real one: TCP and greeting 2, TCP, TLS 1.3 and WebSocket 3, through a proxy 4.

A segment that a line loses comes later by a repetition, and holds back all that follow. What is sent while there is no
way is lost with the stream, which neither end notices by itself: a host that moved away, a cable that is out. A program
that ends breaks its streams at once.
"""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final, NamedTuple

from ntvl.identity.url import SupernodeUrl
from ntvl.nat import Passage
from ntvl.sim.host import Host
from ntvl.sim.router import Router
from ntvl.sim.segment import Attachment
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address

__all__ = ["ROUND_TRIPS", "SimCarriers", "Way", "find_way"]

ROUND_TRIPS: Final = {"tcp": 2, "wss": 3, "proxy": 4}
TIME_LIMIT_S: Final = 10.0
"""When a node gives up a stream that does not open, as `runtime.dialler` has it."""
_REPEAT_S: Final = 0.2
"""The shortest wait of Linux before TCP repeats a segment (TCP_RTO_MIN)."""
_REPEATS_MAX: Final = 8


class Way(NamedTuple):
    """Is the way of a stream: the seconds of one direction, the probability that it loses a segment, and by which
    interface of the host it leaves.
    """

    delay_s: float
    loss: float
    first: Attachment


def find_way(host: Host, target: Host, port: int, *, by_proxy: bool = False) -> Way | None:
    """Returns the way for a stream from a host to a port of another on the Internet, or None where there is none.

    Args:
        by_proxy: whether a proxy on each box takes it on, where the box itself lets nothing out.
    """
    first = next((i for i in host.interfaces if i.up and i.address(False) is not None), None)
    if first is None or host.asleep or target.asleep or not target.hears(host) or not host.hears(target):
        return None
    delay_s, loss, segment = first.line.link.delay_s, first.line.link.loss, first.segment
    while True:
        last = next((i for i in target.interfaces if i.segment is segment and i.up), None)
        if last is not None:
            return Way(delay_s + last.line.link.delay_s, min(1.0, loss + last.line.link.loss), first)
        gateway = segment.gateway
        if gateway is None or not isinstance(gateway.box, Router) or not gateway.box.up:
            return None
        router = gateway.box
        passes = router.behaviour.passes
        if (passes is Passage.TCP_443 and port != 443) or (passes is Passage.NOTHING and not by_proxy):
            return None
        delay_s += gateway.line.link.delay_s + router.line.link.delay_s
        loss += gateway.line.link.loss + router.line.link.loss
        segment = router.outside


class _Stream:
    """Is one stream, with the loopback address of its carrier on either side."""

    def __init__(self, carriers: "SimCarriers", target: Host, way: Way, port: int, number: int, by_proxy: bool) -> None:
        self.carriers = carriers
        self.target = target
        self.near = Address(f"127.64.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16))
        self.far = Address(f"127.65.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16))
        self._way = way
        self._port = port
        self._by_proxy = by_proxy
        self._programs = (carriers.host.program, target.program)
        self._last = {True: 0.0, False: 0.0}
        carriers.host.streams[self.near] = lambda data: self._send(data, outwards=True)
        target.streams[self.far] = lambda data: self._send(data, outwards=False)

    def close(self) -> None:
        """Takes the carriers of both sides away."""
        self.carriers.host.streams.pop(self.near, None)
        self.target.streams.pop(self.far, None)

    def _send(self, data: bytes, *, outwards: bool) -> None:
        host, timeline = self.carriers.host, self.carriers.timeline
        way = find_way(host, self.target, self._port, by_proxy=self._by_proxy)
        if way is None or way.first is not self._way.first:
            return
        moment = timeline.now + way.delay_s
        for _ in range(_REPEATS_MAX):
            if self.carriers.random.random() >= way.loss:
                break
            moment += max(_REPEAT_S, 2 * way.delay_s)
        self._last[outwards] = moment = max(moment, self._last[outwards])
        timeline.at(moment, lambda: self._arrive(data, outwards))

    def _arrive(self, data: bytes, outwards: bool) -> None:
        host, source = (self.target, self.far) if outwards else (self.carriers.host, self.near)
        if source not in host.streams or host.program is None or host.asleep:
            return
        if host.program is not self._programs[outwards]:
            self.carriers.handle_break(self)
            return
        host.received += 1
        host.program.handle_datagram(data, source, 0)


class SimCarriers:
    """Opens and closes the carriers of one node, in the place of `runtime.carriers`.

    Args:
        find: returns a supernode's host by its URL, and its port for WebSockets, 0 for none; None where there is none.
        tell: as in `runtime.carriers`.
    """

    _numbers = count(1)

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        random: Random,
        *,
        find: Callable[[SupernodeUrl], tuple[Host, int] | None],
        tell: Callable[[int, str, Address | None], None],
    ) -> None:
        self.host = host
        self.timeline = timeline
        self.random = random
        self._find = find
        self._tell = tell
        self._wanted: dict[tuple[int, str], object] = {}
        self._streams: dict[tuple[int, str], _Stream] = {}

    def want(self, index: int, kind: str, url: SupernodeUrl) -> None:
        """Opens a carrier, in place of the one of that kind."""
        self.unwant(index, kind)
        token = self._wanted[index, kind] = object()
        found = self._find(url)
        port = url.port if kind == "tcp" else url.wss
        way = None if found is None else find_way(self.host, found[0], port, by_proxy=kind == "proxy")
        if found is None or way is None:
            self.timeline.after(TIME_LIMIT_S, lambda: self._fail(index, kind, token))
            return
        target, wss = found
        if target.program is None or (kind != "tcp" and wss != port):
            self.timeline.after(2 * way.delay_s, lambda: self._fail(index, kind, token))
            return
        opened_s = ROUND_TRIPS[kind] * 2 * way.delay_s
        self.timeline.after(opened_s, lambda: self._open(index, kind, token, target, way, port))

    def unwant(self, index: int, kind: str) -> None:
        """Closes a carrier, if it is there."""
        self._wanted.pop((index, kind), None)
        stream = self._streams.pop((index, kind), None)
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Closes all."""
        for index, kind in list(self._wanted):
            self.unwant(index, kind)

    def handle_break(self, stream: _Stream) -> None:
        """Takes a stream away whose other end knows it no more."""
        for (index, kind), known in list(self._streams.items()):
            if known is stream:
                self.unwant(index, kind)
                self._tell(index, kind, None)

    def _open(self, index: int, kind: str, token: object, target: Host, way: Way, port: int) -> None:
        if self._wanted.get((index, kind)) is not token:
            return
        if target.program is None:
            self._fail(index, kind, token)
            return
        stream = _Stream(self, target, way, port, next(self._numbers), kind == "proxy")
        self._streams[index, kind] = stream
        target.on_stop.append(lambda: self.timeline.after(way.delay_s, lambda: self.handle_break(stream)))
        self._tell(index, kind, stream.near)

    def _fail(self, index: int, kind: str, token: object) -> None:
        if self._wanted.get((index, kind)) is token:
            self.unwant(index, kind)
            self._tell(index, kind, None)
