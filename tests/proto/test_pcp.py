from itertools import pairwise

import pytest
from tests.proto.gateway import Gateway, Lan

from ntvl.proto.lessee import Standing
from ntvl.proto.pcp import PcpLessee
from ntvl.proto.portmap import PortMapOutcome


def pcp_times(lan: Lan) -> list[float]:
    return [at for at, data in lan.sent if data[:2] == b"\x02\x01"]


def test_requests_are_repeated_with_doubled_waits_and_jitter() -> None:
    lan = Lan(None).start()
    lan.run(250.0)
    waits_s = [after - before for before, after in pairwise(pcp_times(lan))]
    assert len(waits_s) == len(PcpLessee.waits_s) - 1
    assert all(0.9 * meant <= wait <= 1.1 * meant for wait, meant in zip(waits_s, PcpLessee.waits_s, strict=False))
    assert waits_s[0] != 3.0


def test_the_nonce_stays_as_long_as_the_mapping_and_no_longer() -> None:
    lan = Lan(Gateway()).start()
    lan.run(10_000.0)
    nonces = {data[24:36] for _, data in lan.sent if data[:2] == b"\x02\x01"}
    assert len(nonces) == 1
    lan.close()
    lan.start()
    assert len({data[24:36] for _, data in lan.sent if data[:2] == b"\x02\x01"}) == 2


def test_a_renewal_asks_for_what_it_has() -> None:
    gateway = Gateway()
    gateway.port = 41000
    lan = Lan(gateway).start()
    lan.run(5000.0)
    renewal = [data for _, data in lan.sent if data[:2] == b"\x02\x01"][-1]
    assert renewal[42:44] == (41000).to_bytes(2, "big")
    assert renewal[-4:] == bytes((203, 0, 113, 7))


def test_an_unasked_end_of_the_mapping_is_answered_by_asking() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    gone = gateway.answer(lan.sent[0][1][:4] + bytes(4) + lan.sent[0][1][8:], lan.now)[0]
    lan.hear(gone)
    lan.run(5.1)
    assert gateway.mappings == {"PCP": 7200}
    assert lan.mapping is not None


def test_an_unasked_change_of_the_mapping_is_taken() -> None:
    gateway = Gateway()
    lan = Lan(gateway).start()
    gateway.port = 41000
    lan.hear(gateway.answer(lan.sent[0][1], lan.now)[0])
    assert lan.mapping is not None
    assert lan.mapping.port == 41000


@pytest.mark.parametrize(
    ("result", "text"),
    [(12, "there is another NAT between this computer and the gateway"), (77, "the gateway answers with error 77")],
)
def test_errors_are_said_in_words(result: int, text: str) -> None:
    gateway = Gateway(natpmp=False)
    gateway.result = result
    assert Lan(gateway).start().outcome("PCP").text == text


def test_a_gateway_that_knows_natpmp_only_is_not_asked_twice() -> None:
    lan = Lan(Gateway(pcp=False)).start()
    assert any(o.text == "the gateway speaks NAT-PMP only" for o in lan.said)
    lan.run(3000.0)
    assert len(pcp_times(lan)) == 1


def test_another_version_is_absence() -> None:
    lan = Lan(Gateway(pcp=False, natpmp=False)).start()
    lan.hear(bytes((1, 0x81, 0, 1)) + bytes(20))
    assert lan.outcome("PCP").standing is Standing.ABSENT
    assert lan.outcome("PCP").text == "the gateway speaks another version of PCP"


@pytest.mark.parametrize(
    ("host", "client", "external", "text"),
    [
        (
            "192.168.1.1",
            "192.168.1.10",
            "2001:db8::5",
            "the gateway answers with 2001:db8::5, which is no IPv4 address",
        ),
        ("192.168.1.1", "192.168.1.10", "::", "the gateway answers with ::, which is no IPv4 address"),
        ("fe80::1", "2001:db8::5", "203.0.113.7", "the gateway answers with 203.0.113.7, which is no IPv6 address"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_mapping_of_another_family_is_given_back(
    host: str, client: str, external: str, text: str, is_late: bool
) -> None:
    ours = "2001:db8::5" if ":" in client else "203.0.113.7"
    gateway = Gateway(natpmp=False, external=ours if is_late else external)
    lan = Lan(gateway, host=host, client=client).start()
    if is_late:
        assert lan.mapping is not None
        gateway.external = external
        lan.hear(gateway.answer(lan.sent[0][1], lan.now)[0], lan.machine.gateway)
    assert lan.mapping is None
    assert gateway.mappings == {}
    assert lan.outcome("PCP") == PortMapOutcome("PCP", Standing.REFUSED, text)
