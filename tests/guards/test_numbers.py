"""Numbers and tables in the documents are those of the code: times, bounds, the states of a path."""

import re
from typing import Final

import pytest
from tests.guards.tree import ROOT

from ntvl import config, replay
from ntvl.identity import community
from ntvl.nat import MATRIX
from ntvl.proto import (
    admission,
    attempt,
    binding_lifetime,
    candidates,
    classification,
    desk,
    directory,
    leases,
    link,
    membership,
    node,
    path,
    pathfinder,
    peer,
    port_sample,
    registrar,
    registration,
    standing,
    supernode,
)
from ntvl.proto.handshake import Listener
from ntvl.proto.path import TRANSITIONS, PathSignal, PathState
from ntvl.proto.simultaneous import Simultaneous
from ntvl.proto.techniques import TECHNIQUES
from ntvl.runtime import control_client, control_socket, netcheck, resolver, service
from ntvl.runtime import node as runtime_node
from ntvl.wire import header

WORDS: Final = {document.name: " ".join(document.read_text().split()) for document in (ROOT / "docs").glob("*.md")}

HOUR_S: Final = 3600
DAY_S: Final = 86400
MINUTE_S: Final = 60
LOAD_LIMIT_PER_S: Final = Listener.__init__.__kwdefaults__["load_limit_per_s"]


def minutes(*times_s: float) -> list[int]:
    return [round(time_s / MINUTE_S) for time_s in times_s]


SAID: Final = [
    ("nat-traversal.md", "checked every {:g} s", [path.ACTIVE_CHECK_S]),
    ("nat-traversal.md", "a direct one is checked every {:g} s", [path.IDLE_CHECK_S]),
    ("nat-traversal.md", "for five minutes, then the peer is let go", [pathfinder.IDLE_AFTER_S == 5 * MINUTE_S]),
    ("nat-traversal.md", "not confirmed within the last {:g} s", [path.TRUST_S]),
    ("nat-traversal.md", "repeated every {:g} s", [path.RECHECK_S]),
    ("nat-traversal.md", "After {:g} s, or four round trips", [path.DOUBT_AFTER_S]),
    ("nat-traversal.md", "After {:g} s a direct path is given up", [path.DEAD_AFTER_S]),
    ("nat-traversal.md", "{:g} s later, and also when a supernode", [node.NETWORK_SETTLE_S]),
    ("nat-traversal.md", "the next come after {:g} s, {:g} s, then hourly", pathfinder.ATTEMPT_RETRY_S),
    (
        "nat-traversal.md",
        "after {:g} s, {:g} s, {:d}, {:d}, {:d} and {:d} minutes, then hourly",
        [*pathfinder.ATTEMPT_RETURN_S[:2], *minutes(*pathfinder.ATTEMPT_RETURN_S[2:])],
    ),
    ("nat-traversal.md", "then hourly", [pathfinder.ATTEMPT_HOURLY_S == HOUR_S]),
    ("nat-traversal.md", "is made again after {:g} s", [pathfinder.NO_ANSWER_WAIT_S]),
    ("nat-traversal.md", "hears no offer for {:g} s", [pathfinder.ANSWERER_PATIENCE_S]),
    ("nat-traversal.md", "up to three times, after {:g} and {:g} s more", [attempt.OFFER_RETRY_S * n for n in (1, 2)]),
    ("nat-traversal.md", "up to three times", [attempt.OFFERS_MAX == 3]),
    ("nat-traversal.md", "one second of patience", [attempt.FIRE_WAIT_S == 1.0]),
    ("nat-traversal.md", "then one a second to {:g} s", [Simultaneous.duration_s]),
    ("nat-traversal.md", "name at most {:d}", [candidates.CANDIDATES_MAX]),
    ("nat-traversal.md", "shows the last {:d} as `attempts`", [pathfinder.OUTCOMES_MAX]),
    ("nat-traversal.md", "matrix of {:d} pairs", [len(MATRIX)]),
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
        "without traffic, from {:g} to {:g} s to within {:g} s",
        [binding_lifetime.SHORTEST_S, binding_lifetime.LONGEST_S, binding_lifetime.RESOLUTION_S],
    ),
    ("operations.md", "sends at most {:d} datagrams", [classification.PACKETS_MAX]),
    ("operations.md", "The first four addresses of each family", [classification.SERVERS_MAX == 4]),
    ("operations.md", "port {:d} if none is given", [netcheck.STUN_PORT]),
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
    ("operations.md", "Said from 5 minutes on", [registration.SKEW_MAX_S == 5 * MINUTE_S]),
    ("operations.md", "within about half a minute", [registration.RECONNECT_S[-1] == 30.0]),
    ("operations.md", "busy for {:g} s", [control_client.PATIENCE_S]),
    ("operations.md", "The kernel takes {:d} bytes", [control_socket.SOCKET_PATH_BYTES_MAX]),
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
