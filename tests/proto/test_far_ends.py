"""What lies behind the loopback addresses of carriers."""

from ntvl.proto.far_ends import TCP, TURN, FarEnds
from ntvl.wire.address import Address, Origin
from ntvl.wire.control import Candidate

CARRIER, FAR, LENT = Address("127.64.1.2", 4000), Address("198.51.100.2", 61000), Address("203.0.113.5", 50000)


def test_a_carrier_is_known_by_its_address_until_it_is_closed() -> None:
    ends = FarEnds()
    assert not ends.is_carrier(CARRIER)
    ends.add(CARRIER, TCP, FAR)
    assert ends.is_carrier(CARRIER)
    assert not ends.is_carrier(CARRIER._replace(port=4001))
    assert ends.unveil(Origin(CARRIER, 3)) == Origin(FAR, 3)
    ends.remove(CARRIER)
    ends.remove(CARRIER)
    assert not ends.is_carrier(CARRIER)
    assert ends.unveil(Origin(CARRIER)) == Origin(CARRIER)


def test_the_kind_is_the_carriers_or_that_of_a_lent_address_or_a_new_one() -> None:
    ends = FarEnds()
    ends.add(CARRIER, TCP, FAR)
    ends.add(CARRIER._replace(port=1), TURN, FAR)
    remote = (Candidate("relay", *LENT), Candidate("srflx", *FAR))
    addresses = (CARRIER, CARRIER._replace(port=1), LENT, FAR)
    assert [ends.kind(address, remote) for address in addresses] == ["tcp", "turn", "turn", "prflx"]
