"""Commands and events across the border: all of them, in order, never waiting."""

from collections.abc import Iterator

import pytest

from ntvl.dataplane.channel import CommandChannel, Dropped, EventChannel, pair_channels
from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    CloseDevice,
    CloseSocket,
    Command,
    ConfirmSession,
    ControlDatagram,
    Counters,
    DeviceClosed,
    DeviceOpened,
    Event,
    InstallSession,
    OpenDevice,
    OpenSocket,
    PathActivity,
    RelayMember,
    RemovePeer,
    RemoveRelayMember,
    RetireSession,
    SendDatagram,
    SetAddresses,
    SetPath,
    Target,
    UnknownSender,
    Wanted,
)

TARGET = Target("2001:db8::1", 7, 1, (3, 4))
COMMANDS: list[Command | Dropped] = [
    OpenDevice(1, "tap0", b"\x02" * 6, 1360),
    CloseDevice(1),
    AddPeer(1, 2, (b"\x02" * 6,), ("10.0.0.1",), True),
    RemovePeer(1),
    InstallSession(1, "aes256gcm", 2**32 - 1, 0, b"k" * 32, b"l" * 32, False),
    ConfirmSession(1),
    RetireSession(2),
    SetPath(1, (TARGET, Target("10.0.0.1", 5))),
    RelayMember(1, 2, "10.0.0.1", 3, 4),
    RemoveRelayMember(1),
    SetAddresses(1, ("10.0.0.1",)),
    OpenSocket(3, 6),
    CloseSocket(3),
    SendDatagram(3, "10.0.0.1", 5, b"x"),
    Dropped("rate", 3),
]
EVENTS: list[Event] = [
    ControlDatagram(b"\x84" * 1200, "10.0.0.1", 5, 0, (1, 2)),
    DeviceOpened(1, "tap0", ("csum",)),
    DeviceClosed(1, "gone"),
    Wanted(4),
    Activity(1, 2, 3, 4, 5, 6.5, 7, (PathActivity(TARGET, 1.5, 9),)),
    UnknownSender("10.0.0.1", 5, 6, 0, None),
    Counters({"rate": 1}, 2, 3, {4: 5}),
]


@pytest.fixture
def ends() -> Iterator[tuple[EventChannel, CommandChannel]]:
    ours, theirs = pair_channels()
    engine = CommandChannel(theirs)
    yield ours, engine
    ours.close()
    engine.close()


def test_everything_crosses_as_it_is(ends: tuple[EventChannel, CommandChannel]) -> None:
    control, engine = ends
    for command in COMMANDS:
        control.send(command)
    control.flush()
    assert engine.receive() == COMMANDS
    for event in EVENTS:
        engine.send(event)
    engine.flush()
    assert control.receive() == EVENTS
    assert control.receive() == engine.receive() == []


def test_what_finds_no_room_waits_and_keeps_its_order(ends: tuple[EventChannel, CommandChannel]) -> None:
    control, engine = ends
    events = [ControlDatagram(index.to_bytes(4, "big") * 300, "10.0.0.1", 5) for index in range(20000)]
    sent = 0
    while engine.send(events[sent]):
        sent += 1
    assert engine.has_backlog
    got: list[Event] = []
    for event in events[sent + 1 :]:
        engine.send(event)
        got += control.receive() or []
    while engine.has_backlog:
        engine.flush()
        got += control.receive() or []
    assert got == events


def test_a_message_of_any_size_crosses(ends: tuple[EventChannel, CommandChannel]) -> None:
    control, engine = ends
    huge = Counters({}, 0, 0, dict.fromkeys(range(300000), 2**40))
    engine.send(huge)
    got: list[Event] = []
    for _ in range(1000):
        engine.flush()
        got += control.receive() or []
    assert got == [huge]


def test_the_end_of_the_other_side_is_told_after_all_it_said(ends: tuple[EventChannel, CommandChannel]) -> None:
    control, engine = ends
    control.send(COMMANDS[0])
    control.flush()
    control.close()
    assert engine.receive() == COMMANDS[:1]
    assert engine.receive() is None
    engine.send(EVENTS[0])
    assert engine.flush()
    assert not engine.has_backlog
