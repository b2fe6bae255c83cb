"""The log of changes: whatever a receiver holds, the steps from there make it hold what is."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntvl.proto import roster as module
from ntvl.proto.roster import RosterLog
from ntvl.wire.control import MESSAGE_BYTES_MAX, Member, Roster, parse_message

HOME = b"h" * 32
START = 1000


def node(number: int) -> bytes:
    return number.to_bytes(32, "big")


def member(number: int, relay_id: int = 0, name: str = "") -> Member:
    return Member(
        node(number), relay_id or number + 1, name or f"n{number}", (f"10.77.{number >> 8}.{number & 255}/16",)
    )


class Receiver:
    """Holds what a node holds after the messages it got."""

    def __init__(self) -> None:
        self.version = 0
        self.settled = 0
        self.members: dict[bytes, Member] = {}
        self.messages = 0

    def take(self, data: bytes) -> None:
        assert len(data) <= MESSAGE_BYTES_MAX
        message = parse_message(data)
        assert isinstance(message, Roster)
        assert message.community == HOME
        assert message.since == self.version
        if message.since == 0:
            self.members.clear()
        self.members.update({joined.node: joined for joined in message.joined})
        for left in message.left:
            self.members.pop(left, None)
        self.version = message.version
        self.messages += 1

    def follow(self, log: RosterLog, steps: int = 1000) -> None:
        self.version = log.resume(self.version)
        if self.version == 0:
            self.settled = log.announced
        for _ in range(steps):
            if self.version == log.announced:
                return
            data, version = log.step(self.version, self.settled)
            assert version > self.version
            self.take(data)
            assert self.version == version


def test_a_full_roster_and_then_a_change() -> None:
    log, ann = RosterLog(HOME, START), Receiver()
    for number in range(3):
        assert log.join(member(number))
    assert log.announce()
    ann.follow(log)
    assert ann.members == {node(n): member(n) for n in range(3)}
    log.leave(node(1))
    log.join(member(3))
    assert ann.version == log.announced
    assert log.announce()
    ann.follow(log)
    assert set(ann.members) == {node(0), node(2), node(3)}
    assert ann.messages == 2


def test_the_message_is_what_the_wire_says() -> None:
    log = RosterLog(HOME, START)
    log.join(member(1))
    log.join(member(2))
    log.announce()
    log.leave(node(1))
    log.announce()
    assert parse_message(log.step(START + 2)[0]) == Roster(HOME, START + 2, START + 3, (), (node(1),))
    assert parse_message(log.step(0)[0]) == Roster(HOME, 0, START + 3, (member(2),), (node(1),))
    assert parse_message(log.step(0, settled=START + 3)[0]) == Roster(HOME, 0, START + 3, (member(2),), ())
    assert parse_message(log.step(log.announced)[0]) == Roster(HOME, START + 3, START + 3)


def test_joining_again_unchanged_is_no_news() -> None:
    log = RosterLog(HOME, START)
    assert log.join(member(1))
    assert not log.join(member(1))
    assert log.join(member(1, name="renamed"))
    assert log.announce()
    assert not log.announce()
    receiver = Receiver()
    receiver.follow(log)
    assert receiver.members == {node(1): member(1, name="renamed")}


def test_what_is_not_announced_is_not_told() -> None:
    log = RosterLog(HOME, START)
    log.join(member(1))
    log.announce()
    log.join(member(2))
    assert parse_message(log.step(0)[0]) == Roster(HOME, 0, START + 1, (member(1),))


@pytest.mark.parametrize("since", [1, START - 1, START + 2, 2**60])
def test_a_version_of_another_life_starts_from_nothing(since: int) -> None:
    log = RosterLog(HOME, START)
    log.join(member(1))
    log.announce()
    assert log.resume(since) == 0
    assert log.resume(START + 1) == START + 1
    assert log.resume(START) == START


def test_a_thousand_members_come_in_messages_that_fit() -> None:
    log, receiver = RosterLog(HOME, 2**56), Receiver()
    for number in range(1000):
        log.join(member(number))
    log.announce()
    receiver.follow(log)
    assert len(receiver.members) == 1000
    assert receiver.messages < 70


def test_the_largest_members_fit_too() -> None:
    log, receiver = RosterLog(HOME, 2**56), Receiver()
    for number in range(5):
        log.join(Member(node(number), 2**32 - 1, "ü" * 63, ("fdff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128",) * 8))
    log.announce()
    receiver.follow(log)
    assert len(receiver.members) == 5


def test_a_step_is_encoded_once_for_all_who_need_it() -> None:
    log = RosterLog(HOME, START)
    log.join(member(1))
    log.announce()
    assert log.step(0)[0] is log.step(0)[0]


def test_any_prefix_of_a_full_roster_can_be_continued_while_changes_go_on() -> None:
    log, receiver, chance = RosterLog(HOME, START), Receiver(), random.Random(5)
    alive: dict[bytes, Member] = {}
    for number in range(200):
        alive[node(number)] = member(number)
        log.join(member(number))
    log.announce()
    while receiver.version != log.announced or receiver.messages < 200:
        receiver.follow(log, steps=1)
        for _ in range(3):
            number = chance.randrange(300)
            if node(number) in alive and chance.random() < 0.6:
                del alive[node(number)]
                log.leave(node(number))
            elif receiver.messages < 200:
                alive[node(number)] = member(number, relay_id=chance.randrange(1, 1000))
                log.join(alive[node(number)])
        if receiver.messages < 200 or len(alive) == 0 or log.version != log.announced:
            log.announce()
    assert receiver.members == alive


def test_the_log_is_bounded_and_always_holds_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_ENTRIES_MAX", 64)
    log = RosterLog(HOME, START)
    for number in range(20):
        log.join(member(number))
    for change in range(2000):
        log.join(member(100, relay_id=change + 1))
        if change % 3 == 0:
            log.leave(node(100))
    log.announce()
    assert log.resume(START + 30) == 0
    receiver = Receiver()
    receiver.follow(log)
    assert set(receiver.members) - {node(100)} == {node(number) for number in range(20)}
    data, _ = log.step(0)
    assert len(data) < 4 * 64 * 60
    assert log.resume(log.announced - 64) == log.announced - 64
    assert log.resume(log.announced - 66) == 0


def test_a_receiver_that_follows_sees_nobody_twice_at_once_when_the_log_turns_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOG_ENTRIES_MAX", 400)
    log, receiver = RosterLog(HOME, START), Receiver()
    for number in range(100):
        log.join(member(number))
    log.announce()
    receiver.follow(log)
    most = 0
    for change in range(1000):
        log.join(member(500, relay_id=change + 1))
        log.announce()
        parsed = parse_message(log.step(receiver.version)[0])
        assert isinstance(parsed, Roster)
        most = max(most, len(parsed.joined))
        receiver.follow(log)
    assert most <= 3
    assert len(receiver.members) == 101


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 30), st.integers(1, 5)),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("announce"), st.just(0), st.just(0)),
        st.tuples(st.just("follow"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("lose"), st.integers(0, 2), st.integers(0, 40)),
    ),
    max_size=150,
)


@settings(deadline=None, max_examples=150)
@given(CHANGES, st.integers(4, 40))
def test_whatever_happens_a_receiver_ends_with_the_members_that_are(
    changes: list[tuple[str, int, int]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOG_ENTRIES_MAX", most)
        log, receivers = RosterLog(HOME, START), [Receiver() for _ in range(3)]
        alive: dict[bytes, Member] = {}
        for verb, one, other in changes:
            match verb:
                case "join":
                    alive[node(one)] = member(one, relay_id=other)
                    log.join(alive[node(one)])
                case "leave":
                    alive.pop(node(one), None)
                    log.leave(node(one))
                case "announce":
                    log.announce()
                case "follow":
                    receivers[one].follow(log, steps=other)
                case "lose":
                    if other == 0:
                        receivers[one] = Receiver()
        log.announce()
        for receiver in receivers:
            receiver.follow(log)
            assert receiver.members == alive
