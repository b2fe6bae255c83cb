"""One end of a TCP connection between simulated hosts: RFC 9293 as far as simultaneous open and carriers need it.

    syn-sent ──── SYN, ACK ────────────────► open        the other end listened, or had our SYN already
        │                                      ▲
        └── SYN ──► syn-received ── ACK ───────┘         both connected (section 3.5, figure 8)
                        ▲
    a listening port ───┘ SYN

What is sent is whole datagrams, each in as many segments as it needs, so a connection is a carrier without framing.
Segments travel as packets: lines lose, delay and mix them, routers translate them or not. The receiver puts them in
order and acknowledges each; the sender repeats what is not acknowledged in time (RFC 6298) or what three later ones
overtook (RFC 5681), and gives up after 20 s without progress, as `runtime.carrier` has told the kernel to.

Deviations: a window of segments that neither grows nor shrinks; a connection ends by a reset, without farewell.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from ntvl.sim.host import Host
from ntvl.sim.tcp_segment import ACK, LAST, RESET, SYN, TcpSegment, build_segment, parse_segment
from ntvl.sim.timeline import Timeline, Timer
from ntvl.wire.address import Address

__all__ = ["SILENT_PEER_S", "TcpConnection"]

SILENT_PEER_S: Final = 20.0
"""`runtime.carrier` sets it as TCP_USER_TIMEOUT."""
_SEGMENT_BYTES: Final = 1220
"""IPv6's smallest MTU without the headers of IPv6 and TCP (RFC 9293 section 3.7.1); it passes every line."""
_WINDOW: Final = 64
"""Segments under way."""
_QUEUE_BYTES_MAX: Final = 256 * 1024
"""What waits for the window, as in `runtime.carrier`."""
_FIRST_REPEAT_S: Final = 1.0
"""RFC 6298 section 2: before anything was measured; each repetition waits twice as long."""
_REPEAT_S: Final = 0.2
"""The shortest wait of Linux beyond a round trip (TCP_RTO_MIN)."""
_ANSWERS_MAX: Final = 5
"""How often a SYN is answered that nothing follows (tcp_synack_retries)."""
_REFUSED_WAIT_S: Final = (0.1, 0.2, 0.4, 0.8)
"""Before a connect that was refused is tried again, as `runtime.shared_port` has it."""
_OVERTAKEN_MAX: Final = 3
_ASLEEP_S: Final = 1.0
"""How often a sleeping host's timer looks whether it is awake."""


class TcpConnection:
    """Is one end, made by `tcp_ports`.

    Args:
        local: the host's address and port, which stay the same wherever the host goes.
        on_open: called once when it opens; it calls `take`.
        on_forget: called once when it is over, however that came.
    """

    def __init__(
        self,
        host: Host,
        timeline: Timeline,
        local: Address,
        remote: Address,
        *,
        on_open: Callable[["TcpConnection"], None],
        on_forget: Callable[["TcpConnection"], None],
    ) -> None:
        self.local = local
        self.remote = remote
        self.state = "new"
        """Then "syn-sent", "syn-received", "open", "closed"."""
        self.drops = 0
        """Datagrams that found the queue full."""
        self._host = host
        self._timeline = timeline
        self._on_open = on_open
        self._on_forget = on_forget
        self._on_data: Callable[[bytes], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._timer: Timer | None = None
        self._repeats = 0
        self._refusals = 0
        # Sending: numbers below `_acked` have arrived, those below `_next` are under way.
        self._acked = self._next = self._recovers_to = 0
        self._flight: dict[int, tuple[bytes, int, float]] = {}
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued_bytes = 0
        self._overtaken = 0
        self._progress_at = 0.0
        self._round_trip_s = 0.0
        # Receiving: numbers below `_awaits` have come.
        self._awaits = 0
        self._early: dict[int, TcpSegment] = {}
        self._parts: list[bytes] = []
        self._whole: deque[bytes] = deque()

    def connect(self) -> None:
        """Sends the SYN, again and again until an answer comes or `close`."""
        self.state = "syn-sent"
        self._say(SYN)
        self._plan(_FIRST_REPEAT_S)

    def take(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        """Takes what has come and what comes, and the news that the connection broke."""
        self._on_data, self._on_end = on_data, on_end
        self._hand_over()

    def send(self, datagram: bytes) -> None:
        """Sends a datagram of 1 byte or more; where too many wait it is dropped."""
        if self.state != "open" or self._queued_bytes + len(datagram) > _QUEUE_BYTES_MAX:
            self.drops += 1
            return
        starts = range(0, len(datagram), _SEGMENT_BYTES)
        self._queue.extend((datagram[s : s + _SEGMENT_BYTES], LAST if s == starts[-1] else 0) for s in starts)
        self._queued_bytes += len(datagram)
        self._fill_window()

    def close(self) -> None:
        """Ends it; the other end hears so, if there is a way."""
        if self.state in ("syn-received", "open"):
            self._say(RESET | ACK)
        self._forget()

    # --- segments ---

    def handle_segment(self, data: bytes) -> None:
        """Takes a segment of the other end's."""
        segment = parse_segment(data)
        flags = segment.flags
        if self.state == "new":
            self._answer_syn()
        elif self.state == "syn-sent":
            self._handle_answer(flags)
        elif flags & RESET:
            self._break()
        elif flags & SYN and not (self.state == "syn-received" and flags & ACK):
            self._say((SYN | ACK) if self.state == "syn-received" else ACK)  # Our answer was lost, or is on its way.
        else:
            if self.state == "syn-received":
                self._open()
            self._handle_ack(segment)
            if segment.data and self.state == "open":
                self._handle_data(segment)

    def _answer_syn(self) -> None:
        self.state = "syn-received"
        self._repeats = 0
        self._say(SYN | ACK)
        self._plan(_FIRST_REPEAT_S)

    def _handle_answer(self, flags: int) -> None:
        if flags & RESET:
            # Nobody listens there yet.
            self._plan(_REFUSED_WAIT_S[min(self._refusals, len(_REFUSED_WAIT_S) - 1)])
            self._refusals += 1
            self._repeats = -1
        elif flags & SYN and flags & ACK:
            self._say(ACK)
            self._open()
        elif flags & SYN:
            self._answer_syn()

    def _open(self) -> None:
        self.state = "open"
        self._round_trip_s = self._timeline.now - self._progress_at  # As with timestamps (RFC 7323 section 4).
        self._repeats = 0
        if self._timer is not None:
            self._timer.cancel()
        self._on_open(self)

    def _handle_ack(self, segment: TcpSegment) -> None:
        if segment.awaits > self._acked:
            now = self._timeline.now
            for number in range(self._acked, segment.awaits):
                _, _, sent_at = self._flight.pop(number)
                if sent_at:
                    self._round_trip_s = now - sent_at
            self._acked = segment.awaits
            self._progress_at = now
            self._repeats = self._overtaken = 0
            if self._flight and self._acked < self._recovers_to:
                self._repeat_oldest()
            self._plan_repeat()
            self._fill_window()
        elif self._flight and not segment.data:
            self._overtaken += 1
            if self._overtaken == _OVERTAKEN_MAX and self._acked >= self._recovers_to:
                self._recovers_to = self._next
                self._repeat_oldest()

    def _handle_data(self, segment: TcpSegment) -> None:
        if segment.number >= self._awaits:
            self._early[segment.number] = segment
        while (found := self._early.pop(self._awaits, None)) is not None:
            self._awaits += 1
            self._parts.append(found.data)
            if found.flags & LAST:
                self._whole.append(b"".join(self._parts))
                self._parts.clear()
        self._say(ACK)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._whole and self._on_data is not None and self.state == "open":
            self._on_data(self._whole.popleft())

    def _fill_window(self) -> None:
        if not self._flight:
            self._progress_at = self._timeline.now
        was_idle = not self._flight
        while self._queue and len(self._flight) < _WINDOW:
            piece, flags = self._queue.popleft()
            self._queued_bytes -= len(piece)
            self._flight[self._next] = (piece, flags, self._timeline.now)
            self._next += 1
            self._say(ACK | flags, self._next - 1, piece)
        if was_idle:
            self._plan_repeat()

    def _repeat_oldest(self) -> None:
        piece, flags, _ = self._flight[self._acked]
        self._flight[self._acked] = (piece, flags, 0.0)  # Its answer measures nothing any more (RFC 6298 section 3).
        self._say(ACK | flags, self._acked, piece)

    def _say(self, flags: int, number: int | None = None, data: bytes = b"") -> None:
        if flags & SYN:
            self._progress_at = self._timeline.now
        number = self._next if number is None else number
        self._host.send_segment(build_segment(flags, number, self._awaits, data), self.local, self.remote)

    # --- time ---

    def _plan(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timeline.after(delay_s, self._handle_timeout)

    def _plan_repeat(self) -> None:
        if self._flight:
            wait_s = (self._round_trip_s + _REPEAT_S if self._round_trip_s else _FIRST_REPEAT_S) * 2**self._repeats
            self._plan(max(0.0, min(wait_s, self._progress_at + SILENT_PEER_S - self._timeline.now)))
        elif self._timer is not None:
            self._timer.cancel()

    def _handle_timeout(self) -> None:
        if self._host.asleep:
            self._plan(_ASLEEP_S)
            return
        self._repeats += 1
        if self.state == "syn-sent":
            self._say(SYN)
            self._plan(_FIRST_REPEAT_S * 2**self._repeats)
        elif self.state == "syn-received" and self._repeats <= _ANSWERS_MAX:
            self._say(SYN | ACK)
            self._plan(_FIRST_REPEAT_S * 2**self._repeats)
        elif self.state == "syn-received" or self._timeline.now >= self._progress_at + SILENT_PEER_S:
            self._break()
        else:
            self._repeat_oldest()
            self._plan_repeat()

    # --- the end ---

    def _break(self) -> None:
        if self._forget() and self._on_end is not None:
            self._on_end()

    def _forget(self) -> bool:
        if self.state == "closed":
            return False
        self.state = "closed"
        if self._timer is not None:
            self._timer.cancel()
        self._on_forget(self)
        return True
