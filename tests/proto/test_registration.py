import pytest
from tests.proto.registering import DAY_S, HERE, desk, registered
from tests.proto.scripted import COMMUNITY, OTHER_COMMUNITY, WALL, Supernode, World, member

from ntvl.proto.events import Notice
from ntvl.proto.lifetime_probe import KEEPALIVE_S_MAX, keepalive_s
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.control import (
    Keepalive,
    KeepaliveReply,
    Leave,
    Message,
    Register,
    Registered,
    Roster,
    RosterRequest,
    Unsupported,
    build_message,
)
from ntvl.wire.header import Kind, parse_header

# --- coming in ---


def test_two_round_trips_after_its_address_is_known_we_are_registered() -> None:
    world, supernode, here = desk()
    begun = world.now
    assert here.states == ["connecting"]
    assert world.run(1.0, until=here.is_("registered"))
    assert world.now - begun == pytest.approx(0.04)
    assert here.states == ["connecting", "registered"]
    registration = here.registration
    assert (registration.address, registration.observed) == (supernode.address, HERE)
    assert registration.relay_id(COMMUNITY.id) == supernode.relay_id
    assert registration.relay_id(OTHER_COMMUNITY.id) is None
    assert here.leased[0] == "10.77.0.5/16"
    assert registration.rtt_s == pytest.approx(0.02)
    assert registration.is_reachable()
    assert here.said() == []


def test_before_its_name_resolves_nothing_is_sent() -> None:
    world, supernode, here = desk(start=False)
    here.registration.handle_addresses((), world.now)
    world.run(60.0)
    assert (world.sent, here.states, here.registration.state) == ([], [], "resolving")
    here.registration.handle_addresses((supernode.address,), world.now)
    assert world.run(1.0, until=here.is_("registered"))


def test_all_addresses_of_a_name_are_tried_and_the_one_that_answers_is_used() -> None:
    world, supernode, here = desk(start=False)
    nobody = [Address(f"192.0.2.{n}", 1971) for n in range(1, 10)]
    here.registration.handle_addresses((nobody[0], supernode.address, *nobody[1:]), world.now)
    assert world.run(1.0, until=here.is_("registered"))
    assert here.registration.address == supernode.address
    tried = {t.address for _, _, t in world.sent if t.data[0] == Kind.INITIATION}
    assert len(tried) == 4
    assert {t.address for _, _, t in world.sent if t.data[0] == Kind.CONTROL} == {supernode.address}
    assert set(here.registration.addresses) == tried


def test_a_lease_is_put_into_a_new_certificate_at_once() -> None:
    world, supernode, _ = registered()
    first, second = supernode.messages(Register)
    assert first.certificate != second.certificate
    assert second.address == "10.77.0.5/16"
    world.run(100.0)
    assert supernode.count(Register) == 2


def test_several_communities_share_one_session() -> None:
    world, supernode, here = registered(communities=(COMMUNITY, OTHER_COMMUNITY))
    assert supernode.handshakes == 1
    assert {supernode.community_of(m) for m in supernode.messages(Register)} == {COMMUNITY.id, OTHER_COMMUNITY.id}
    assert here.registration.relay_id(OTHER_COMMUNITY.id) == supernode.relay_id
    world.run(25.0)
    keepalive = supernode.messages(Keepalive)[-1]
    assert {c for c, _ in keepalive.communities} == {COMMUNITY.id, OTHER_COMMUNITY.id}


def test_one_refused_community_does_not_part_us_from_the_others() -> None:
    world, supernode, here = desk(communities=(COMMUNITY, OTHER_COMMUNITY))
    supernode.refusals[OTHER_COMMUNITY.id] = ("community-key", "")
    world.run(30.0)
    assert here.registration.state == "registered"
    assert here.registration.relay_id(COMMUNITY.id) is not None
    assert here.registration.relay_id(OTHER_COMMUNITY.id) is None


@pytest.mark.parametrize("lost", range(6))
def test_any_single_lost_datagram_costs_only_time(lost: int) -> None:
    world, _, here = desk()
    world.is_lost = lambda transmit, source: len(world.sent) - 1 == lost
    assert world.run(5.0, until=lambda: here.registration.state == "registered" and here.memberships[0].address != "")


# --- staying ---


@pytest.mark.parametrize(
    ("lifetime_s", "counts"), [(None, (13, 14)), (20.0, (12, 13)), (0.0, (20, 21)), (120.0, (10, 11))]
)
def test_a_keepalive_goes_out_every_20_s_or_as_our_nat_needs_and_names_what_we_hold(
    lifetime_s: float | None, counts: tuple[int, ...]
) -> None:
    world, supernode, here = registered()
    here.context.keepalive_s = keepalive_s(lifetime_s)
    world.run(30.0)
    since = supernode.count(Keepalive)
    world.run(200.0)
    assert supernode.count(Keepalive) - since in counts
    keepalive = supernode.messages(Keepalive)[-1]
    assert keepalive.communities == ((COMMUNITY.id, 0),)
    assert len(keepalive.incarnation) == 8
    assert here.registration.rtt_s == pytest.approx(0.02)


def test_the_supernode_says_how_often_within_reason() -> None:
    for wish_s, least, most in ((10.0, 9, 12), (0.1, 15, 25), (300.0, 0, 1)):
        world, supernode, here = desk()

        def reply(message: Message, supernode: Supernode = supernode, wish_s: float = wish_s) -> list[Message] | None:
            if not isinstance(message, Register):
                return None
            grant = supernode.grant(message, HERE)
            return [Registered(*(getattr(grant, f) for f in grant.__struct_fields__[:-1]), wish_s)]

        supernode.reply = reply
        here.context.keepalive_s = KEEPALIVE_S_MAX
        assert world.run(1.0, until=here.is_("registered"))
        world.run(1.0)
        since = supernode.count(Keepalive)
        world.run(100.0)
        assert least <= supernode.count(Keepalive) - since <= most


def test_a_silent_supernode_is_unreachable_within_30_s_and_comes_back_within_40() -> None:
    world, supernode, here = registered()
    supernode.is_silent = True
    begun = world.now
    assert world.run(60.0, until=here.is_("unreachable"))
    assert world.now - begun < 30.0
    assert (here.lost, here.registration.relay_id(COMMUNITY.id)) == (1, None)
    assert not here.registration.is_reachable()
    world.run(600.0)
    assert here.states[-1] == "unreachable"
    assert here.lost == 1
    supernode.is_silent = False
    assert world.run(40.0, until=here.is_("registered"))
    assert here.registration.relay_id(COMMUNITY.id) == supernode.relay_id


def test_one_or_two_lost_keepalives_are_no_reason_to_despair() -> None:
    world, supernode, here = registered()
    keepalives = 0

    def is_lost(transmit: Transmit, source: Address) -> bool:
        nonlocal keepalives
        keepalives += transmit.data[0] == Kind.CONTROL
        return transmit.data[0] == Kind.CONTROL and keepalives <= 2

    world.is_lost = is_lost
    world.run(60.0)
    assert keepalives > 3
    assert here.states == ["connecting", "registered"]
    assert supernode.handshakes == 1


def test_a_supernode_that_is_never_there_is_tried_at_a_falling_rate_and_said_to_be_unreachable() -> None:
    world, supernode, here = desk()
    supernode.is_silent = True
    world.run(600.0)
    assert here.states == ["connecting", "unreachable"]
    assert 50 <= world.count(Kind.INITIATION) <= 120
    supernode.is_silent = False
    assert world.run(35.0, until=here.is_("registered"))


def test_news_of_a_network_change_while_unreachable_finds_a_supernode_that_is_back() -> None:
    world, supernode, here = registered()
    supernode.is_silent = True
    world.run(60.0, until=here.is_("unreachable"))
    for pause_s in (1.0, 19.0, 21.0, 23.0, 30.0):
        world.run(pause_s)
        supernode.is_silent = False
        here.registration.refresh(world.now)
        world.run(40.0)
        assert here.registration.state == "registered"
        supernode.is_silent = True
        assert world.run(60.0, until=here.is_("unreachable"))


def test_keys_are_renewed_every_two_minutes_without_registering_again() -> None:
    world, supernode, here = registered()
    registers = supernode.count(Register)
    world.run(1000.0)
    assert 8 <= supernode.handshakes - 1 <= 9
    assert supernode.count(Register) == registers
    assert here.states == ["connecting", "registered"]
    assert not here.context.drops


def test_a_renewed_certificate_is_registered() -> None:
    world, supernode, here = registered()
    registers = supernode.count(Register)
    here.skew_s += 5 * DAY_S
    here.registration.renew(world.now)
    world.run(1.0)
    assert supernode.count(Register) == registers + 1


def test_after_a_suspend_of_an_hour_we_are_registered_again_within_seconds() -> None:
    world, supernode, here = registered()
    world.now += 3600.0
    assert world.run(5.0, until=lambda: here.registration.state == "registered" and supernode.handshakes == 2)


# --- supernodes that start anew ---


def test_a_supernode_that_started_anew_knows_us_again_within_one_keepalive() -> None:
    world, supernode, here = registered()
    supernode.start()
    supernode.unknown.add(COMMUNITY.id)
    registers = supernode.count(Register)
    assert world.run(25.0, until=lambda: supernode.count(Register) > registers)
    world.run(1.0)
    assert here.registration.state == "registered"
    assert here.registration.relay_id(COMMUNITY.id) is not None
    assert here.lost == 0


def test_a_community_that_the_supernode_forgot_is_registered_again() -> None:
    world, supernode, here = registered(communities=(COMMUNITY, OTHER_COMMUNITY))
    registers = supernode.count(Register)
    supernode.unknown.add(OTHER_COMMUNITY.id)
    world.run(25.0)
    assert [supernode.community_of(m) for m in supernode.messages(Register)[registers:]] == [OTHER_COMMUNITY.id]
    assert supernode.handshakes == 1
    assert here.registration.relay_id(OTHER_COMMUNITY.id) is not None


def test_a_reset_is_a_hint_that_costs_a_handshake_a_second_at_most() -> None:
    world, supernode, here = registered()
    last = next(t for _, _, t in reversed(world.sent) if t.data[0] == Kind.CONTROL)
    index = parse_header(last.data)[1]
    for _ in range(20):
        supernode.reset(index)
    world.run(0.9)
    assert supernode.handshakes == 2
    assert here.states == ["connecting", "registered"]
    supernode.reset(index ^ 1)
    world.run(0.5)
    assert supernode.handshakes == 2


def test_a_reset_of_our_address_makes_us_show_ourselves() -> None:
    world, supernode, here = registered()
    keepalives = supernode.count(Keepalive)
    supernode.reset(0)
    world.run(0.1)
    assert supernode.count(Keepalive) == keepalives + 1
    assert supernode.handshakes == 1
    assert here.context.drops == {}


def test_a_reset_before_any_session_means_nothing() -> None:
    world, _, here = desk(start=False)
    here.registration.handle_reset(0, world.now)
    assert world.run(1.0) is False
    assert world.sent == []


# --- moving ---


def test_a_new_address_of_ours_is_noticed_and_told() -> None:
    world, supernode, here = registered()
    assert here.observations == 1
    supernode.observed = Address("198.51.100.99", 61000)
    here.registration.refresh(world.now)
    world.run(0.1)
    assert here.observations == 2
    assert here.registration.observed == Address("198.51.100.99", 61000)


def test_being_asked_to_look_again_is_bounded_to_twice_a_second() -> None:
    world, supernode, here = registered()
    keepalives = supernode.count(Keepalive)
    for _ in range(50):
        here.registration.refresh(world.now)
        world.run(0.02)
    assert supernode.count(Keepalive) - keepalives <= 3


def test_a_supernode_that_moved_is_followed_by_what_it_seals() -> None:
    world, supernode, here = registered()
    supernode.address = Address("203.0.113.77", 1971)
    supernode.say(KeepaliveReply(1, "198.51.100.1", 4000, 0.0))
    world.run(0.1)
    assert here.registration.address == Address("203.0.113.77", 1971)
    world.run(60.0)
    assert here.states == ["connecting", "registered"]


def test_a_name_that_resolves_elsewhere_is_found_there() -> None:
    world, supernode, here = registered()
    supernode.address = Address("203.0.113.77", 1971)
    here.registration.handle_addresses((supernode.address,), world.now)
    assert world.run(60.0, until=lambda: here.registration.address == supernode.address)
    world.run(10.0)
    assert here.registration.state == "registered"


@pytest.mark.parametrize("host", ["garbage", "", "198.51.100.1%eth0", "1" * 45])
def test_an_observed_address_that_is_none_is_counted_and_not_kept(host: str) -> None:
    world, supernode, here = registered()
    supernode.observed = Address(host, 4000)
    here.registration.refresh(world.now)
    world.run(0.1)
    assert here.registration.observed == HERE
    assert here.context.drops == {"format": 1}


def test_an_observed_address_mapped_into_ipv6_is_kept_as_ipv4() -> None:
    world, supernode, here = desk()
    supernode.observed = Address("::ffff:198.51.100.1", 4000)
    world.run(1.0)
    assert here.registration.observed == HERE


# --- clocks ---


@pytest.mark.parametrize(("skew_s", "words"), [(DAY_S, "24 hours ahead of"), (-3 * DAY_S, "3 days behind")])
def test_a_clock_that_is_far_off_is_said_once(skew_s: float, words: str) -> None:
    world, _, here = desk()
    here.skew_s = skew_s
    world.run(200.0)
    (notice,) = here.said()
    assert isinstance(notice, Notice)
    assert (notice.level, notice.code) == ("warning", "clock")
    assert words in notice.text
    assert "203.0.113.1" in notice.text


@pytest.mark.parametrize("skew_s", [0.0, 250.0, -250.0])
def test_a_clock_that_is_nearly_right_is_not_talked_about(skew_s: float) -> None:
    world, _, here = desk()
    here.skew_s = skew_s
    world.run(60.0)
    assert here.said() == []


def test_a_supernode_without_a_time_says_nothing_about_our_clock() -> None:
    world, supernode, here = desk()
    supernode.server_time = lambda: 0.0
    world.run(60.0)
    assert here.said() == []


def test_a_refusal_for_the_clock_comes_with_the_reason_why() -> None:
    world, supernode, here = desk()
    here.skew_s = DAY_S
    supernode.refusals[COMMUNITY.id] = ("certificate-not-yet-valid", "")
    world.run(2.0)
    assert {n.code for n in here.said()} == {"certificate-not-yet-valid", "clock"}


# --- rosters ---


def test_members_are_asked_for_and_a_gap_is_asked_about() -> None:
    world, supernode, here = desk()
    bob, eve = member(bytes(range(32)), 8), member(bytes(range(1, 33)), 9)
    supernode.version = 500
    log = {0: Roster(COMMUNITY.id, 0, 500, (bob,)), 500: Roster(COMMUNITY.id, 500, 502, (eve,))}
    supernode.roster = lambda request: [log[request.since]] if request.since in log else []
    world.run(1.0)
    assert [r.version for r in here.rosters] == [500]
    supernode.say(Roster(COMMUNITY.id, 501, 502, (), (bob.node,)))
    world.run(1.0)
    assert [r.version for r in here.rosters] == [500, 502]
    assert [r.since for r in supernode.messages(RosterRequest)] == [0, 500]


def test_news_that_was_lost_is_made_good_by_the_next_keepalive() -> None:
    world, supernode, here = registered()
    supernode.version = 500
    bob = member(bytes(range(32)), 8)
    supernode.roster = lambda request: [Roster(COMMUNITY.id, 0, 500, (bob,))] if request.since == 0 else []
    assert world.run(25.0, until=lambda: len(here.rosters) == 1)


# --- what else may come ---


def test_an_unknown_message_is_answered_as_unsupported() -> None:
    world, supernode, here = registered()
    here.handle_datagram(supernode.channel.seal(b"\x92\xcd\x03\xe7\x01"), Origin(supernode.address), world.now)
    world.run(0.1)
    assert supernode.messages(Unsupported) == [Unsupported(999)]


def test_altered_and_repeated_datagrams_are_counted() -> None:
    world, supernode, here = registered()
    data = supernode.channel.seal(build_message(KeepaliveReply(1, "198.51.100.1", 4000, 0.0)))
    origin = Origin(supernode.address)
    here.handle_datagram(data[:-1] + bytes((data[-1] ^ 1,)), origin, world.now)
    for _ in range(2):
        here.handle_datagram(data, origin, world.now)
    here.handle_datagram(data[:4] + bytes(4) + data[8:], origin, world.now)
    assert here.context.drops == {"authentication": 1, "replay": 1, "unknown-session": 1}


def test_leaving_says_goodbye_to_every_community_and_nothing_more() -> None:
    world, supernode, here = registered(communities=(COMMUNITY, OTHER_COMMUNITY))
    here.registration.close()
    world.run(100.0)
    assert {m.community for m in supernode.messages(Leave)} == {COMMUNITY.id, OTHER_COMMUNITY.id}
    assert isinstance(supernode.heard[-1], Leave)
    assert here.poll_timeout() is None


def test_the_wall_clock_of_the_test_is_the_supernodes() -> None:
    world = World()
    assert world.supernodes[0].server_time() == world.wall() == WALL + 100.0
