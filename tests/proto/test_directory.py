"""Who is where: entering, finding, expiring, within bounds."""

import random

import pytest

from ntvl.errors import PeerError
from ntvl.identity.keys import derive_mac, format_key
from ntvl.proto import directory as module
from ntvl.proto.directory import Directory, Resident
from ntvl.wire.control import Member

HOME, WORK = b"h" * 32, b"w" * 32


def node(number: int) -> bytes:
    return number.to_bytes(32, "big")


def make(secret: bytes = b"s" * 32) -> Directory:
    return Directory(secret, random.Random(1).randbytes)


def enter(
    directory: Directory, number: int, *, community: bytes = HOME, name: str = "", address: str = "", now: float = 0.0
) -> Resident:
    resident, _ = directory.enter(
        community,
        "home" if community == HOME else "work",
        node(number),
        name=name or f"n{number}",
        mac=derive_mac(community, node(number)),
        addresses=(address or f"10.77.0.{number}/16", f"fd00::{number:x}/64"),
        certificate=b"certificate",
        now=now,
    )
    return resident


def found(directory: Directory, by: str, value: str, community: bytes = HOME) -> list[bytes]:
    hall = directory.hall(community)
    assert hall is not None
    return [resident.node for resident in hall.find(by, value)]


def test_a_resident_is_found_by_all_that_it_shows() -> None:
    directory = make()
    ann, bob = enter(directory, 1, name="ann"), enter(directory, 2, name="bob")
    assert found(directory, "address", "10.77.0.1") == [ann.node]
    assert found(directory, "address", "10.77.0.1/16") == [ann.node]
    assert found(directory, "address", "FD00:0::1") == [ann.node]
    assert found(directory, "mac", bob.mac.hex(":")) == [bob.node]
    assert found(directory, "mac", bob.mac.hex("-").upper()) == [bob.node]
    assert found(directory, "name", "bob") == [bob.node]
    assert found(directory, "node", format_key(ann.node)) == [ann.node]
    assert directory.find(HOME, ann.node) is ann
    assert directory.find_relay_id(ann.relay_id) is ann
    assert ann.as_member() == Member(ann.node, ann.relay_id, "ann", ("10.77.0.1/16", "fd00::1/64"))


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("address", "10.77.0.9"),
        ("address", ""),
        ("address", "x" * 200),
        ("address", "10.77.0.1/99"),
        ("mac", ""),
        ("mac", "zz"),
        ("mac", "00:00:00:00:00:00"),
        ("name", "nobody"),
        ("name", ""),
        ("node", "short"),
        ("node", format_key(bytes(32))),
        ("relay", "1"),
        ("", ""),
    ],
)
def test_nonsense_finds_nobody(by: str, value: str) -> None:
    directory = make()
    enter(directory, 1)
    assert found(directory, by, value) == []


def test_names_may_repeat_and_answers_are_bounded() -> None:
    directory = make()
    for number in range(1, 12):
        enter(directory, number, name="same")
    assert found(directory, "name", "same") == [node(n) for n in range(1, 9)]


def test_what_a_resident_shows_can_change() -> None:
    directory = make()
    before = enter(directory, 1, name="ann", address="10.77.0.1/16")
    relay_id = before.relay_id
    after = enter(directory, 1, name="anna", address="10.77.0.2/16")
    assert after is before
    assert after.relay_id == relay_id
    assert found(directory, "name", "ann") == found(directory, "address", "10.77.0.1") == []
    assert found(directory, "name", "anna") == found(directory, "address", "10.77.0.2") == [node(1)]
    assert len(directory) == 1


def test_only_news_change_the_roster() -> None:
    directory = make()
    roster = enter(directory, 1).hall.roster
    version = roster.version
    enter(directory, 1, now=10.0)
    assert roster.version == version
    enter(directory, 1, name="else")
    assert roster.version == version + 1


def test_communities_do_not_see_each_other() -> None:
    directory = make()
    home, work = enter(directory, 1), enter(directory, 1, community=WORK)
    assert home.relay_id != work.relay_id
    assert home.hall.number != work.hall.number
    enter(directory, 2, community=WORK, name="bob")
    assert found(directory, "name", "bob") == []


def test_relay_ids_are_the_same_after_a_restart_and_differ_between_supernodes() -> None:
    ids = [enter(make(), n).relay_id for n in range(5)]
    assert ids == [enter(make(), n).relay_id for n in range(5)]
    assert not set(ids) & {enter(make(b"another"), n).relay_id for n in range(5)}
    assert 0 not in ids


def test_relay_ids_that_collide_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Digest:
        def __init__(self, data: bytes, **_: object) -> None:
            self.value = data[-4:] if data[-1] else bytes(4)

        def digest(self) -> bytes:
            return self.value

    monkeypatch.setattr(module.hashlib, "blake2s", Digest)
    directory = make()
    assert [enter(directory, n).relay_id for n in range(3)] == [1, 2, 3]


def test_a_resident_that_is_silent_for_three_keepalives_is_gone() -> None:
    directory = make()
    ann, bob = enter(directory, 1, now=0.0), enter(directory, 2, now=0.0)
    directory.touch(ann, 20.0)
    wakeup = directory.poll_timeout()
    assert wakeup is not None
    assert (wakeup.at, wakeup.reason) == (65.0, "member-expiry")
    assert directory.expire(64.9) == []
    assert directory.expire(65.0) == [bob]
    assert directory.find(HOME, bob.node) is None
    assert found(directory, "name", "n2") == []
    assert directory.find_relay_id(bob.relay_id) is None
    assert directory.expire(85.0) == [ann]
    assert directory.hall(HOME) is None
    assert directory.poll_timeout() is None
    assert len(directory) == 0


def test_leaving_twice_is_harmless() -> None:
    directory = make()
    ann = enter(directory, 1)
    enter(directory, 2)
    directory.leave(ann)
    directory.leave(ann)
    assert len(directory) == 1


def test_a_community_that_comes_back_counts_versions_anew() -> None:
    directory = make()
    first = enter(directory, 1)
    directory.leave(first)
    again = enter(directory, 1)
    assert abs(again.hall.roster.version - first.hall.roster.version) > 1000
    assert again.hall.number != first.hall.number


@pytest.mark.parametrize("bound", ["RESIDENTS_MAX", "HALL_RESIDENTS_MAX", "HALLS_MAX"])
def test_a_bound_refuses_the_newcomer_and_keeps_those_who_are_there(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(module, bound, 2)
    directory = make()
    enter(directory, 1)
    enter(directory, 2, community=WORK if bound == "HALLS_MAX" else HOME)
    with pytest.raises(PeerError) as caught:
        enter(directory, 3, community=b"third" * 6 + b"xx" if bound == "HALLS_MAX" else HOME)
    assert caught.value.reason == "queue-full"
    assert caught.value.detail
    enter(directory, 1)
    assert len(directory) == 2
