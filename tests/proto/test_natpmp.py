from itertools import pairwise

from tests.proto.gateway import PORT, Gateway, Lan

from ntvl.proto.natpmp import NatPmpLessee
from ntvl.wire.address import Address


def test_requests_are_repeated_nine_times_with_doubled_waits() -> None:
    lan = Lan(None).start()
    lan.run(200.0)
    asked = [at for at, data in lan.sent if data == b"\0\0"]
    waits_s = [after - before for before, after in pairwise(asked)]
    assert len(asked) == 9
    meant = NatPmpLessee.waits_s
    assert all(0.9 * each <= wait <= 1.1 * each for wait, each in zip(waits_s, meant, strict=False))


def test_the_address_comes_before_the_mapping_each_time() -> None:
    lan = Lan(Gateway(pcp=False)).start()
    lan.run(5000.0)
    kinds = [data[1] for _, data in lan.sent if data[0] == 0]
    assert kinds[:2] == [0, 1]
    assert kinds.count(1) == 2


def test_another_external_address_is_noticed_within_two_minutes() -> None:
    gateway = Gateway(pcp=False)
    lan = Lan(gateway).start()
    gateway.external = "203.0.113.8"
    lan.run(121.0)
    assert lan.mapping == Address("203.0.113.8", PORT)


def test_an_external_address_that_is_private_now_ends_the_mapping() -> None:
    gateway = Gateway(pcp=False)
    lan = Lan(gateway).start()
    gateway.external = "10.0.0.2"
    lan.run(121.0)
    assert lan.mapping is None
    assert gateway.mappings == {}


def test_a_gateway_that_is_offline_is_asked_again_in_a_minute() -> None:
    gateway = Gateway(pcp=False)
    gateway.result = 3
    lan = Lan(gateway).start()
    assert lan.outcome("NAT-PMP").text == "the gateway is offline"
    gateway.result = 0
    lan.run(67.0)
    assert lan.mapping is not None
