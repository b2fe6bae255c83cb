"""Finds out what the NATs in front of this host do, from what STUN servers answer (RFC 4787, RFC 5780).

    reach     socket 0 asks every server                           UDP, round trips, addresses; over IPv6 that is all
    series    eight more sockets ask one server, 5 ms apart        port allocation, pooling
    mapping   socket 0 asks servers' second ports                  does the mapping depend on address, on port?
    filtering socket 1 speaks to one server's main port alone; then
              "answer from your second port" (CHANGE-REQUEST)      is a new port let in?
              "answer from your second address", where there is one,
              or another server is asked to answer to socket 1's port (RESPONSE-PORT)   is a new address let in?
    hairpin   two sockets send to each other's public addresses    does one come back?

The second port that filtering is judged by must have answered a question of socket 0 first, and RESPONSE-PORT must
have worked towards socket 0 first, so that silence means a filter, and not a server that cannot do it.

What a server says is believed only of itself. Nothing is sent to an address that it names, but to another port of its
own host: RFC 5780 would have us send to OTHER-ADDRESS, which may be anybody (deviation; a second server takes its
place). Hairpinning is tried only where two servers see the same public address, for the datagrams go there.

Source: RFC 5780 section 4, RFC 8489 section 6.2.1. Everything ends within `limit_s`, and `PACKETS_MAX` datagrams.
"""

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ntvl.errors import PeerError
from ntvl.nat import Filtering
from ntvl.proto.machine import Random, Wakeup, earliest
from ntvl.proto.nat_evidence import Evidence
from ntvl.proto.nat_report import NatReport
from ntvl.proto.question import Answer, Questions, Topic
from ntvl.wire.address import Address, Origin, Transmit, is_usable_target
from ntvl.wire.stun import Change, Stun, StunClass

__all__ = ["LIMIT_S", "PACKETS_MAX", "SERVERS_MAX", "SOCKETS", "Classification"]

SOCKETS: Final = 11
"""Local sockets: 0 speaks to all, 1 to one server's main port only, 2 for others' sake, the rest once each."""
SERVERS_MAX: Final = 4
"""Most servers of each family that are asked."""
PACKETS_MAX: Final = 60
LIMIT_S: Final = 4.5
"""Half a second is left of five for a program to start and to end."""

_MAIN: Final = 0
_QUIET: Final = 1
_LENDER: Final = 2
_SERIES: Final = range(3, SOCKETS)
_SPACING_S: Final = 0.005
_RTO_FIRST_S: Final = 0.3
_RTO_MIN_S: Final = 0.1
_PATIENCE_S: Final = 1.0
"""How long servers that have not answered keep the others waiting."""


class Classification:
    """Is one look at the NATs in front of this host.

    Args:
        servers: whom to ask, IPv4 and IPv6; the first `SERVERS_MAX` of each family are.
        hosts: this host's own addresses, to tell whether anything is translated.
        ports: the local port of each socket, `SOCKETS` of them; a socket is one port in both families.
        random: as `Machine` says.
        limit_s: seconds after which the report is made with what there is.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        hosts: Sequence[str],
        ports: Sequence[int],
        random: Random,
        limit_s: float = LIMIT_S,
    ) -> None:
        if len(ports) != SOCKETS:
            raise ValueError(f"{SOCKETS} sockets are needed, not {len(ports)}")
        chosen = dict.fromkeys(servers)
        self.servers = tuple(
            server
            for is_ipv6 in (False, True)
            for server in [each for each in chosen if each.is_ipv6 == is_ipv6][:SERVERS_MAX]
        )
        self.drops: Counter[str] = Counter()
        """Datagrams that were no answers to ours, by reason."""
        self.report: NatReport | None = None
        """The result, once there is one."""
        self._questions = Questions(random, PACKETS_MAX)
        self._evidence = Evidence(self.servers, hosts, ports)
        self._limit_s = limit_s
        self._began: float | None = None
        self._looked_at = 0.0
        self._primary: Address | None = None
        self._lender: Address | None = None
        self._rto_s = _RTO_FIRST_S

    def start(self, now: float) -> None:
        """Asks the first questions."""
        self._began = self._looked_at = now
        for server in self.servers:
            self._questions.ask(Topic("reach", server), server, _MAIN, now, rto_s=_RTO_FIRST_S)
        self._advance(now)

    def handle_datagram(self, data: bytes, origin: Origin, now: float) -> None:
        """Takes a datagram; raises nothing: what is no answer is counted."""
        if self._began is None or self.report is not None:
            return
        try:
            answer = self._questions.handle_datagram(data, origin, now)
        except PeerError as error:
            self.drops[error.reason] += 1
            return
        self._take(answer)
        self._advance(now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due; see `Machine`."""
        if self._began is None or self.report is not None:
            return
        self._evidence.silent.update(self._questions.handle_timeout(now))
        self._advance(now)

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, and why; None before the start and after the end."""
        if self._began is None or self.report is not None:
            return None
        patience = Wakeup(self._began + _PATIENCE_S, "patience")
        return earliest(
            self._questions.poll_timeout(),
            Wakeup(self._began + self._limit_s, "limit"),
            patience if self._looked_at < patience.at else None,
        )

    def poll_transmit(self) -> Transmit | None:
        """Returns the next datagram to send, or None."""
        return self._questions.poll_transmit()

    # --- answers ---

    def _take(self, answer: Answer) -> None:
        evidence, topic, stun = self._evidence, answer.topic, answer.stun
        server = topic.about
        if stun.cls == StunClass.ERROR:
            if topic.what == "reach":
                evidence.note("server-error")
                evidence.rtts.setdefault(server, answer.rtt_s)
            return
        match topic.what:
            case "reach" | "second" | "series" | "quiet":
                if topic.what == "reach":
                    evidence.rtts[server] = answer.rtt_s
                    self._judge_other(server, stun)
                if stun.address is not None:
                    evidence.seen[topic.socket, server] = stun.address
            case "change-port":
                evidence.came(topic, answer.origin.address == evidence.second_port(server))
            case "change-address":
                evidence.came(topic, answer.origin.address.host != server.host)
            case "lend":
                evidence.came(topic, answer.origin == Origin(server, _MAIN))
            case "stranger":
                evidence.came(topic, answer.origin == Origin(server, _QUIET))
            case _:
                evidence.came(topic, True)

    def _judge_other(self, server: Address, stun: Stun) -> None:
        """Decides what to make of OTHER-ADDRESS: a second port of the host that we asked, a claim, or nothing."""
        other = stun.other
        if other is None or other.is_ipv6 != server.is_ipv6:
            return
        if other.host == server.host:
            if other.port != server.port:
                self._evidence.others[server] = other
            return
        if not is_usable_target(other):
            self._evidence.note("other-unusable")
        elif ipaddress.ip_address(other.host).is_private and not ipaddress.ip_address(server.host).is_private:
            self._evidence.note("other-private")
        else:
            self._evidence.note("other-third-party")
            self._evidence.others[server] = other

    # --- the plan ---

    def _advance(self, now: float) -> None:
        """Asks whatever can be asked by now; makes the report when nothing is open."""
        if self._began is None:
            return
        self._looked_at = now
        if now >= self._began + self._limit_s:
            if self._questions.open:
                self._evidence.note("time")
            self._finish(now)
            return
        is_reached = "reach" not in self._questions.open
        if is_reached or now >= self._began + _PATIENCE_S:
            self._choose()
            if self._primary is not None:
                self._ask_series(self._primary, now)
                self._ask_mapping(now)
                self._ask_filtering(self._primary, now)
                self._ask_hairpin(self._primary, now)
        if is_reached and not self._questions.open:
            self._finish(now)

    def _choose(self) -> None:
        """Picks the server that most can be learned from, and one at another address to lend a hand."""
        if self._primary is not None:
            return
        evidence = self._evidence
        answered = evidence.answered()
        if not answered:
            return
        self._primary = max(
            answered, key=lambda server: (server in evidence.others, evidence.second_port(server) is not None)
        )
        self._lender = next((server for server in answered if server.host != self._primary.host), None)
        slowest_s = max((evidence.rtts[server] or _RTO_FIRST_S for server in answered), default=_RTO_FIRST_S)
        self._rto_s = min(_RTO_FIRST_S, max(_RTO_MIN_S, 2 * slowest_s))

    def _ask_series(self, primary: Address, now: float) -> None:
        for place, socket in enumerate(_SERIES):
            self._questions.ask(
                Topic("series", primary, socket), primary, socket, now, rto_s=self._rto_s, delay_s=place * _SPACING_S
            )

    def _ask_mapping(self, now: float) -> None:
        for server in self._evidence.answered():
            second = self._evidence.second_port(server)
            if second is not None:
                delay_s = len(_SERIES) * _SPACING_S
                self._questions.ask(Topic("second", second), second, _MAIN, now, rto_s=self._rto_s, delay_s=delay_s)

    def _ask_filtering(self, primary: Address, now: float) -> None:
        evidence, ask, rto_s = self._evidence, self._questions.ask, self._rto_s
        delay_s = len(_SERIES) * _SPACING_S
        ask(Topic("quiet", primary, _QUIET), primary, _QUIET, now, rto_s=rto_s, delay_s=delay_s)
        other, lender = evidence.others.get(primary), self._lender
        lent = evidence.seen.get((_MAIN, lender)) if lender is not None else None
        if lender is not None and lent is not None:
            topic = Topic("lend", lender)
            ask(topic, lender, _LENDER, now, rto_s=rto_s, delay_s=delay_s, response_port=lent.port, expected="anywhere")
        quiet = evidence.seen.get((_QUIET, primary))
        if quiet is None:
            return
        second = evidence.second_port(primary)
        if second is not None and (_MAIN, second) in evidence.seen:
            ask(
                Topic("change-port", primary),
                primary,
                _QUIET,
                now,
                rto_s=rto_s,
                change=Change.PORT,
                expected="anywhere",
            )
        if other is not None and other.host != primary.host:
            both = Change.PORT | Change.ADDRESS
            ask(Topic("change-address", primary), primary, _QUIET, now, rto_s=rto_s, change=both, expected="anywhere")
        if (
            lender is not None
            and lent is not None
            and evidence.arrived.get(Topic("lend", lender))
            and lent.host == quiet.host
        ):
            topic = Topic("stranger", lender)
            ask(topic, lender, _LENDER, now, rto_s=rto_s, response_port=quiet.port, expected="anywhere")

    def _ask_hairpin(self, primary: Address, now: float) -> None:
        evidence = self._evidence
        if self._questions.open & {"series", "second", "reach"}:
            return
        left, right = (evidence.seen.get((socket, primary)) for socket in _SERIES[:2])
        if left is None or right is None or not evidence.is_translated or not evidence.is_agreed(left, right):
            return
        if not evidence.is_endpoint_independent:
            return
        for socket, target in ((_SERIES[0], right), (_SERIES[1], left)):
            self._questions.ask(Topic("hairpin", target), target, socket, now, rto_s=self._rto_s, expected="itself")

    def _finish(self, now: float) -> None:
        if self._questions.is_exhausted:
            self._evidence.note("budget")
        assert self._began is not None
        report = self._evidence.report(self._primary, self._lender, _SERIES)
        if report.filtering is Filtering.ENDPOINT_INDEPENDENT:
            report = replace(report, notes=tuple(note for note in report.notes if note != "filtering-claimed"))
        self.report = replace(report, sent_pkts=self._questions.sent_pkts, elapsed_s=round(now - self._began, 3))
