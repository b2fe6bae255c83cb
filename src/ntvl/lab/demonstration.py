"""What `ntvl demo` does: four sites behind kernel NATs, the real programs, measurements, and a proof.

Each step is told as it happens. A step that does not come true ends the demonstration with a sentence that says which
and why, and with the last lines of the program that failed.
"""

import os
import time
from collections.abc import Mapping
from typing import Final

from ntvl.lab.capture import Capture
from ntvl.lab.echo import Echo, EchoReport
from ntvl.lab.member import Member, start_supernode
from ntvl.lab.outcome import Outcome, PairResult, StepError, Teller
from ntvl.lab.proof import Proof, prove_unreadable
from ntvl.lab.stage import Stage
from ntvl.lab.throughput import measure_tcp_bps
from ntvl.lab.topology import Topology, build_sites
from ntvl.nat import KINDS, Chain, direct_path_possible

__all__ = ["PAIRS", "RELAYED", "SITES", "SUPERNODE", "Demonstration", "build_topology"]

SUPERNODE: Final = "supernode"
SITES: Final[Mapping[str, Chain]] = {
    "home-a": KINDS["eim-apdf"],
    "home-b": KINDS["double"],
    "office-c": KINDS["apdm-random"],
    "office-d": KINDS["apdm-random"],
}
"""The sites and the boxes in front of each."""

Pair = tuple[str, str]
PAIRS: Final[tuple[Pair, ...]] = (("home-a", "home-b"), ("home-a", "office-c"), ("office-c", "office-d"))
"""Direct at once, direct by guessing a port, and relayed for good."""
RELAYED: Final = PAIRS[2]
COMMUNITY: Final = "demo"

_FIRST_REPLY_S: Final = 1.0
"""A first packet goes by relay at once: later than this it has waited for something."""
_FIRST_REPLY_AT_MOST_S: Final = 5.0
_DIRECT_S: Final = 2.0
_DIRECT_AT_MOST_S: Final = 8.0
_GUESSED_S: Final = 30.0
"""Where a port has to be guessed: some seconds, and as long again for each other pair behind the same router."""
_RELAY_STAYS_S: Final = 3.0
"""Longer than a direct path takes where it is possible without a guess."""
_SETTLED_S: Final = 0.5
_POLL_S: Final = 0.005
_LOG_LINES: Final = 12


def build_topology() -> Topology:
    """Returns the networks of the demonstration."""
    return build_sites(SITES, publics=(SUPERNODE,))


class Demonstration:
    """Runs on a stage that was built from `build_topology`."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self._stage = stage
        self._teller = teller
        self.members: dict[str, Member] = {}

    def run(self) -> Outcome:
        """Returns what was measured.

        Raises:
            StepError: a step did not come true.
            UsageError: a tool is missing or fails.
        """
        self._teller.waiting("starting tcpdump at the supernode")
        capture = Capture(self._stage.namespace(SUPERNODE), "eth0", self._stage.directory)
        try:
            self._teller.step("tcpdump records everything at the supernode")
            self._start_programs()
            # The first pair alone, then those that have to guess, or cannot.
            reports = self._connect(PAIRS[:1]) | self._connect(PAIRS[1:])
            proof = self._prove(capture)
        finally:
            capture.stop()
        return Outcome(tuple(self._measure(pair, *reports[pair]) for pair in PAIRS), proof)

    def _start_programs(self) -> None:
        self._teller.waiting("the supernode starts")
        try:
            _, url = start_supernode(self._stage, SUPERNODE)
            self._teller.step(f"supernode runs: {url}")
            secret = self._stage.directory / "secret"
            secret.write_text(os.urandom(16).hex() + "\n")
            secret.chmod(0o600)
            self._teller.waiting("four nodes start")
            for site in SITES:
                self.members[site] = Member(self._stage, site, community=COMMUNITY, supernode=url, secret_file=secret)
            for site, member in self.members.items():
                address = member.wait_address()
                self._teller.step(f"{site} joined: it is {address} on {member.device}")
            for site, member in self.members.items():
                member.wait_peers([other for other in SITES if other != site])
            self._teller.step("each has heard of the others")
        except TimeoutError as error:
            sentence, _, log = str(error).partition("; its last lines:\n")
            raise StepError(sentence, tuple(log.splitlines())) from error

    def _connect(self, pairs: tuple[Pair, ...]) -> dict[Pair, tuple[EchoReport, float | None]]:
        """Sends the first packet of each pair, and pings on until each pair has the path that it will keep."""
        echoes = {
            (source, target): Echo(self._stage.namespace(source), self.members[target].address)
            for source, target in pairs
        }
        self._teller.waiting("first packets: " + ", ".join(_arrow(pair) for pair in pairs))
        try:
            connected = self._watch(echoes)
            time.sleep(_SETTLED_S)
        finally:
            reports = {pair: echo.stop() for pair, echo in echoes.items()}
        return {pair: (reports[pair], connected[pair]) for pair in pairs}

    def _watch(self, echoes: Mapping[Pair, Echo]) -> dict[Pair, float | None]:
        """Returns for each pair when it became direct, in seconds after its first packet, or None for a relay."""
        replied: set[Pair] = set()
        decided: dict[Pair, float | None] = {}
        while len(decided) < len(echoes):
            time.sleep(_POLL_S)
            for pair, echo in echoes.items():
                report = echo.report
                if not report.sent:
                    continue
                passed_s = time.monotonic() - report.first_sent_at
                if pair not in replied and (first_s := report.first_reply_s) is not None:
                    replied.add(pair)
                    self._check_first_reply(pair, report.first_sent_at, first_s)
                if pair not in replied and passed_s > _FIRST_REPLY_AT_MOST_S:
                    raise self._failed(pair, f"no ping was answered within {_FIRST_REPLY_AT_MOST_S:g} s")
                if pair in replied and pair not in decided:
                    self._decide(pair, report, passed_s, decided)
        return decided

    def _check_first_reply(self, pair: Pair, sent_at: float, first_s: float) -> None:
        source, target = pair
        path = self.members[source].reply_path(target, sent_at + first_s).path
        self._teller.step(f"{_arrow(pair)}: first reply after {_ms(first_s)}, by {path}")
        if first_s > _FIRST_REPLY_S:
            raise self._failed(pair, f"the first reply took {_ms(first_s)}, so the first packet waited for something")

    def _decide(self, pair: Pair, report: EchoReport, passed_s: float, decided: dict[Pair, float | None]) -> None:
        source, target = pair
        seen = (self.members[source].path_to(target), self.members[target].path_to(source))
        is_known = direct_path_possible(SITES[source], SITES[target])
        promise_s, at_most_s = (_DIRECT_S, _DIRECT_AT_MOST_S) if is_known else (_GUESSED_S, _GUESSED_S)
        if all(path.path == "direct" for path in seen):
            direct_s = max(path.at for path in seen) - self._first_packet_at(pair, report)
            decided[pair] = direct_s
            how = "" if is_known else f", by guessing a port of {target}"
            self._teller.step(f"{_arrow(pair)}: direct after {_ms(direct_s)}, with {seen[0].remote}{how}")
            if direct_s > promise_s:
                raise self._failed(pair, f"it was direct only after {_ms(direct_s)}, {promise_s:g} s are the promise")
        elif not direct_path_possible(SITES[source], SITES[target], techniques="all"):
            self._teller.waiting(f"{_arrow(pair)}: still trying for a direct path")
            if passed_s > _RELAY_STAYS_S:
                decided[pair] = None
                self._teller.step(f"{_arrow(pair)}: stays on the relay, for both have random ports")
        elif passed_s > at_most_s:
            raise self._failed(pair, f"it is still on the path {seen[0].path!r} after {at_most_s:g} s")
        elif not is_known:
            self._teller.waiting(f"{_arrow(pair)}: guessing a port of {target}")

    def _first_packet_at(self, pair: Pair, report: EchoReport) -> float:
        """Returns when the first packet went between two members: our ping, or the kernel's own multicast before it."""
        source, target = pair
        seen = (self.members[source].first_path_to(target), self.members[target].first_path_to(source))
        return min([report.first_sent_at, *(path.at for path in seen if path is not None)])

    def _failed(self, pair: Pair, reason: str) -> StepError:
        return StepError(f"{_arrow(pair)}: {reason}", tuple(self.members[pair[0]].program.log[-_LOG_LINES:]))

    def _prove(self, capture: Capture) -> Proof:
        source, target = RELAYED
        self._teller.waiting(f"{source} and {target} send each other a known text")
        ends = [(site, self.members[site].address) for site in (source, target)]
        proof = prove_unreadable(self._stage, capture, SUPERNODE, ends[0], ends[1])
        if proof.failure:
            raise StepError(proof.failure)
        self._teller.step(f"{source} and {target} sent each other a text through the relay; the recording is searched")
        return proof

    def _measure(self, pair: Pair, report: EchoReport, direct_s: float | None) -> PairResult:
        source, target = pair
        self._teller.waiting(f"{_arrow(pair)}: TCP by iperf3")
        bps = measure_tcp_bps(self._stage, source, target, self.members[target].address, seconds=2)
        path = self.members[source].path_to(target).path
        self._teller.step(f"{_arrow(pair)}: {bps / 1e6:,.0f} Mbit/s of TCP, {path}")
        return PairResult(
            source,
            target,
            path,
            round(1000 * (report.first_reply_s or 0.0), 1),
            None if direct_s is None else round(1000 * direct_s, 1),
            round(1000 * (report.rtt_s() or 0.0), 2),
            round(bps / 1e6, 1),
            len(report.sent),
            report.lost,
        )


def _arrow(pair: Pair) -> str:
    return f"{pair[0]} -> {pair[1]}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10.0 else f"{seconds:.1f} s"
