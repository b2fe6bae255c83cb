"""The machine that knows the NAT, before servers of a script: helpful ones, poor ones, liars."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proto.asked import Reply, chance, play

from ntvl.errors import REASONS
from ntvl.nat import Filtering, Mapping, PortAllocation
from ntvl.proto.classification import LIMIT_S, PACKETS_MAX, SERVERS_MAX, SOCKETS, Classification
from ntvl.proto.nat_report import NatReport
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import Change, Stun, build_binding_error, build_binding_response

A, B = Address("203.0.113.1", 3478), Address("203.0.113.2", 3478)
SECOND = Address("203.0.113.1", 3479)
PUBLIC = "198.51.100.9"
PORTS = [40000 + 3 * number for number in range(SOCKETS)]

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


class Script:
    """Is a NAT that preserves ports and lets in whom `filtering` says, with servers behind it.

    Args:
        other: the OTHER-ADDRESS of the first server.
        alternate: from where it really answers a CHANGE-REQUEST with both flags.
        lends: whether the second server does RESPONSE-PORT.
        changes: what the first does with CHANGE-REQUEST: "obeys", "ignores" or "refuses" it.
    """

    def __init__(
        self,
        *,
        filtering: Filtering = APDF,
        other: Address | None = None,
        alternate: Address | None = None,
        lends: bool = False,
        changes: str = "obeys",
        public: Callable[[Transmit], Address] | None = None,
    ) -> None:
        self.filtering = filtering
        self.other = other
        self.alternate = alternate
        self.lends = lends
        self.changes = changes
        self.public = public or (lambda sent: Address(PUBLIC, PORTS[sent.socket]))
        self.spoken: dict[int, set[Address]] = {}
        self.targets: list[Address] = []

    def __call__(self, sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        self.targets.append(sent.address)
        self.spoken.setdefault(sent.socket, set()).add(sent.address)
        if sent.address not in (A, B, SECOND):
            return []
        change = stun.change or Change.NONE
        is_poor = sent.address == B and not self.lends
        if (stun.response_port and is_poor) or (change and self.changes == "refuses"):
            data = build_binding_error(stun.transaction, 420, "Unknown", unknown=(3,))
            return [(data, Origin(sent.address, sent.socket))]
        source, socket = sent.address, sent.socket
        if change == Change.PORT and self.changes == "obeys":
            source = SECOND
        elif change and self.changes == "obeys":
            if self.alternate is None:
                return []
            source = self.alternate
        if stun.response_port:
            socket = PORTS.index(stun.response_port)
        if not self._lets_in(socket, source):
            return []
        other = self.other if sent.address == A else None
        data = build_binding_response(stun.transaction, self.public(sent), origin=source, other=other)
        return [(data, Origin(source, socket))]

    def _lets_in(self, socket: int, source: Address) -> bool:
        spoken = self.spoken.get(socket, set())
        if self.filtering is EIF:
            return True
        if self.filtering is ADF:
            return source.host in {each.host for each in spoken}
        return source in spoken


def classify(script: Callable[[Transmit, Stun, float], list[Reply]], *servers: Address) -> NatReport:
    machine = Classification(servers or (A, B), hosts=("192.168.1.2",), ports=PORTS, random=chance())
    machine.start(100.0)
    took_s = play(machine, script)
    assert machine.report is not None
    assert took_s <= LIMIT_S
    assert machine.report.sent_pkts <= PACKETS_MAX
    return machine.report


@pytest.mark.parametrize("filtering", Filtering)
def test_two_helpful_servers_tell_everything(filtering: Filtering) -> None:
    report = classify(Script(filtering=filtering, other=SECOND, lends=True))
    assert (report.mapping, report.filtering) == (EIM, filtering)
    assert report.allocation is PortAllocation.PRESERVING
    assert report.translated
    assert report.addresses == (PUBLIC,)
    assert report.servers[0].has_other_port
    assert report.servers[0].rtt_s == pytest.approx(0.02)


@pytest.mark.parametrize("filtering", Filtering)
def test_one_server_with_two_addresses_tells_the_filtering(filtering: Filtering) -> None:
    alternate = Address("203.0.113.7", 3479)
    script = Script(filtering=filtering, other=alternate, alternate=alternate)
    report = classify(script)
    assert (report.mapping, report.filtering) == (EIM, filtering)
    assert alternate not in script.targets
    assert ("filtering-claimed" in report.notes) == (filtering is not EIF)


def test_two_plain_servers_tell_the_mapping_and_no_filtering() -> None:
    report = classify(Script())
    assert (report.mapping, report.filtering) == (EIM, None)
    assert {"filtering-port", "filtering-address"} <= set(report.notes)


def test_one_plain_server_tells_the_address_and_the_ports() -> None:
    report = classify(Script(), A)
    assert (report.udp, report.mapping, report.filtering) == (True, None, None)
    assert report.allocation is PortAllocation.PRESERVING
    assert {"mapping-one-address", "mapping-one-port", "hairpin-mapping"} <= set(report.notes)


@pytest.mark.parametrize("changes", ["ignores", "refuses"])
def test_a_server_that_does_not_change_says_nothing_of_filtering(changes: str) -> None:
    report = classify(Script(other=SECOND, changes=changes))
    assert report.filtering is None
    assert ("change-ignored" in report.notes) == (changes == "ignores")


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (Address("127.0.0.1", 53), "other-unusable"),
        (Address("224.0.0.1", 53), "other-unusable"),
        (Address("255.255.255.255", 53), "other-unusable"),
        (Address("169.254.1.1", 53), "other-unusable"),
        (Address("0.0.0.0", 53), "other-unusable"),
        (Address("192.0.2.77", 53), "other-third-party"),
        (Address("2001:db8::5", 53), ""),
        (A, ""),
    ],
)
def test_nothing_is_sent_to_an_address_that_only_a_server_names(other: Address, note: str) -> None:
    script = Script(other=other)
    report = classify(script)
    assert {target.host for target in script.targets} <= {A.host, B.host, PUBLIC}
    assert {target.host for target in script.targets if target.port == 53} <= {A.host}
    assert not note or note in report.notes


def test_a_public_server_that_names_a_private_second_address_is_not_followed() -> None:
    public = Address("9.9.9.9", 3478)

    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        assert sent.address == public
        data = build_binding_response(stun.transaction, Address(PUBLIC, 1), other=Address("10.0.0.1", 3479))
        return [(data, Origin(sent.address, sent.socket))]

    report = classify(answer, public)
    assert "other-private" in report.notes


def test_hairpinning_sends_nothing_to_an_address_that_one_server_only_sees() -> None:
    script = Script(public=lambda sent: Address("192.0.2.66" if sent.address == A else PUBLIC, PORTS[sent.socket]))
    report = classify(script)
    assert {target.host for target in script.targets} == {A.host, B.host}
    assert report.hairpin is None


def test_hairpinning_is_seen_when_the_question_itself_comes_back() -> None:
    plain = Script(lends=True)

    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        if sent.address.host != PUBLIC:
            return plain(sent, stun, now)
        return [(sent.data, Origin(Address(PUBLIC, PORTS[sent.socket]), PORTS.index(sent.address.port)))]

    assert classify(answer).hairpin is True
    assert classify(plain).hairpin is False


def test_without_any_answer_udp_is_blocked() -> None:
    report = classify(lambda sent, stun, now: [])
    assert (report.udp, report.notes, report.translated) == (False, ("no-answer",), None)


def test_errors_alone_show_that_udp_works_and_nothing_else() -> None:
    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        return [(build_binding_error(stun.transaction, 500, "Server Error"), Origin(sent.address, sent.socket))]

    report = classify(answer)
    assert report.udp
    assert report.translated is None
    assert set(report.notes) == {"server-error", "no-ipv4"}


def test_a_server_that_names_a_dead_second_port_is_no_proof_of_filtering() -> None:
    plain = Script(other=SECOND)

    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        return [] if sent.address == SECOND else plain(sent, stun, now)

    assert classify(answer).filtering is None


def test_no_more_than_four_servers_of_a_family_are_asked() -> None:
    servers = [Address(f"203.0.113.{number}", 3478) for number in range(1, 9)]
    machine = Classification(servers, hosts=(), ports=PORTS, random=chance())
    assert machine.servers == tuple(servers[:SERVERS_MAX])


def test_without_servers_there_is_a_report_at_once() -> None:
    machine = Classification((), hosts=(), ports=PORTS, random=chance())
    machine.start(1.0)
    assert machine.report is not None
    assert not machine.report.udp


def test_a_wrong_number_of_sockets_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="sockets"):
        Classification((A,), hosts=(), ports=[1], random=chance())


REPLIES = st.one_of(
    st.just("answer"),
    st.just("nothing"),
    st.just("error"),
    st.just("echo"),
    st.binary(max_size=80),
    st.tuples(st.integers(1, 65535), st.integers(0, 255), st.integers(1, 65535), st.integers(0, SOCKETS - 1)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REPLIES, min_size=1, max_size=30))
def test_whatever_servers_say_there_is_a_report_in_time_and_nothing_is_sent_astray(replies: list[object]) -> None:
    turn = iter(range(1_000_000))
    sent_to: set[Address] = set()

    def answer(sent: Transmit, stun: Stun, now: float) -> list[Reply]:
        sent_to.add(sent.address)
        here = Origin(sent.address, sent.socket)
        match replies[next(turn) % len(replies)]:
            case "answer":
                return [(build_binding_response(stun.transaction, Address(PUBLIC, PORTS[sent.socket])), here)] * 2
            case "nothing":
                return []
            case "error":
                return [(build_binding_error(stun.transaction, 420, "?"), here)]
            case "echo":
                return [(sent.data, here)]
            case bytes() as rubbish:
                return [(rubbish, here), (sent.data[:2] + rubbish, here)]
            case (int() as port, int() as last, int() as other, int() as socket):
                said = Address(f"198.51.100.{last}", port)
                data = build_binding_response(stun.transaction, said, other=Address(f"203.0.113.{last}", other))
                return [(data, Origin(sent.address, socket)), (data, here)]
        raise AssertionError

    machine = Classification((A, B), hosts=("192.168.1.2",), ports=PORTS, random=chance())
    machine.start(100.0)
    assert play(machine, answer) <= LIMIT_S
    assert machine.report is not None
    assert machine.report.sent_pkts <= PACKETS_MAX
    assert machine.report.mappings
    assert machine.report.filterings
    assert set(machine.drops) <= set(REASONS)
    assert {target.host for target in sent_to} <= {A.host, B.host} | set(machine.report.addresses)
