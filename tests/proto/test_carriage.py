import random

import pytest

from ntvl.identity.url import SupernodeUrl
from ntvl.proto.carriage import HEAD_START_S, PROBE_S, RETRY_S, Carriage
from ntvl.proto.context import Context
from ntvl.proto.events import CarrierUnwanted, CarrierWanted, NodeEvent, SupernodeReached
from ntvl.wire.address import Address

UDP = Address("203.0.113.10", 1971)
TCP = Address("127.64.0.1", 40000)
WSS = Address("127.64.0.2", 40000)
NEW = Address("127.64.0.3", 40000)


class Bench:
    def __init__(self, *, streams: bool = True, proxy: str = "") -> None:
        self.context = Context(random.Random(1).randbytes, lambda: 0.0)
        self.carriage = Carriage(self.context, via=2, url="ntvl://sn", streams=streams, proxy=proxy)

    def until(self, now: float) -> list[str]:
        """Returns the kinds that are asked for up to a time."""
        while (at := self.carriage.poll_timeout()) is not None and at <= now:
            self.carriage.handle_timeout(at)
            self.carriage.take_probe(at)
        return [event.kind for event in self.events() if isinstance(event, CarrierWanted)]

    def events(self) -> list[NodeEvent]:
        found = list(self.context.events)
        self.context.events.clear()
        return found

    def carried(self) -> "Bench":
        """Returns itself, reached over TCP since time 1."""
        self.carriage.begin(0.0)
        self.until(0.5)
        assert self.carriage.handle_carrier("tcp", TCP, 0.9)
        assert self.carriage.handle_answer(TCP, 1.0)
        self.events()
        return self


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_kinds_are_asked_for_after_their_head_starts() -> None:
    bench = Bench(proxy="proxy:3128")
    bench.carriage.begin(100.0)
    assert bench.until(100.0 + HEAD_START_S["tcp"] - 0.01) == []
    assert bench.until(100.0 + HEAD_START_S["tcp"]) == ["tcp"]
    assert bench.until(100.0 + HEAD_START_S["proxy"]) == ["wss", "proxy"]
    assert bench.carriage.poll_timeout() is None


def test_without_a_proxy_none_is_asked_for_and_without_streams_nothing(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    assert bench.until(60.0) == ["tcp", "wss"]
    assert not bench.carriage.has_proxy
    without = Bench(streams=False, proxy="proxy:3128")
    without.carriage.begin(0.0)
    assert without.until(60.0) == []
    assert not without.carriage.has_proxy


def test_an_answer_over_udp_ends_the_race_before_a_stream_is_opened(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    assert bench.carriage.handle_answer(UDP, 0.1)
    assert bench.until(60.0) == []
    assert bench.carriage.over == "udp"


def test_the_first_carrier_that_answers_is_kept_and_the_others_go(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    bench.until(1.0)
    assert bench.carriage.handle_carrier("wss", WSS, 1.1)
    assert bench.carriage.handle_carrier("tcp", TCP, 1.2)
    assert bench.carriage.addresses == (TCP, WSS)
    assert bench.carriage.handle_answer(WSS, 1.3)
    assert bench.events() == [CarrierUnwanted(2, "tcp"), SupernodeReached(2, "ntvl://sn", "wss", "wss", "")]
    assert (bench.carriage.over, bench.carriage.is_carried, bench.carriage.addresses) == ("wss", True, (WSS,))


def test_a_late_answer_by_a_carrier_that_is_given_up_changes_nothing(bench: Bench) -> None:
    bench.carried()
    assert bench.carriage.handle_answer(UDP, 2.0)
    assert not bench.carriage.handle_answer(TCP, 2.1)
    assert bench.carriage.over == "udp"
    assert bench.events() == [CarrierUnwanted(2, "tcp"), SupernodeReached(2, "ntvl://sn", "udp", "udp", "tcp")]


def test_a_carrier_that_opens_when_nobody_wants_it_any_more_is_closed(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    bench.until(1.0)
    bench.carriage.handle_answer(UDP, 1.0)
    bench.events()
    assert not bench.carriage.handle_carrier("tcp", TCP, 1.1)
    assert bench.events() == [CarrierUnwanted(2, "tcp")]


def test_a_kind_that_failed_is_asked_for_again_at_a_falling_rate(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    now = 1.0
    bench.until(now)
    for wait_s in (*RETRY_S, RETRY_S[-1]):
        assert not bench.carriage.handle_carrier("tcp", None, now)
        assert bench.until(now + wait_s - 0.01) == []
        assert bench.until(now + wait_s) == ["tcp"]
        now += wait_s


def test_the_loss_of_the_carrier_in_use_calls_for_another(bench: Bench) -> None:
    bench.carried()
    assert bench.carriage.handle_carrier("tcp", None, 50.0)
    assert not bench.carriage.is_carried
    bench.carriage.begin(50.0)
    assert bench.until(60.0) == ["tcp", "wss"]


def test_a_race_replaces_carriers_of_before_unless_they_answer(bench: Bench) -> None:
    bench.carried()
    bench.carriage.renew(50.0)
    bench.carriage.handle_answer(TCP, 50.1)
    assert bench.until(60.0) == []
    bench.carriage.renew(70.0)
    bench.carriage.handle_timeout(70.3)
    assert bench.events() == [CarrierUnwanted(2, "tcp"), CarrierWanted(2, "tcp")]
    assert bench.carriage.handle_carrier("tcp", NEW, 70.5)
    assert bench.carriage.handle_answer(NEW, 70.6)
    assert not bench.carriage.handle_answer(TCP, 70.7)


def test_a_race_that_runs_is_not_begun_again(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    bench.carriage.begin(0.25)
    assert bench.until(HEAD_START_S["tcp"]) == ["tcp"]


def test_what_carried_before_on_this_network_has_no_head_start_to_wait_for(bench: Bench) -> None:
    bench.carriage.remember("wss", 0.0)
    bench.carriage.begin(0.0)
    assert bench.until(0.0) == ["wss"]
    late = Bench()
    late.carriage.begin(0.0)
    late.carriage.remember("wss", 0.1)
    assert late.until(0.1) == ["wss"]


def test_udp_is_remembered_as_nothing_to_begin_with(bench: Bench) -> None:
    bench.carried()
    assert bench.carriage.remembered == "tcp"
    bench.carriage.handle_answer(UDP, 2.0)
    assert bench.carriage.remembered == ""


def test_handshakes_try_udp_first_and_carriers_alone_every_second_time(bench: Bench) -> None:
    everywhere = (UDP, TCP)
    assert bench.carriage.targets((UDP,), 2) == (UDP,)
    bench.carried()
    assert bench.carriage.targets(everywhere, 1) == (UDP,)
    assert bench.carriage.targets(everywhere, 2) == (TCP,)
    assert bench.carriage.targets(everywhere, 3) == everywhere
    assert bench.carriage.targets((TCP,), 1) == (TCP,)


@pytest.mark.parametrize(("hosts", "first"), [((), 4), (("10.0.0.7", "2001:db8::7"), 4), (("2001:db8::7",), 46)])
def test_the_first_handshake_goes_by_ipv4_where_both_ends_may_have_it(
    bench: Bench, hosts: tuple[str, ...], first: int
) -> None:
    six = Address("2001:db8::1", 1971)
    both = (six, UDP)
    assert bench.carriage.targets(both, 1, hosts) == ((UDP,) if first == 4 else both)
    assert bench.carriage.targets(both, 2, hosts) == both
    assert bench.carriage.targets((six,), 1, hosts) == (six,)
    bench.carried()
    for probe, wait_s in enumerate(PROBE_S):
        assert bench.carriage.take_probe(1.0 + sum(PROBE_S[:probe]) + wait_s)
        tried = bench.carriage.targets((*both, TCP), 1, hosts)
        assert tried == ((UDP,) if first == 4 and probe == 0 else both), "in vain once, the families are tried alike"
    bench.carriage.renew(100.0)
    assert bench.carriage.targets((*both, TCP), 1, hosts) == ((UDP,) if first == 4 else both), "elsewhere it may do"


def test_after_a_carrier_won_udp_is_tried_soon_and_then_less_often(bench: Bench) -> None:
    carriage = bench.carried().carriage
    now = 1.0
    for wait_s in PROBE_S:
        assert not carriage.take_probe(now + wait_s - 0.01)
        now += wait_s
        assert carriage.poll_timeout() == now
        assert carriage.take_probe(now)
    assert carriage.poll_timeout() is None
    assert not carriage.take_probe(1e6)


def test_an_answer_over_udp_ends_the_probes(bench: Bench) -> None:
    carriage = bench.carried().carriage
    carriage.handle_answer(UDP, 1.5)
    assert carriage.poll_timeout() is None


def test_after_suspend_udp_has_its_head_start_again(bench: Bench) -> None:
    bench.carriage.begin(0.0)
    bench.carriage.handle_timeout(3600.0)
    assert bench.events() == []
    assert bench.carriage.poll_timeout() == 3600.0 + HEAD_START_S["tcp"]


def test_people_read_through_which_proxy_and_what_was_tried_in_vain() -> None:
    bench = Bench(proxy="proxy:3128")
    bench.carriage.begin(0.0)
    bench.until(1.0)
    bench.carriage.handle_carrier("proxy", WSS, 1.0)
    bench.carriage.handle_answer(WSS, 1.1)
    assert bench.carriage.over == "wss through proxy proxy:3128"
    text = bench.carriage.silence(SupernodeUrl("sn", 1971, None, 8443), (), ()).text
    assert "(UDP 1971, TCP 1971, TLS 8443, the HTTP proxy proxy:3128)" in text
    assert "supernode [2001:db8::1]:5 does" in bench.carriage.silence(SupernodeUrl("2001:db8::1", 5, None), (), ()).text


@pytest.mark.parametrize(
    ("address", "hosts", "code"),
    [
        ("2001:db8::1", ("192.168.1.2",), "no-family"),
        ("192.0.2.1", ("2001:db8::7",), "no-family"),
        ("2001:db8::1", ("192.168.1.2", "2001:db8::7"), "no-answer"),
        ("2001:db8::1", (), "no-answer"),
    ],
)
def test_people_read_that_their_computer_has_no_address_of_the_supernodes_family(
    address: str, hosts: tuple[str, ...], code: str
) -> None:
    carriage = Bench().carriage
    notice = carriage.silence(SupernodeUrl(address, 1971, None), (Address(address, 1971),), hosts)
    assert notice.code == code
    assert ("and this computer has none" in notice.text) is (code == "no-family")


def test_closing_gives_up_every_carrier(bench: Bench) -> None:
    bench.carried()
    bench.carriage.close()
    assert bench.events() == [CarrierUnwanted(2, "tcp")]
    assert bench.carriage.addresses == ()
