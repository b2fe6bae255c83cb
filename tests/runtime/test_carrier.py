from ntvl.runtime.carrier import engine_address
from ntvl.wire.address import Address


def test_an_engine_is_reached_by_loopback_where_it_listens_everywhere_and_else_at_its_address() -> None:
    any4, any6 = Address("0.0.0.0", 0), Address("::", 0)
    assert engine_address([any4, any6], 5) == Address("127.0.0.1", 5)
    assert engine_address([any6], 5) == Address("::1", 5)
    assert engine_address([Address("2001:db8::1", 0), Address("192.0.2.1", 0)], 5) == Address("192.0.2.1", 5)
    assert engine_address([Address("2001:db8::1", 7)], 7) == Address("2001:db8::1", 7)
