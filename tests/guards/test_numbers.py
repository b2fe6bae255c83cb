"""Numbers and tables in the documents are those of the code: times, bounds, the states of a path."""

import re
from typing import Final

import pytest
from tests.guards.tree import ROOT

from ntvl import config, replay
from ntvl.identity import community
from ntvl.kind import SITE_KINDS, plan_pairs
from ntvl.proto import (
    admission,
    attempt,
    binding_lifetime,
    birthday,
    candidates,
    carriage,
    classification,
    desk,
    directory,
    inquiry,
    leases,
    lessee,
    lifetime_probe,
    link,
    membership,
    nat_probe,
    negotiation,
    node,
    path,
    pathfinder,
    peer,
    port_sample,
    portmap,
    prediction,
    punches,
    ranking,
    registrar,
    registration,
    simultaneous,
    skew,
    sockets,
    standing,
    supernode,
)
from ntvl.proto.handshake import Listener
from ntvl.proto.natpmp import NatPmpLessee
from ntvl.proto.path import TRANSITIONS, PathSignal, PathState
from ntvl.proto.pcp import PcpLessee
from ntvl.proto.techniques import TECHNIQUES
from ntvl.runtime import (
    control_client,
    control_socket,
    mapping_session,
    netcheck,
    portmapper,
    resolver,
    service,
    ssdp,
)
from ntvl.runtime import node as runtime_node
from ntvl.wire import control, header
from ntvl.wire.pcp import PCP_MULTICAST_PORT, PCP_PORT

WORDS: Final = {document.name: " ".join(document.read_text().split()) for document in (ROOT / "docs").rglob("*.md")}

HOUR_S: Final = 3600
DAY_S: Final = 86400
MINUTE_S: Final = 60
LOAD_LIMIT_PER_S: Final = Listener.__init__.__kwdefaults__["load_limit_per_s"]


def minutes(*times_s: float) -> list[int]:
    return [round(time_s / MINUTE_S) for time_s in times_s]


SAID: Final = [
    ("nat-traversal.md", "checked every {:g} s", [path.ACTIVE_CHECK_S]),
    ("nat-traversal.md", "a few alternatives every {:g} s", [path.MEASURE_S]),
    ("nat-traversal.md", "checked every {:g} s until it is known", [lifetime_probe.KEEPALIVE_START_S]),
    (
        "nat-traversal.md",
        "then every {:g} to {:g} s, for five minutes",
        [lifetime_probe.KEEPALIVE_S_MIN, lifetime_probe.KEEPALIVE_S_MAX],
    ),
    ("nat-traversal.md", "In the first {:g} s after its first answer", [path.NEWCOMER_S]),
    ("nat-traversal.md", "has to be better for {:g} s", [ranking.PATIENCE_S]),
    ("path-choice.md", "first answer is less than {:g} s old", [path.NEWCOMER_S]),
    ("path-choice.md", "| after {:g} s without a break", [ranking.PATIENCE_S]),
    (
        "path-choice.md",
        "from {:g} s to {:g} s at most, and is forgotten after {:d} minutes",
        [
            ranking.PATIENCE_S,
            ranking.PATIENCE_S * 2**ranking.PATIENCE_DOUBLINGS_MAX,
            *minutes(ranking.RECENT_S),
        ],
    ),
    ("path-choice.md", "between checks of an alternative; {:g} s while", [path.ACTIVE_CHECK_S]),
    ("path-choice.md", "and again every {:g} s while data flows", [pathfinder.PROOF_S]),
    ("path-choice.md", "by a third and by {:g} ms", [ranking.CLEARLY_S * 1000]),
    ("path-choice.md", "15 percent and {:g} ms", [ranking.STILL_S * 1000]),
    ("path-choice.md", "of the last four minutes", [path.LOSS_OVER_S == 4 * MINUTE_S]),
    ("keepalives.md", "It tries {:g} s, then 125 s", [binding_lifetime.SHORTEST_S]),
    ("keepalives.md", "then 125 s", [lifetime_probe.KEEPALIVE_S_MAX / lifetime_probe.SHARE == 125.0]),
    ("keepalives.md", "to within {:g} s (", [binding_lifetime.RESOLUTION_S]),
    ("keepalives.md", "twice, {:g} s apart", [binding_lifetime.WARM_S]),
    ("keepalives.md", "begins {:g} s after the NAT", [lifetime_probe.DELAY_S]),
    ("keepalives.md", "the pace is {:g} s", [lifetime_probe.KEEPALIVE_START_S]),
    ("keepalives.md", "the last {:d} are remembered", [lifetime_probe.NETWORKS_MAX]),
    ("keepalives.md", "asks for ({:g} s)", [supernode.KEEPALIVE_S]),
    ("nat-traversal.md", "for five minutes, then the peer is let go", [pathfinder.IDLE_AFTER_S == 5 * MINUTE_S]),
    ("nat-traversal.md", "not confirmed within the last {:g} s", [path.TRUST_S]),
    ("nat-traversal.md", "repeated every {:g} s", [path.RECHECK_S]),
    ("nat-traversal.md", "After {:g} s, or four round trips", [path.DOUBT_AFTER_S]),
    ("nat-traversal.md", "After {:g} s a direct path is given up", [path.DEAD_AFTER_S]),
    ("nat-traversal.md", "{:g} s later, and also when a supernode", [node.NETWORK_SETTLE_S]),
    ("nat-traversal.md", "the next come after {:g} s, {:g} s, then hourly", negotiation.ATTEMPT_RETRY_S),
    (
        "nat-traversal.md",
        "after {:g} s, {:g} s, {:d}, {:d}, {:d} and {:d} minutes, then hourly",
        [*negotiation.ATTEMPT_RETURN_S[:2], *minutes(*negotiation.ATTEMPT_RETURN_S[2:])],
    ),
    ("nat-traversal.md", "then hourly", [negotiation.ATTEMPT_HOURLY_S == HOUR_S]),
    ("nat-traversal.md", "is made again after {:g} s", [negotiation.NO_ANSWER_WAIT_S]),
    ("nat-traversal.md", "hears no offer for {:g} s", [negotiation.ANSWERER_PATIENCE_S]),
    ("nat-traversal.md", "up to three times, after {:g} and {:g} s more", [attempt.OFFER_RETRY_S * n for n in (1, 2)]),
    ("nat-traversal.md", "up to three times", [attempt.OFFERS_MAX == 3]),
    ("nat-traversal.md", "one second of patience", [attempt.FIRE_WAIT_S == 1.0]),
    ("nat-traversal.md", "then one a second to {:g} s", [simultaneous._EASY_S]),
    ("nat-traversal.md", "is repeated after {:g}, {:g} and {:g} s", nat_probe.AGAIN_S),
    ("nat-traversal.md", "bears up to {:d} ports that other traffic", [prediction.DRIFT_MAX - 1]),
    ("nat-traversal.md", "on both sides together, and takes {:g} s", [prediction._DURATION_S]),
    ("nat-traversal.md", "opens {:d} sockets", [birthday.MAPPINGS]),
    ("nat-traversal.md", "each of up to {:,d} of the ports", [birthday.GUESSES_MAX]),
    ("nat-traversal.md", "at most {:g} a second from its main port", [1 / birthday._SPACING_S]),
    ("nat-traversal.md", "at most {:d} such sockets at a time", [sockets.PUNCHING_MAX]),
    ("nat-traversal.md", "for at most {:g} s. An attempt that is put off", [punches.LEAVE_S]),
    ("nat-traversal.md", "On the third attempt the side that answered", [negotiation.SWAP_AT == 3]),
    ("port-prediction.md", "as long as d + e is at most {:d}", [prediction.DRIFT_MAX - 1]),
    ("port-prediction.md", "checks to predicted ports | {:d}, within", [len(prediction._AIM_S)]),
    ("port-prediction.md", "at most {:d} \u00d7 3 checks", [control.AIM_PORTS_MAX]),
    ("birthday.md", "opens {:d} sockets", [birthday.MAPPINGS]),
    ("birthday.md", "{:g} s for leave, {:g} s for the peer's Fire", [attempt.LEAVE_WAIT_S, attempt.HEAVY_FIRE_WAIT_S]),
    ("birthday.md", "waits | {:g} s for leave", [attempt.LEAVE_WAIT_S]),
    ("birthday.md", "| leave | {:g} s |", [punches.LEAVE_S]),
    ("birthday.md", "head start of the mappings | {:g} s", [birthday._HEAD_START_S]),
    (
        "birthday.md",
        "the longest punch takes {:.1f} s",
        [birthday._HEAD_START_S + birthday.GUESSES_MAX * birthday._SPACING_S + birthday._LAST_ANSWER_S],
    ),
    ("simultaneous-udp.md", "ends after {:g} s", [simultaneous._HARD_S]),
    ("same-nat.md", "one every {:g} ms, all of them three times in", [simultaneous._SPACING_S * 1000]),
    ("same-nat.md", "In the {:g} s after its first answer", [path.NEWCOMER_S]),
    ("same-nat.md", "candidates of one node | {:d} at most", [candidates.CANDIDATES_MAX]),
    (
        "ipv6.md",
        "the last of {:d} candidates is tried {:.0f} ms after the first",
        [candidates.CANDIDATES_MAX, (candidates.CANDIDATES_MAX - 1) * simultaneous._SPACING_S * 1000],
    ),
    ("ipv6.md", "from the second try on, after {:g} s", link.RETRY_S[:1]),
    ("ipv6.md", "UDP over IPv6 takes over from it twelve seconds later", [sum(carriage.PROBE_S[:2]) == 12.0]),
    ("wire-format.md", "from this implementation at most {:g}", [punches.WAIT_S]),
    ("wire-format.md", "are then taken for {:g} s", [punches.LEAVE_S]),
    ("wire-format.md", "sent three times within {:g} s", negotiation.FIRE_AGAIN_S[-1:]),
    ("wire-format.md", "the answerer waits {:g} s for it", [attempt.HEAVY_FIRE_WAIT_S]),
    ("wire-format.md", "without an answer within {:g} s it does not punch", [attempt.LEAVE_WAIT_S]),
    ("nat-traversal.md", "name at most {:d}", [candidates.CANDIDATES_MAX]),
    ("nat-traversal.md", "shows the last {:d} as `attempts`", [negotiation.OUTCOMES_MAX]),
    ("nat-traversal.md", "matrix of {:d} pairs", [len(plan_pairs(list(SITE_KINDS.values())))]),
    (
        "nat-traversal.md",
        "takes at most {:d} datagrams and {:g} s",
        [classification.PACKETS_MAX, classification.LIMIT_S],
    ),
    ("nat-traversal.md", "over eleven sockets of its own", [classification.SOCKETS == 11]),
    ("nat-traversal.md", "eight sockets ask one server", [len(classification._SERIES) == 8]),
    ("nat-traversal.md", "equal steps, within {:d}, or anywhere", [port_sample.BLOCK_MAX]),
    (
        "nat-traversal.md",
        "in the background, from {:g} to 125 s to within {:g} s",
        [binding_lifetime.SHORTEST_S, binding_lifetime.RESOLUTION_S],
    ),
    ("operations.md", "sends at most {:d} datagrams", [classification.PACKETS_MAX]),
    ("operations.md", "The first four addresses of each family", [classification.SERVERS_MAX == 4]),
    ("operations.md", "port {:d} if none is given", [netcheck.STUN_PORT]),
    ("nat-traversal.md", "after {:g}, {:g}, {:g}, {:g}, {:g} s; absent after {:g} s more", PcpLessee.waits_s),
    (
        "nat-traversal.md",
        "after {:g} s, doubled 8 times, the last wait {:g} s",
        [NatPmpLessee.waits_s[0], NatPmpLessee.waits_s[-1]],
    ),
    ("nat-traversal.md", "where PCP is silent | after {:g} s", [portmap.PREFER_PCP_S]),
    ("nat-traversal.md", "at most {:g} a second", [portmap.PACKETS_PER_S]),
    ("nat-traversal.md", "{:g} s after the start at the earliest", [mapping_session.UPNP_HOLD_S]),
    ("nat-traversal.md", "twice, {:g} and {:g} s for answers", ssdp.SEARCH_S),
    ("nat-traversal.md", "lifetime asked for | {:d} s", [lessee.LIFETIME_S]),
    ("nat-traversal.md", "{:d} s to {:g} hours", [lessee.LIFETIME_S_MIN, lessee.LIFETIME_S_MAX / HOUR_S]),
    ("nat-traversal.md", "renewal of UPnP | every {:d} minutes", minutes(mapping_session.UPNP_RENEW_S)),
    ("nat-traversal.md", "question for the epoch | every {:g} s", [lessee.CHECK_S]),
    ("nat-traversal.md", "asked again within {:g} s", [lessee.RESTART_SPREAD_S]),
    (
        "nat-traversal.md",
        "asked at once, {:d} times and then once in {:g} s",
        [portmapper.VERIFY_BURST, portmapper.VERIFY_EVERY_S],
    ),
    (
        "nat-traversal.md",
        "as long as it lasts, {:g} s to {:g} hour",
        [lessee.ERROR_S_MIN, lessee.ERROR_S_MAX / HOUR_S],
    ),
    ("nat-traversal.md", "absent | asked again after {:g} hour", [lessee.ABSENT_S / HOUR_S]),
    ("nat-traversal.md", "not public | asked again after {:d} minutes", minutes(lessee.NOT_PUBLIC_S)),
    ("nat-traversal.md", "three requests within {:g} s", [mapping_session.CLOSE_S]),
    ("nat-traversal.md", "{:d}, announcements at {:d}", [PCP_PORT, PCP_MULTICAST_PORT]),
    ("operations.md", "less than {:d} s |", [lessee.LIFETIME_S_MIN]),
    ("architecture.md", "keep alive every {:g} s", [supernode.KEEPALIVE_S]),
    ("architecture.md", "Rekey after {:g} s", [link.REKEY_AFTER_S]),
    ("architecture.md", "(or 2^26 packets), refuse after {:g} s", [link.REJECT_AFTER_S]),
    ("architecture.md", "2^26", [peer.REKEY_PACKETS == 1 << 26]),
    ("architecture.md", "| unanswered {:g} s | silent {:g} s |", [path.DOUBT_AFTER_S, path.DEAD_AFTER_S]),
    (
        "architecture.md",
        "a check every {:g} s while data flows, doubt after {:g} s without an answer, given up after {:g} s",
        [path.ACTIVE_CHECK_S, path.DOUBT_AFTER_S, path.DEAD_AFTER_S],
    ),
    ("threat-model.md", "replay window of {:,d} packets", [replay.WINDOW_DEFAULT]),
    ("threat-model.md", "replaced after two minutes", [link.REKEY_AFTER_S == 2 * MINUTE_S]),
    ("threat-model.md", "refused after three", [link.REJECT_AFTER_S == 3 * MINUTE_S]),
    ("threat-model.md", "over {:d} a second ({:d} at a supernode)", [LOAD_LIMIT_PER_S, supernode.HANDSHAKES_PER_S]),
    ("threat-model.md", "replays of the last {:g} s", [admission._SEEN_S]),
    ("threat-model.md", "({:d} MiB, {:d} passes, RFC 9106)", [community._MEMORY_KIB // 1024, community._ITERATIONS]),
    ("operations.md", "at most {:,d} members", [directory.RESIDENTS_MAX]),
    ("operations.md", "{:,d} of one community", [directory.HALL_RESIDENTS_MAX]),
    ("operations.md", "{:d} communities of one node", [registrar.CLIENT_COMMUNITIES_MAX]),
    ("operations.md", "once for each community, at most {:d}", [config.COMMUNITIES_MAX]),
    ("operations.md", "where members meet; up to {:d}", [config.SUPERNODES_MAX]),
    ("operations.md", "at least one, at most {:d}", [config.SUPERNODES_MAX]),
    ("operations.md", "largest packet of the device, {:d} to {:d}", [config.MTU_MIN, config.MTU_MAX]),
    ("operations.md", "for {:g} days after the last contact", [leases.LEASE_S / DAY_S]),
    ("operations.md", "`left` or `silent` ({:g} s without a sign)", [directory.EXPIRY_S]),
    ("operations.md", "logged at {:g} a second at most, after the first {:g}", desk._REFUSALS_LOGGED),
    ("operations.md", "several within {:g} s share a line", [runtime_node.JOINED_TOGETHER_S]),
    ("operations.md", "after {:g} s, then ever less often, at last every 5 minutes", standing.REFUSED_WAIT_S[:1]),
    ("operations.md", "at last every 5 minutes", [standing.REFUSED_WAIT_S[-1] == 5 * MINUTE_S]),
    ("operations.md", "Each {:g} to {:g} s", [resolver.RETRY_S[0], resolver.RETRY_S[-1]]),
    ("operations.md", "resolve it again every 5 minutes", [resolver.AGAIN_S == 5 * MINUTE_S]),
    ("operations.md", "Said from 5 minutes on", [skew.SKEW_MAX_S == 5 * MINUTE_S]),
    ("operations.md", "within about half a minute", [registration.RECONNECT_S[-1] == 30.0]),
    ("operations.md", "busy for {:g} s", [control_client.PATIENCE_S]),
    ("operations.md", "The kernel takes {:d} bytes", [control_socket.SOCKET_PATH_BYTES_MAX]),
    ("operations.md", "after {:g} s without an answer our side", [sum(service.WHY_WAITS_S)]),
    ("wire-format.md", "answered once a second, {:g} at once", [inquiry.ANSWERS_BURST]),
    ("wire-format.md", "once a second", [inquiry.ANSWERS_PER_S == 1.0]),
    ("operations.md", "0.02 to 3600", [service.INTERVAL_S_MIN == 0.02]),
    (
        "operations.md",
        "begins {:g} hours before it is made and ends {:g} days after",
        [membership.BACKDATE_S / HOUR_S, membership.LIFE_S / DAY_S],
    ),
    ("operations.md", "share a datagram of up to {:d} bytes", [header.DATAGRAM_BYTES_MAX]),
    ("operations.md", "and {:d} bytes for the relay", [header.RELAY_HEADER_BYTES]),
    ("operations.md", "fewer than {:d} characters", [community.SECRET_CHARS_ADVISED]),
]


@pytest.mark.parametrize(("document", "words", "numbers"), SAID)
def test_a_number_in_a_document_is_that_of_the_code(document: str, words: str, numbers: list[float]) -> None:
    if all(isinstance(number, bool) for number in numbers):
        assert all(numbers), f"{document}: {words}"
    assert words.format(*numbers) in WORDS[document]


def test_the_table_of_path_states_is_the_table_of_transitions() -> None:
    rows = re.findall(
        r"^\| (new|valid|doubt|dead) \|(.*)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE
    )
    drawn = {
        (PathState(state), signal): PathState(cell.strip())
        for state, cells in rows
        for signal, cell in zip(PathSignal, cells.split("|"), strict=True)
    }
    assert drawn == TRANSITIONS


def test_every_technique_is_in_the_table_in_order() -> None:
    text = (ROOT / "docs" / "nat-traversal.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \|.*\| `(proto/\w+\.py)` \|$", text, re.MULTILINE)
    modules = [f"{type(technique).__module__.removeprefix('ntvl.').replace('.', '/')}.py" for technique in TECHNIQUES]
    assert listed == list(zip([technique.name for technique in TECHNIQUES], modules, strict=True))
