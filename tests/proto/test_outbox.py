from ntvl.proto import outbox as module
from ntvl.proto.outbox import Outbox
from ntvl.proto.supernode_events import StoreFailed
from ntvl.wire.address import Address, Origin, Transmit

HERE = Origin(Address("203.0.113.5", 1971), 3)


def test_a_datagram_goes_back_by_the_socket_that_it_came_in_by() -> None:
    outbox = Outbox()
    outbox.send(b"data", HERE)
    assert list(outbox.transmits) == [Transmit(b"data", HERE.address, 3)]


def test_what_nobody_takes_is_bounded_and_counted() -> None:
    outbox = Outbox()
    for _ in range(module.TRANSMITS_MAX + 3):
        outbox.send(b"data", HERE)
    assert len(outbox.transmits) == module.TRANSMITS_MAX
    assert outbox.drops["queue-full"] == 3
    for number in range(module.EVENTS_MAX + 2):
        outbox.tell(StoreFailed(str(number)))
    assert len(outbox.events) == module.EVENTS_MAX
    assert outbox.events[0] == StoreFailed("2")
    assert outbox.drops["queue-full"] == 5
