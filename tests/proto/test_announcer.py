"""Who is told what and when: at once, then at a pace, everybody in turn, nobody twice."""

import random

import pytest

from ntvl.identity.keys import derive_mac
from ntvl.proto import announcer as module
from ntvl.proto.announcer import Announcer
from ntvl.proto.directory import Directory, Resident
from ntvl.wire.control import Roster, parse_message

HOME = b"h" * 32


class Bench:
    """A directory, an announcer, and what every node was told."""

    def __init__(self) -> None:
        self.directory = Directory(b"s", random.Random(1).randbytes)
        self.announcer = Announcer()
        self.now = 0.0
        self.sent: list[tuple[float, Resident, Roster]] = []
        self.deaf: set[Resident] = set()
        self.held: dict[Resident, int] = {}
        self.members: dict[Resident, set[bytes]] = {}

    def join(self, number: int, name: str = "n") -> Resident:
        node = number.to_bytes(32, "big")
        known = self.directory.find(HOME, node)
        resident, news = self.directory.enter(
            HOME,
            "home",
            node,
            name=name,
            mac=derive_mac(HOME, node),
            addresses=(f"10.77.{number >> 8}.{number & 255}/16",),
            certificate=b"",
            now=self.now,
        )
        if known is None:
            self.announcer.welcome(resident, self.now)
        elif news:
            self.announcer.note_change(resident.hall, self.now)
        return resident

    def leave(self, resident: Resident) -> None:
        self.directory.leave(resident)
        self.announcer.note_departure(resident, self.now)

    def run(self, for_s: float = 0.0) -> None:
        until = self.now + for_s
        while True:
            self.announcer.handle_timeout(self.now)
            while (given := self.announcer.poll(self.now, lambda resident: resident not in self.deaf)) is not None:
                self._take(*given)
            wakeup = self.announcer.poll_timeout()
            if wakeup is None or wakeup.at > until:
                self.now = until
                return
            assert wakeup.at > self.now
            self.now = wakeup.at

    def _take(self, resident: Resident, data: bytes) -> None:
        message = parse_message(data)
        assert isinstance(message, Roster)
        self.sent.append((self.now, resident, message))
        if message.since == 0:
            self.members[resident] = set()
        elif message.since != self.held.get(resident, 0):
            return
        self.held[resident] = message.version
        self.members[resident] |= {member.node for member in message.joined}
        self.members[resident] -= set(message.left)


def test_a_first_join_is_told_at_once_and_the_next_within_the_pace() -> None:
    bench = Bench()
    ann = bench.join(1)
    bench.run()
    assert [(at, to) for at, to, _ in bench.sent] == [(0.0, ann)]
    bench.now = 0.05
    bob = bench.join(2)
    carl = bench.join(3)
    bench.run(1.0)
    assert [(at, to) for at, to, _ in bench.sent[1:]] == [(0.2, ann), (0.2, bob), (0.2, carl)]
    assert all(held == {ann.node, bob.node, carl.node} for held in bench.members.values())


def test_after_a_quiet_time_news_go_out_at_once_again() -> None:
    bench = Bench()
    bench.join(1)
    bench.run(10.0)
    bench.join(2)
    bench.run()
    assert {at for at, _, _ in bench.sent[1:]} == {10.0}


def test_a_thousand_joins_cost_what_their_batches_cost() -> None:
    bench = Bench()
    for number in range(1000):
        bench.join(number)
        bench.run(0.002)
    bench.run(20.0)
    assert all(len(held) == 1000 for held in bench.members.values())
    assert len(bench.members) == 1000
    # Everybody must hear of 1,000 members, some 16 to a message; the rest is the cost of batches that are not full.
    assert len(bench.sent) < 85_000


def test_messages_keep_to_a_rate_and_everybody_gets_his_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE_PER_S", 100.0)
    monkeypatch.setattr(module, "BURST", 10.0)
    bench = Bench()
    for number in range(50):
        bench.join(number)
    bench.run(0.5)
    assert 50 <= len(bench.sent) <= 61
    bench.run(3.0)
    assert all(len(held) == 50 for held in bench.members.values())
    assert len(bench.members) == 50


def test_a_full_roster_is_quickly_through_once_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE_PER_S", 1000.0)
    monkeypatch.setattr(module, "BURST", 10.0)
    bench = Bench()
    for number in range(200):
        bench.join(number)
    bench.run(10.0)
    times: dict[Resident, list[float]] = {}
    for at, resident, _ in bench.sent:
        times.setdefault(resident, []).append(at)
    assert len(times) == 200
    assert max(at[-1] - at[0] for at in times.values()) < 0.3
    assert max(at[-1] for at in times.values()) > 2.0


def test_who_lost_something_is_put_back_to_what_he_holds() -> None:
    bench = Bench()
    ann = bench.join(1)
    bench.run(1.0)
    held = bench.held[ann]
    bench.join(2)
    bench.run(1.0)
    bench.held[ann] = held
    bench.sent.clear()
    assert bench.announcer.request(ann, held, bench.now) is None
    bench.run()
    assert [(to, message.since) for _, to, message in bench.sent] == [(ann, held)]
    assert len(bench.members[ann]) == 2


def test_who_holds_the_latest_version_is_told_so() -> None:
    bench = Bench()
    ann = bench.join(1)
    bench.run(1.0)
    answer = bench.announcer.request(ann, bench.held[ann], bench.now)
    assert answer is not None
    assert parse_message(answer) == Roster(HOME, bench.held[ann], bench.held[ann])


def test_a_version_of_another_life_starts_from_nothing() -> None:
    bench = Bench()
    ann, _ = bench.join(1), bench.join(2)
    bench.run(1.0)
    bench.sent.clear()
    assert bench.announcer.request(ann, 77, bench.now) is None
    bench.run()
    assert [(message.since, len(message.joined)) for _, _, message in bench.sent] == [(0, 2)]


def test_a_newcomer_that_asks_for_everything_is_not_sent_everything_twice() -> None:
    bench = Bench()
    ann = bench.join(1)
    assert bench.announcer.request(ann, 0, bench.now) is None
    bench.run()
    assert bench.announcer.request(ann, 0, bench.now) is None
    bench.run(0.4)
    assert len(bench.sent) == 1
    bench.run(0.2)
    bench.announcer.request(ann, 0, bench.now)
    bench.run()
    assert [message.since for _, _, message in bench.sent] == [0, 0]


def test_who_cannot_be_sent_to_hears_at_the_next_announcement() -> None:
    bench = Bench()
    ann = bench.join(1)
    bench.deaf.add(ann)
    bench.run(1.0)
    assert bench.sent == []
    bench.deaf.clear()
    bench.join(2)
    bench.run(1.0)
    assert len(bench.members[ann]) == 2


def test_who_left_is_sent_nothing_and_others_hear_of_it() -> None:
    bench = Bench()
    ann, bob = bench.join(1), bench.join(2)
    bench.run(1.0)
    bench.sent.clear()
    bench.leave(bob)
    bench.run(1.0)
    assert [(to, message.left) for _, to, message in bench.sent] == [(ann, (bob.node,))]
    bench.leave(ann)
    bench.run(1.0)
    assert len(bench.sent) == 1
    assert bench.announcer.poll_timeout() is None


def test_a_join_and_a_leave_between_two_announcements_leave_nothing_to_tell() -> None:
    bench = Bench()
    ann = bench.join(1)
    bench.run(0.1)
    bench.sent.clear()
    bench.leave(bench.join(2))
    bench.run(1.0)
    assert all(message.joined == () for _, _, message in bench.sent)
    assert bench.members[ann] == {ann.node}


def test_changes_during_a_long_full_roster_arrive_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE_PER_S", 50.0)
    monkeypatch.setattr(module, "BURST", 1.0)
    bench = Bench()
    crowd = [bench.join(number) for number in range(100)]
    bench.deaf.update(crowd)
    bench.run(1.0)
    ann = bench.join(500)
    chance = random.Random(3)
    for _ in range(20):
        bench.run(0.05)
        bench.leave(crowd.pop(chance.randrange(len(crowd))))
        bench.deaf.update([bench.join(1000 + chance.randrange(100))])
    bench.run(5.0)
    assert bench.members[ann] == {resident.node for resident in bench.directory}
