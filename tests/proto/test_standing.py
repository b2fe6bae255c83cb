import random

import pytest
from tests.proto.scripted import COMMUNITY, WALL, World, member, settings

from ntvl.proto.context import Context
from ntvl.proto.events import Failed, Notice
from ntvl.proto.membership import Membership
from ntvl.proto.settings import NodeSettings
from ntvl.proto.standing import Standing
from ntvl.wire.control import Leave, Member, Message, Refused, Register, Registered, Roster, RosterRequest


class Owner:
    def __init__(self) -> None:
        self.leased: list[str] = []
        self.rosters: list[Roster] = []
        self.ends = 0

    def handle_registered(self, via: int, membership: Membership, address: str, now: float) -> None:
        self.leased.append(address)

    def handle_roster(self, via: int, membership: Membership, roster: Roster, now: float) -> None:
        self.rosters.append(roster)

    def handle_roster_end(self, via: int, membership: Membership, now: float) -> None:
        self.ends += 1


class Desk:
    """Is a standing whose supernode is the test."""

    def __init__(self, *, via: int = 0, lease: str = "auto", address: str = "") -> None:
        self.owner = Owner()
        self.sent: list[tuple[float, Message]] = []
        self.now = 100.0
        self.settings: NodeSettings = settings(World(supernodes=2), lease=lease, address=address)
        self.context = Context(random.Random(1).randbytes, lambda: WALL)
        self.membership = Membership(
            self.settings.communities[0], self.settings.key.public, self.settings.name, lambda: WALL
        )
        self.standing = Standing(
            self.context, self.settings, self.owner, via=via, membership=self.membership, send=self._send
        )

    def _send(self, message: Message) -> None:
        self.sent.append((self.now, message))

    def run(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        for _ in range(1000):
            at = self.standing.poll_timeout()
            if at is None or at > end:
                self.now = end
                return
            self.now = max(at, self.now)
            self.standing.handle_timeout(self.now)
        raise AssertionError("never comes to rest")

    def messages(self, kind: type) -> list[Message]:
        return [message for _, message in self.sent if isinstance(message, kind)]

    def times(self, kind: type) -> list[float]:
        return [round(at - 100.0, 3) for at, message in self.sent if isinstance(message, kind)]

    @property
    def request(self) -> int:
        return self.messages(Register)[-1].request

    def grant(self, *, version: int = 0, address: str = "10.77.0.5/16", request: int | None = None) -> None:
        number = self.request if request is None else request
        message = Registered(number, COMMUNITY.id, 7, address, "198.51.100.1", 4000, version, WALL)
        if self.standing.expects(message.request):
            self.standing.handle_registered(message, self.now)

    def refuse(self, reason: str, detail: str = "", *, request: int | None = None) -> None:
        number = self.request if request is None else request
        self.standing.handle_refused(Refused(number, COMMUNITY.id, reason, detail), self.now)

    def roster(self, since: int, version: int, *joined: Member, left: tuple[bytes, ...] = ()) -> None:
        self.standing.handle_roster(Roster(COMMUNITY.id, since, version, joined, left), self.now)

    def registered(self, version: int = 0) -> None:
        self.standing.ask(self.now)
        self.run()
        self.grant(version=version)


def said(desk: Desk) -> list[Notice | Failed]:
    return [e for e in desk.context.events if isinstance(e, Notice | Failed)]


BOB, EVE = member(bytes(range(32)), 8), member(bytes(range(1, 33)), 9)


# --- registering ---


def test_nothing_happens_until_asked_to() -> None:
    desk = Desk()
    desk.run(100.0)
    assert desk.sent == []


def test_registering_says_who_we_are_and_what_we_wish() -> None:
    desk = Desk(lease="auto", address="10.77.3.4/16")
    desk.standing.ask(desk.now)
    desk.run()
    (message,) = desk.messages(Register)
    assert message.certificate == desk.membership.certificate()
    assert message.incarnation == desk.settings.incarnation
    assert (message.lease, message.address, message.subnet) == ("auto", "10.77.3.4/16", "10.77.0.0/16")


def test_a_leased_address_is_the_wish_of_the_next_registration() -> None:
    desk = Desk()
    desk.registered()
    desk.membership.address = "10.77.0.5/16"
    desk.standing.renew(desk.now)
    desk.run()
    assert desk.messages(Register)[-1].address == "10.77.0.5/16"
    assert desk.messages(Register)[-1].certificate == desk.membership.certificate()


def test_an_unanswered_registration_is_repeated_ever_more_slowly() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run(120.0)
    assert desk.times(Register) == [0, 1, 3, 7, 15, 30, 60, 90, 120]
    assert len({message.request for message in desk.messages(Register)}) == 9


def test_a_grant_ends_the_asking_and_gives_relay_id_and_lease() -> None:
    desk = Desk()
    desk.registered()
    desk.run(100.0)
    assert len(desk.messages(Register)) == 1
    assert desk.standing.relay_id == 7
    assert desk.owner.leased == ["10.77.0.5/16"]
    assert said(desk) == []


def test_a_grant_for_another_request_is_not_expected() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run(1.0)
    first, second = desk.messages(Register)
    assert not desk.standing.expects(first.request)
    assert desk.standing.expects(second.request)


def test_a_standby_lets_the_first_supernode_lease_the_address() -> None:
    desk = Desk(via=1)
    desk.standing.ask(desk.now)
    desk.run(2.9)
    assert desk.sent == []
    desk.run(0.2)
    assert desk.times(Register) == [3.0]


@pytest.mark.parametrize(("lease", "address"), [("static", "10.77.3.4/16"), ("none", "")])
def test_a_standby_that_leases_nothing_is_asked_at_once(lease: str, address: str) -> None:
    desk = Desk(via=1, lease=lease, address=address)
    desk.standing.ask(desk.now)
    desk.run()
    assert desk.times(Register) == [0.0]


def test_a_supernode_that_does_not_know_us_any_more_is_asked_again() -> None:
    desk = Desk()
    desk.registered()
    desk.standing.handle_unknown(desk.now)
    assert desk.standing.relay_id is None
    desk.run()
    assert len(desk.messages(Register)) == 2
    desk.standing.handle_unknown(desk.now)
    desk.run()
    assert len(desk.messages(Register)) == 2


def test_renewing_asks_only_where_the_certificate_changed() -> None:
    desk = Desk()
    desk.standing.renew(desk.now)
    desk.run(5.0)
    assert desk.sent == []
    desk.registered()
    desk.standing.renew(desk.now)
    desk.run(5.0)
    assert len(desk.messages(Register)) == 1
    desk.membership.address = "10.77.0.5/16"
    desk.standing.renew(desk.now)
    desk.run()
    assert len(desk.messages(Register)) == 2


def test_leaving_is_said_only_by_a_member() -> None:
    desk = Desk()
    desk.standing.leave()
    assert desk.sent == []
    desk.registered()
    desk.standing.leave()
    assert [message.community for message in desk.messages(Leave)] == [COMMUNITY.id]


# --- refusals ---


def test_a_refusal_is_repeated_at_a_falling_rate_and_said_once() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    for _ in range(12):
        desk.run(400.0)
        while desk.standing.poll_timeout() is not None and desk.standing.poll_timeout() <= desk.now:
            desk.run()
        desk.refuse("community-key")
    assert len(said(desk)) == 1
    assert desk.context.drops == {"community-key": 12}


def test_the_waits_after_refusals_grow_from_5_to_300_s() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run()
    waits = []
    for _ in range(9):
        desk.refuse("community-key")
        at = desk.standing.poll_timeout()
        assert at is not None
        waits.append(at - desk.now)
        desk.run(at - desk.now)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_wrong_secret_is_said_in_words() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run()
    desk.refuse("community-key")
    (notice,) = said(desk)
    assert isinstance(notice, Notice)
    assert (notice.level, notice.code) == ("error", "community-key")
    assert notice.text == (
        "supernode 203.0.113.1 refuses community 'lan': a community of that name under another key: wrong secret"
    )
    assert desk.standing.refusal == "community-key"


def test_another_reason_is_said_anew_and_a_grant_forgets_the_refusal() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run()
    desk.refuse("community-key")
    desk.run(5.0)
    desk.refuse("subnet-full", "nothing left in 10.77.0.0/16")
    assert [e.code for e in said(desk)] == ["community-key", "subnet-full"]
    assert said(desk)[1].text.endswith("nothing left in 10.77.0.0/16")
    desk.run(10.0)
    desk.grant()
    assert (desk.standing.refusal, desk.standing.relay_id) == ("", 7)
    desk.standing.handle_unknown(desk.now)
    desk.run()
    desk.refuse("community-key")
    assert len(said(desk)) == 3
    assert desk.standing.poll_timeout() == desk.now + 5.0


@pytest.mark.parametrize("reason", ["address-taken", "address-outside", "subnet-full", "subnet-differs"])
def test_a_static_address_that_is_refused_ends_the_node(reason: str) -> None:
    desk = Desk(lease="static", address="10.77.3.4/16")
    desk.standing.ask(desk.now)
    desk.run()
    desk.refuse(reason, "because")
    (failed,) = said(desk)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.text) == (reason, "supernode 203.0.113.1 refuses community 'lan': because")


@pytest.mark.parametrize("reason", ["address-taken", "subnet-full"])
def test_a_leased_address_or_the_word_of_a_standby_does_not(reason: str) -> None:
    for desk in (Desk(), Desk(via=1, lease="static", address="10.77.3.4/16")):
        desk.standing.ask(desk.now)
        desk.run(4.0)
        desk.refuse(reason)
        assert [type(e) for e in said(desk)] == [Notice]


def test_a_second_machine_with_our_key_ends_the_node_even_out_of_the_blue() -> None:
    desk = Desk()
    desk.registered()
    desk.refuse("duplicate-node", request=0)
    (failed,) = said(desk)
    assert isinstance(failed, Failed)
    assert failed.code == "duplicate-node"
    assert "two running nodes with one key" in failed.text


def test_a_refusal_of_another_request_counts_for_nothing() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run()
    desk.refuse("community-key", request=desk.request ^ 2)
    assert said(desk) == []
    desk.grant()
    desk.refuse("community-key", request=desk.request)
    assert desk.standing.relay_id == 7


def test_a_reason_that_nobody_knows_and_hostile_words_are_shown_harmlessly() -> None:
    desk = Desk()
    desk.standing.ask(desk.now)
    desk.run()
    desk.refuse("because\x1b[2J", "go\x1b[2J\naway")
    (notice,) = said(desk)
    assert notice.text.isprintable()
    assert notice.code.isprintable()
    assert dict(desk.context.drops) == {notice.code: 1}


# --- roster ---


def test_after_registering_what_is_missing_is_asked_for_at_once() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    (request,) = desk.messages(RosterRequest)
    assert (request.community, request.since) == (COMMUNITY.id, 0)
    desk.roster(0, 500, BOB)
    assert desk.standing.version == 500
    assert desk.standing.poll_timeout() is None
    assert [r.joined for r in desk.owner.rosters] == [(BOB,)]


def test_an_empty_community_is_not_asked_about() -> None:
    desk = Desk()
    desk.registered(version=0)
    desk.run(60.0)
    assert desk.messages(RosterRequest) == []


def test_a_change_that_leads_on_is_taken_and_nothing_asked() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 500, BOB)
    desk.roster(500, 501, EVE)
    desk.roster(501, 502, left=(BOB.node,))
    assert desk.standing.version == 502
    assert [r.version for r in desk.owner.rosters] == [500, 501, 502]
    desk.run(60.0)
    assert len(desk.messages(RosterRequest)) == 1


def test_a_change_come_twice_or_late_is_taken_once() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    for since, version in ((0, 500), (500, 501), (500, 501), (0, 500)):
        desk.roster(since, version, BOB)
    assert [r.version for r in desk.owner.rosters] == [500, 501]
    assert desk.standing.version == 501
    desk.run(60.0)
    assert len(desk.messages(RosterRequest)) == 1


def test_a_gap_is_asked_about_soon_and_with_our_version() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 500, BOB)
    desk.roster(501, 502, EVE)
    assert desk.standing.version == 500
    desk.run(0.29)
    assert len(desk.messages(RosterRequest)) == 1
    desk.run(0.02)
    assert desk.messages(RosterRequest)[1].since == 500
    desk.roster(500, 502, EVE)
    assert desk.standing.version == 502
    desk.run(60.0)
    assert len(desk.messages(RosterRequest)) == 2


def test_an_unanswered_question_about_the_roster_is_repeated_a_few_times() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run(200.0)
    assert 6 <= len(desk.messages(RosterRequest)) <= 12
    assert desk.times(RosterRequest)[:4] == [0, 0.3, 1.3, 3.3]
    desk.standing.note_version(500, desk.now)
    desk.run(1.0)
    assert desk.times(RosterRequest)[-1] > 200.0


def test_a_roster_in_parts_is_asked_on_from_where_it_broke_off() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 250, BOB)
    desk.run(0.4)
    assert [m.since for m in desk.messages(RosterRequest)] == [0, 250]
    desk.roster(250, 500, EVE)
    assert desk.standing.version == 500
    assert desk.owner.ends == 1


def test_a_full_roster_ends_with_its_last_part_however_long_that_takes() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 250, BOB)
    desk.run(10.0)
    assert desk.owner.ends == 0
    desk.roster(250, 500, EVE)
    assert desk.owner.ends == 1
    desk.roster(500, 501, left=(BOB.node,))
    assert desk.owner.ends == 1


@pytest.mark.parametrize("version", [3, 900])
def test_a_supernode_that_started_anew_is_believed_whatever_it_counts_from(version: int) -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 500, BOB)
    desk.standing.handle_unknown(desk.now)
    desk.run()
    desk.grant(version=version)
    desk.run()
    # It cannot go on from 500, which it never counted, and begins at nothing.
    desk.roster(0, version, EVE)
    assert desk.standing.version == version
    assert desk.owner.rosters[-1].joined == (EVE,)
    assert desk.owner.ends == 2
    desk.run(60.0)
    assert len(desk.messages(RosterRequest)) == 2


def test_a_keepalive_that_tells_of_a_newer_roster_has_it_asked_for() -> None:
    desk = Desk()
    desk.registered(version=500)
    desk.run()
    desk.roster(0, 500, BOB)
    desk.standing.note_version(500, desk.now)
    assert desk.standing.poll_timeout() is None
    desk.standing.note_version(503, desk.now)
    desk.run()
    assert desk.messages(RosterRequest)[-1].since == 500
