"""The key of a supernode: learned, pinned, and shown by others."""

import pytest
from tests.proto.registering import desk, registered

from ntvl.identity.keys import NodeKey, format_key
from ntvl.proto.events import KeyLearned, Notice
from ntvl.wire.address import Origin
from ntvl.wire.header import Kind


def test_a_key_is_learned_at_first_use() -> None:
    _, supernode, here = registered(keys=False)
    assert here.registration.key == supernode.key.public
    assert [e for e in here.context.events if isinstance(e, KeyLearned)] == [KeyLearned(0, supernode.key.public)]
    assert supernode.key_requests == 1


def test_a_lost_question_for_the_key_is_repeated() -> None:
    world, supernode, here = desk(keys=False)
    supernode.is_silent = True
    world.run(60.0)
    assert 4 <= world.count(Kind.KEY_REQUEST) <= 8
    assert here.states[-1] == "unreachable"
    supernode.is_silent = False
    assert world.run(31.0, until=here.is_("registered"))


def test_a_key_that_nobody_asked_for_is_not_learned() -> None:
    world, supernode, here = desk(keys=False)
    supernode.is_silent = True
    world.run(0.5)
    for nonce in (bytes(8), b"12345678"):
        data = bytes((Kind.KEY_REPLY, 0, 0, 0)) + nonce + bytes(32)
        here.handle_datagram(data, Origin(supernode.address), world.now)
    assert here.registration.key is None
    assert here.context.drops == {"transaction": 2}
    for size, reason in ((43, "short"), (45, "long"), (4, "short")):
        here.handle_datagram(bytes((Kind.KEY_REPLY,)).ljust(size, b"\0"), Origin(supernode.address), world.now)
        assert here.context.drops[reason] >= 1


def test_a_supernode_with_another_key_is_refused_with_a_warning_and_never_spoken_to() -> None:
    world, supernode, here = desk()
    known = supernode.key.public
    supernode.key = NodeKey.from_bytes(bytes(range(32)))
    supernode.shown_key = supernode.key.public
    supernode.start()
    assert world.run(10.0, until=here.is_("refused"))
    (notice,) = here.said()
    assert isinstance(notice, Notice)
    assert (notice.level, notice.code) == ("error", "supernode-key")
    assert format_key(known) in notice.text
    assert format_key(supernode.key.public) in notice.text
    world.run(600.0)
    assert (supernode.handshakes, supernode.heard) == (0, [])
    assert here.registration.key == known
    assert len(here.said()) == 1
    assert here.states == ["connecting", "refused"]


def test_an_impostor_that_goes_away_leaves_us_with_the_supernode_that_we_know() -> None:
    world, supernode, here = desk()
    true = supernode.key
    supernode.key = NodeKey.from_bytes(bytes(range(32)))
    supernode.shown_key = supernode.key.public
    supernode.start()
    world.run(60.0)
    supernode.key, supernode.shown_key = true, true.public
    supernode.start()
    assert world.run(35.0, until=here.is_("registered"))


def test_a_supernode_that_shows_our_key_but_does_not_answer_is_only_unreachable() -> None:
    world, supernode, here = desk()
    world.is_lost = lambda transmit, source: transmit.data[0] == Kind.INITIATION
    world.run(60.0)
    assert supernode.key_requests >= 1
    assert here.states == ["connecting", "unreachable"]
    assert [notice.code for notice in here.said()] == ["no-answer"]


@pytest.mark.parametrize("shown", [bytes(32), b"\x01" + bytes(31)])
def test_a_first_key_that_cannot_be_one_ends_in_no_crash(shown: bytes) -> None:
    world, supernode, here = desk(keys=False)
    supernode.shown_key = shown
    world.run(120.0)
    assert here.registration.state in ("connecting", "unreachable")
