"""What a supernode refuses, and what becomes of it."""

import pytest
from tests.proto.registering import desk, registered
from tests.proto.scripted import COMMUNITY, OTHER_COMMUNITY

from ntvl.proto.events import Failed, Notice
from ntvl.wire.control import Message, Refused, Register, Roster


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("community-key", "a community of that name under another key: wrong secret"),
        ("certificate-not-yet-valid", "a certificate before its validity"),
        ("certificate-expired", "a certificate past its validity"),
        ("subnet-full", "no address left in the subnet"),
        ("subnet-differs", "another subnet than the community already has"),
        ("queue-full", "a bounded queue was full"),
    ],
)
def test_a_refusal_is_said_in_words_within_five_seconds_and_repeated_at_a_falling_rate(reason: str, words: str) -> None:
    world, supernode, here = desk()
    supernode.refusals[COMMUNITY.id] = (reason, "")
    assert world.run(5.0, until=here.is_("refused"))
    (notice,) = here.said()
    assert isinstance(notice, Notice)
    assert (notice.level, notice.code) == ("error", reason)
    assert notice.text == f"supernode 203.0.113.1 refuses community 'lan': {words}"
    begun = world.now
    world.run(1000.0)
    assert 6 <= supernode.count(Register) <= 10
    assert here.states == ["connecting", "refused"]
    assert len(here.said()) == 1
    assert here.registration.relay_id(COMMUNITY.id) is None
    assert here.registration.is_reachable()
    assert world.now > begun


def test_a_refusal_that_is_mended_ends_in_a_registration() -> None:
    world, supernode, here = desk()
    supernode.refusals[COMMUNITY.id] = ("community-key", "")
    world.run(40.0)
    supernode.refusals.clear()
    assert world.run(45.0, until=here.is_("registered"))
    assert here.states == ["connecting", "refused", "registered"]


def test_a_second_machine_with_our_key_ends_the_node() -> None:
    world, supernode, here = registered()
    supernode.say(Refused(0, COMMUNITY.id, "duplicate-node"))
    world.run(0.1)
    (failed,) = here.said()
    assert isinstance(failed, Failed)
    assert failed.code == "duplicate-node"


def test_a_static_address_that_is_taken_ends_the_node() -> None:
    world, supernode, here = desk(lease="static", address="10.77.3.4/16")
    supernode.refusals[COMMUNITY.id] = ("address-taken", "10.77.3.4 is leased to bob")
    world.run(1.0)
    (failed,) = here.said()
    assert isinstance(failed, Failed)
    assert failed.text == "supernode 203.0.113.1 refuses community 'lan': 10.77.3.4 is leased to bob"


def test_a_refusal_of_a_certificate_that_could_not_be_read_finds_its_community_by_the_request() -> None:
    world, supernode, here = desk(communities=(COMMUNITY, OTHER_COMMUNITY))

    def reply(message: Message) -> list[Message] | None:
        if not isinstance(message, Register) or supernode.community_of(message) != OTHER_COMMUNITY.id:
            return None
        return [Refused(message.request, bytes(32), "version", "")]

    supernode.reply = reply
    world.run(1.0)
    (notice,) = here.said()
    assert (notice.code, "'office'" in notice.text) == ("version", True)
    assert here.registration.relay_id(COMMUNITY.id) is not None
    supernode.say(Refused(0, bytes(32), "version", ""), Refused(12, bytes(32), "version", ""))
    world.run(0.1)
    assert here.context.drops == {"version": 1, "unknown-community": 2}


def test_an_answer_for_a_community_that_we_are_not_in_is_counted() -> None:
    world, supernode, here = registered()
    supernode.say(Roster(OTHER_COMMUNITY.id, 0, 1), Refused(0, OTHER_COMMUNITY.id, "duplicate-node"))
    world.run(0.1)
    assert here.context.drops == {"unknown-community": 2}
    assert here.said() == []
